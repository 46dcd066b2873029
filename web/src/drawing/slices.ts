/** Whole slices: copied to their neighbor, and filled in between those that are drawn. */

import { signedDistance } from "./distance.ts";
import { maskOf, Plane, type Axis } from "./plane.ts";
import type { Edit, Volume } from "./volume.ts";

/** Copies one class of a slice onto another one of the same axis; other classes there stay. */
export function copySlice(edit: Edit, volume: Volume, axis: Axis, from: number, to: number, value: number): number {
  const source = new Plane(volume, axis, from);
  const target = new Plane(volume, axis, to);
  const mask = maskOf(volume, source, value);
  return fillIn(edit, volume, target, value, (i) => mask[i] === 1);
}

/**
 * Fills the slices between drawn ones with the shape in between: linear between signed distances (Raya and Udupa,
 * "Shape-based interpolation of multidimensional objects", IEEE TMI 9, 1990). Only unlabeled voxels change.
 * Returns the number of slices that were filled.
 */
export function interpolate(edit: Edit, volume: Volume, axis: Axis, value: number): number {
  const drawn = slicesWith(volume, axis, value);
  let slices = 0;
  drawn.forEach((next, n) => {
    const before = drawn[n - 1];
    if (before === undefined || next - before < 2) return;
    const [low, high] = [before, next].map((slice) => {
      const plane = new Plane(volume, axis, slice);
      return signedDistance(maskOf(volume, plane, value), plane.width, plane.height, plane.spacing);
    }) as [Float32Array, Float32Array];
    for (let slice = before + 1; slice < next; slice++) {
      const share = (slice - before) / (next - before);
      const inside = (i: number) => (1 - share) * (low[i] as number) + share * (high[i] as number) > 0;
      slices += fillIn(edit, volume, new Plane(volume, axis, slice), value, inside) ? 1 : 0;
    }
  });
  return slices;
}

function fillIn(edit: Edit, volume: Volume, plane: Plane, value: number, inside: (i: number) => boolean): number {
  const before = edit.length;
  for (let v = 0, i = 0; v < plane.height; v++) {
    for (let u = 0; u < plane.width; u++, i++) {
      const place = plane.voxel(u, v);
      if (inside(i) && volume.at(...place) === 0) edit.set(...place, value);
    }
  }
  return edit.length - before;
}

/** Slices of an axis that have a class, in order. */
export function slicesWith(volume: Volume, axis: Axis, value: number): number[] {
  const box = volume.boundsOf(value);
  if (!box) return [];
  const found: number[] = [];
  for (let slice = box.low[axis]; slice <= box.high[axis]; slice++) {
    if (maskOf(volume, new Plane(volume, axis, slice), value).includes(1)) found.push(slice);
  }
  return found;
}
