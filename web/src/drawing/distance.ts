/**
 * Exact Euclidean distances in a slice: Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions",
 * Theory of Computing 8 (2012).
 */

const FAR = 1e12;

/** Distance in mm to the edge of a mask: positive inside, negative outside; edges run between voxels. */
export function signedDistance(mask: Uint8Array, width: number, height: number, spacing: readonly [number, number]): Float32Array {
  const toInside = squared(mask, 1, width, height, spacing);
  const toOutside = squared(mask, 0, width, height, spacing);
  const half = Math.min(...spacing) / 2;
  return Float32Array.from(mask, (inside, i) => (inside ? Math.sqrt(toOutside[i] as number) - half : half - Math.sqrt(toInside[i] as number)));
}

/** Squared distance of each place to the nearest one with `value`. */
function squared(mask: Uint8Array, value: number, width: number, height: number, [su, sv]: readonly [number, number]): Float64Array {
  const out = Float64Array.from(mask, (m) => (m === value ? 0 : FAR));
  const line = new Float64Array(Math.max(width, height));
  const parabolas = envelope(line.length);
  for (let v = 0; v < height; v++) parabolas(out, v * width, 1, width, su);
  for (let u = 0; u < width; u++) parabolas(out, u, width, height, sv);
  return out;
}

/** Lower envelope of parabolas along one line of an array, in place. */
function envelope(longest: number): (values: Float64Array, start: number, step: number, length: number, spacing: number) => void {
  const places = new Int32Array(longest);
  const bounds = new Float64Array(longest + 1);
  const heights = new Float64Array(longest);
  return (values, start, step, length, spacing) => {
    const scale = spacing * spacing;
    let k = 0;
    places[0] = 0;
    bounds[0] = -Infinity;
    bounds[1] = Infinity;
    for (let q = 0; q < length; q++) heights[q] = values[start + q * step] as number;
    for (let q = 1; q < length; q++) {
      let cut = meets(heights, q, places[k] as number, scale);
      while (cut <= (bounds[k] as number)) cut = meets(heights, q, places[--k] as number, scale);
      places[++k] = q;
      bounds[k] = cut;
      bounds[k + 1] = Infinity;
    }
    for (let q = 0, n = 0; q < length; q++) {
      while ((bounds[n + 1] as number) < q) n++;
      const p = places[n] as number;
      values[start + q * step] = Math.min(FAR, (q - p) * (q - p) * scale + (heights[p] as number));
    }
  };
}

function meets(heights: Float64Array, q: number, p: number, scale: number): number {
  return ((heights[q] as number) / scale + q * q - ((heights[p] as number) / scale + p * p)) / (2 * (q - p));
}
