/** Smooths the surface of one class. */

import type { Axis } from "./plane.ts";
import type { Box, Edit, Triple, Volume } from "./volume.ts";

/** Axes with voxels this much longer than the shortest are not smoothed along. */
const THICK = 2.5;

/** Round shapes shrink where half of a neighborhood is asked for; down to this share their size is kept instead. */
const LEAST = 0.35;

/**
 * A voxel is inside where enough of its weighted neighborhood is (binomial weights 1 4 6 4 1 along each axis): half,
 * or the share between LEAST and a half that keeps the size of the class. Voxels of other classes do not change.
 */
export function smooth(edit: Edit, volume: Volume, value: number): void {
  const bounds = volume.boundsOf(value);
  if (!bounds) return;
  const box = padded(bounds, volume, 2);
  const size = box.high.map((h, i) => h - (box.low[i] as number) + 1) as Triple;
  let part = cut(volume, box, size, value);
  const shortest = Math.min(...volume.spacing);
  for (const axis of [0, 1, 2] as const) {
    if (volume.spacing[axis] <= THICK * shortest && volume.dims[axis] > 2) part = blurred(part, size, axis);
  }
  const enough = keepingSize(part, volume.counts[value] as number);
  let i = 0;
  for (let z = box.low[2]; z <= box.high[2]; z++) {
    for (let y = box.low[1]; y <= box.high[1]; y++) {
      for (let x = box.low[0]; x <= box.high[0]; x++, i++) {
        const old = volume.at(x, y, z);
        const inside = (part[i] as number) >= enough;
        if (inside && old === 0) edit.set(x, y, z, value);
        else if (!inside && old === value) edit.set(x, y, z, 0);
      }
    }
  }
}

/** The share between LEAST and 0.5 that the nearest to `size` voxels reach. */
function keepingSize(part: Float32Array, size: number): number {
  const steps = 60;
  const reach = new Uint32Array(steps + 1);
  for (const value of part) {
    if (value >= LEAST) reach[Math.min(steps, Math.floor(((value - LEAST) / (0.5 - LEAST)) * steps))]! += 1;
  }
  let count = reach[steps] as number;
  let step = steps;
  while (step > 0 && count + (reach[step - 1] as number) <= size) count += reach[--step] as number;
  return LEAST + (step / steps) * (0.5 - LEAST);
}

function padded(box: Box, volume: Volume, by: number): Box {
  return {
    low: box.low.map((v) => Math.max(0, v - by)) as Triple,
    high: box.high.map((v, i) => Math.min((volume.dims[i] as number) - 1, v + by)) as Triple,
  };
}

function cut(volume: Volume, box: Box, size: Triple, value: number): Float32Array {
  const part = new Float32Array(size[0] * size[1] * size[2]);
  let i = 0;
  for (let z = box.low[2]; z <= box.high[2]; z++) {
    for (let y = box.low[1]; y <= box.high[1]; y++) {
      for (let x = box.low[0]; x <= box.high[0]; x++, i++) part[i] = volume.at(x, y, z) === value ? 1 : 0;
    }
  }
  return part;
}

/** Weighted mean along an axis; beyond an end its last voxel goes on, so that nothing shrinks at the edge of the scan. */
function blurred(values: Float32Array, size: Triple, axis: Axis): Float32Array {
  const step = [1, size[0], size[0] * size[1]][axis] as number;
  const length = size[axis];
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const at = Math.floor(i / step) % length;
    const value = (by: number) => values[i + (Math.min(length - 1, Math.max(0, at + by)) - at) * step] as number;
    out[i] = (value(-2) + 4 * value(-1) + 6 * value(0) + 4 * value(1) + value(2)) / 16;
  }
  return out;
}
