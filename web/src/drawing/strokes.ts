/** Pen, filled pen, eraser and threshold brush: what a stroke does to the voxels of a slice. */

import type { Plane } from "./plane.ts";
import type { Edit, Triple, Volume } from "./volume.ts";

export interface Brush {
  /** Diameter, in voxels of the smaller spacing. */
  size: number;
  /** A ball over the slices beside, too. */
  ball: boolean;
  /** Is a voxel to be painted? (gray value in a range, another class protected) */
  takes(x: number, y: number, z: number): boolean;
}

/** All that a brush covers with its middle on a voxel; always that voxel. */
export function stamp(volume: Volume, plane: Plane, center: Triple, brush: Brush, visit: (x: number, y: number, z: number) => void): void {
  const across = brush.ball ? volume.spacing : plane.spacing;
  const radius = (brush.size / 2) * Math.min(...across);
  const reach = volume.spacing.map((s, axis) => (brush.ball || axis !== plane.axis ? Math.floor(radius / s) : 0)) as Triple;
  const [cx, cy, cz] = center;
  for (let z = cz - reach[2]; z <= cz + reach[2]; z++) {
    for (let y = cy - reach[1]; y <= cy + reach[1]; y++) {
      for (let x = cx - reach[0]; x <= cx + reach[0]; x++) {
        if (!volume.inside(x, y, z)) continue;
        const far = Math.hypot((x - cx) * volume.spacing[0], (y - cy) * volume.spacing[1], (z - cz) * volume.spacing[2]);
        const center_ = x === cx && y === cy && z === cz;
        if ((far <= radius || center_) && brush.takes(x, y, z)) visit(x, y, z);
      }
    }
  }
}

/** Places on the way between two voxels, both included, each a neighbor of the one before. */
export function* between(from: readonly [number, number], to: readonly [number, number]): Generator<[number, number]> {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  for (let i = 0; i <= steps; i++) {
    const share = steps ? i / steps : 0;
    yield [Math.round(from[0] + share * (to[0] - from[0])), Math.round(from[1] + share * (to[1] - from[1]))];
  }
}

/** Paints along a line of the slice. */
export function paintLine(edit: Edit, volume: Volume, plane: Plane, from: [number, number], to: [number, number], brush: Brush, value: number): void {
  for (const [u, v] of between(from, to)) {
    if (plane.inside(u, v)) stamp(volume, plane, plane.voxel(u, v), brush, (x, y, z) => edit.set(x, y, z, value));
  }
}

/** Voxels whose middle is inside a closed outline (even-odd), and those on it. */
export function filled(plane: Plane, outline: readonly [number, number][]): [number, number][] {
  const covered = new Set<number>();
  const add = (u: number, v: number) => {
    if (plane.inside(u, v)) covered.add(u + v * plane.width);
  };
  outline.forEach((point, i) => {
    for (const [u, v] of between(point, outline[(i + 1) % outline.length] as [number, number])) add(u, v);
  });
  const rows = outline.map(([, v]) => v);
  const [first, last] = [rows.reduce((a, b) => Math.min(a, b), Infinity), rows.reduce((a, b) => Math.max(a, b), -Infinity)];
  for (let v = first; v <= last; v++) {
    const cuts = crossings(outline, v);
    for (let i = 0; i + 1 < cuts.length; i += 2) {
      for (let u = Math.ceil(cuts[i] as number); u <= (cuts[i + 1] as number); u++) add(u, v);
    }
  }
  return [...covered].map((i) => [i % plane.width, Math.floor(i / plane.width)]);
}

/** Where a row crosses an outline; half-open edges, so that a corner counts once. */
function crossings(outline: readonly [number, number][], row: number): number[] {
  const cuts: number[] = [];
  outline.forEach(([u0, v0], i) => {
    const [u1, v1] = outline[(i + 1) % outline.length] as [number, number];
    if (v0 <= row !== v1 <= row) cuts.push(u0 + ((row - v0) / (v1 - v0)) * (u1 - u0));
  });
  return cuts.sort((a, b) => a - b);
}
