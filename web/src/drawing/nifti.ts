/** Label maps as NIfTI-1 files, and between the order of their voxels and that of the viewer (x to the right, ...). */

import type { Triple } from "./volume.ts";

type Voxels = Uint8Array | Int8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array;

const types: Record<number, new (buffer: ArrayBuffer) => Voxels> = {
  2: Uint8Array,
  4: Int16Array,
  8: Int32Array,
  16: Float32Array,
  64: Float64Array,
  256: Int8Array,
  512: Uint16Array,
  768: Uint32Array,
};

const HEADER = 352;

/** Voxels of an uncompressed little-endian NIfTI-1 file of the server, first volume. */
export function read(file: ArrayBuffer): { dims: Triple; voxels: Voxels } {
  const header = new DataView(file);
  if (file.byteLength < HEADER || header.getInt32(0, true) !== 348) throw new Error("not a NIfTI file");
  const dims = [1, 2, 3].map((i) => Math.max(1, header.getInt16(40 + 2 * i, true))) as Triple;
  const make = types[header.getInt16(70, true)];
  if (!make) throw new Error(`a label of data type ${header.getInt16(70, true)}`);
  const start = header.getFloat32(108, true);
  const bytes = dims[0] * dims[1] * dims[2] * (header.getInt16(72, true) / 8);
  if (file.byteLength < start + bytes) throw new Error("the file ends early");
  return { dims, voxels: new make(file.slice(start, start + bytes)) };
}

/** A file on the grid of `image` (any NIfTI of this grid), as small whole numbers. */
export function write(image: ArrayBuffer, voxels: Uint8Array | Uint16Array): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(HEADER + voxels.byteLength);
  file.set(new Uint8Array(image, 0, 348));
  file.set(new Uint8Array(voxels.buffer, voxels.byteOffset, voxels.byteLength), HEADER);
  const header = new DataView(file.buffer);
  const dims = [1, 2, 3].map((i) => Math.max(1, header.getInt16(40 + 2 * i, true)));
  header.setInt16(40, 3, true);
  dims.forEach((n, i) => header.setInt16(42 + 2 * i, n, true));
  for (let i = 4; i < 8; i++) header.setInt16(40 + 2 * i, 1, true);
  const wide = voxels instanceof Uint16Array;
  header.setInt16(68, 0, true); // intent
  header.setInt16(70, wide ? 512 : 2, true);
  header.setInt16(72, wide ? 16 : 8, true);
  header.setFloat32(108, HEADER, true);
  header.setFloat32(112, 1, true); // slope
  header.setFloat32(116, 0, true);
  header.setFloat32(124, 0, true); // window
  header.setFloat32(128, 0, true);
  return file;
}

/** How the viewer's order lies in the file: index in the file = start + x * step[0] + y * step[1] + z * step[2]. */
export interface Order {
  dims: Triple;
  start: number;
  step: Triple;
}

/** Class numbers in the viewer's order, from label values in the order of a file. Values of no class are counted. */
export function toViewer(voxels: Voxels, { dims, start, step }: Order, numberOf: ReadonlyMap<number, number>): { data: Uint8Array; unknown: number } {
  const data = new Uint8Array(voxels.length);
  let unknown = 0;
  for (let z = 0, i = 0; z < dims[2]; z++) {
    for (let y = 0; y < dims[1]; y++) {
      for (let x = 0, at = start + y * step[1] + z * step[2]; x < dims[0]; x++, i++, at += step[0]) {
        const value = voxels[at] as number;
        if (value === 0) continue;
        const number = numberOf.get(value);
        if (number === undefined) unknown += 1;
        else data[i] = number;
      }
    }
  }
  return { data, unknown };
}

/** Label values in the order of a file, from class numbers in the viewer's order. */
export function toFile(data: Uint8Array, { dims, start, step }: Order, valueOf: readonly number[]): Uint8Array | Uint16Array {
  const voxels = valueOf.some((v) => v > 255) ? new Uint16Array(data.length) : new Uint8Array(data.length);
  for (let z = 0, i = 0; z < dims[2]; z++) {
    for (let y = 0; y < dims[1]; y++) {
      for (let x = 0, at = start + y * step[1] + z * step[2]; x < dims[0]; x++, i++, at += step[0]) {
        const number = data[i] as number;
        if (number) voxels[at] = valueOf[number] as number;
      }
    }
  }
  return voxels;
}
