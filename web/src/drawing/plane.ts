/** One slice of a volume: its own two directions u, v, and the third that tells which slice it is. */

import type { Triple, Volume } from "./volume.ts";

/** Sagittal 0, coronal 1, axial 2: the axis that does not change within a slice. */
export type Axis = 0 | 1 | 2;

/** The two directions within a slice. */
export const others: Record<Axis, [Axis, Axis]> = { 0: [1, 2], 1: [0, 2], 2: [0, 1] };

export class Plane {
  readonly axis: Axis;
  readonly slice: number;
  readonly width: number;
  readonly height: number;
  /** mm between neighbors along u and v. */
  readonly spacing: [number, number];
  /** Place in the data of a volume = base + u * du + v * dv. */
  readonly base: number;
  readonly du: number;
  readonly dv: number;
  private readonly u: Axis;
  private readonly v: Axis;

  constructor(volume: Volume, axis: Axis, slice: number) {
    this.axis = axis;
    this.slice = slice;
    [this.u, this.v] = others[axis];
    this.width = volume.dims[this.u];
    this.height = volume.dims[this.v];
    this.spacing = [volume.spacing[this.u], volume.spacing[this.v]];
    const steps = [1, volume.dims[0], volume.dims[0] * volume.dims[1]] as const;
    this.base = slice * steps[axis];
    this.du = steps[this.u];
    this.dv = steps[this.v];
  }

  /** x, y, z of a place in the slice. */
  voxel(u: number, v: number): Triple {
    const place: Triple = [0, 0, 0];
    place[this.axis] = this.slice;
    place[this.u] = u;
    place[this.v] = v;
    return place;
  }

  /** u, v of a voxel. */
  flat(voxel: Triple): [number, number] {
    return [voxel[this.u], voxel[this.v]];
  }

  inside(u: number, v: number): boolean {
    return u >= 0 && v >= 0 && u < this.width && v < this.height;
  }
}

/** 1 where the slice has the class, else 0; row by row along u. */
export function maskOf(volume: Volume, plane: Plane, value: number): Uint8Array {
  const mask = new Uint8Array(plane.width * plane.height);
  for (let v = 0, i = 0; v < plane.height; v++) {
    let at = plane.base + v * plane.dv;
    for (let u = 0; u < plane.width; u++, i++, at += plane.du) if (volume.data[at] === value) mask[i] = 1;
  }
  return mask;
}
