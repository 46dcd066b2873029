/** Outlines of a label map. */

import type { Triple } from "./volume.ts";

/** The label map without the voxels whose neighbors along x, y and z are all of the same class. */
export function edges<T extends { length: number; slice(): T; [i: number]: number }>(voxels: T, [nx, ny, nz]: Triple): T {
  const out = voxels.slice();
  const sliced = nz > 1;
  for (let z = 0, i = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++, i++) {
        const value = voxels[i] as number;
        if (value === 0) continue;
        const same = (ok: boolean, by: number) => ok && voxels[i + by] === value;
        const flat = same(x > 0, -1) && same(x < nx - 1, 1) && same(y > 0, -nx) && same(y < ny - 1, nx);
        if (flat && (!sliced || (same(z > 0, -nx * ny) && same(z < nz - 1, nx * ny)))) out[i] = 0;
      }
    }
  }
  return out;
}
