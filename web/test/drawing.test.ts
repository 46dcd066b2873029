import assert from "node:assert/strict";
import { test } from "node:test";
import { signedDistance } from "../src/drawing/distance.ts";
import { edges } from "../src/drawing/edges.ts";
import { maskOf, Plane } from "../src/drawing/plane.ts";
import { copySlice, interpolate, slicesWith } from "../src/drawing/slices.ts";
import { smooth } from "../src/drawing/smooth.ts";
import { between, filled, paintLine, stamp, type Brush } from "../src/drawing/strokes.ts";
import { Edit, History, Volume, type Triple } from "../src/drawing/volume.ts";

const brush = (size: number, more: Partial<Brush> = {}): Brush => ({ size, ball: false, takes: () => true, ...more });

function volume(dims: Triple = [9, 9, 9], spacing: Triple = [1, 1, 1]): Volume {
  return new Volume(dims, spacing);
}

/** A filled disc of a class on one axial slice. */
function disc(v: Volume, z: number, radius: number, value = 1, center: [number, number] = [4, 4]): void {
  for (let y = 0; y < v.dims[1]; y++) {
    for (let x = 0; x < v.dims[0]; x++) {
      if (Math.hypot(x - center[0], y - center[1]) <= radius) v.data[v.index(x, y, z)] = value;
    }
  }
  v.count();
}

test("an edit is undone and made again, also where a voxel was changed twice", () => {
  const v = volume();
  const history = new History();
  const edit = new Edit(v);
  edit.set(1, 2, 3, 1);
  edit.set(1, 2, 3, 2);
  edit.set(4, 4, 4, 1);
  history.push(edit);
  assert.deepEqual([v.at(1, 2, 3), v.counts[1], v.counts[2]], [2, 1, 1]);
  assert.deepEqual(history.undo(), { low: [1, 2, 3], high: [4, 4, 4] });
  assert.deepEqual([v.at(1, 2, 3), v.at(4, 4, 4), v.counts[0]], [0, 0, 729]);
  history.redo();
  assert.deepEqual([v.at(1, 2, 3), v.at(4, 4, 4), v.counts[2]], [2, 1, 1]);
  assert.equal(history.redo(), null);
});

test("a new edit ends what could be made again, and old ones are forgotten at the limit", () => {
  const v = volume();
  const history = new History(40);
  for (const value of [1, 2, 3]) {
    const edit = new Edit(v);
    for (let x = 0; x < 3; x++) edit.set(x, 0, 0, value);
    history.push(edit);
  }
  assert.ok(history.undo());
  const other = new Edit(v);
  other.set(8, 8, 8, 1);
  history.push(other);
  assert.equal(history.canRedo, false);
  while (history.canUndo) history.undo();
  assert.equal(v.at(0, 0, 0), 1, "the first edit is beyond the limit and stays");
});

test("a brush is round in mm, and reaches other slices only as a ball", () => {
  const v = volume([11, 11, 11], [1, 2, 1]);
  const plane = new Plane(v, 2, 5);
  const covered: Triple[] = [];
  stamp(v, plane, [5, 5, 5], brush(5), (...p) => covered.push(p));
  assert.equal(Math.max(...covered.map((p) => Math.abs(p[0] - 5))), 2);
  assert.equal(Math.max(...covered.map((p) => Math.abs(p[1] - 5))), 1);
  assert.ok(covered.every((p) => p[2] === 5));
  const ball: Triple[] = [];
  stamp(v, plane, [5, 5, 5], brush(5, { ball: true }), (...p) => ball.push(p));
  assert.equal(Math.max(...ball.map((p) => Math.abs(p[2] - 5))), 2);
  stamp(v, plane, [0, 0, 0], brush(1), (...p) => assert.deepEqual(p, [0, 0, 0]));
});

test("a line leaves no gap, however fast the mouse was, and takes only what the brush takes", () => {
  const steps = [...between([0, 0], [7, 3])];
  assert.deepEqual([steps[0], steps.at(-1)], [[0, 0], [7, 3]]);
  for (let i = 1; i < steps.length; i++) assert.ok(Math.abs(steps[i]![0] - steps[i - 1]![0]) <= 1 && Math.abs(steps[i]![1] - steps[i - 1]![1]) <= 1);
  const v = volume();
  const edit = new Edit(v);
  paintLine(edit, v, new Plane(v, 0, 4), [0, 4], [8, 4], brush(1, { takes: (_x, y) => y !== 3 }), 2);
  assert.equal(v.counts[2], 8);
  assert.equal(v.at(4, 3, 4), 0);
});

test("a closed outline is filled, concave ones as well, and nothing outside the slice", () => {
  const v = volume();
  const plane = new Plane(v, 2, 0);
  const square = filled(plane, [[1, 1], [5, 1], [5, 5], [1, 5]]);
  assert.equal(square.length, 25);
  const notch = new Set(filled(plane, [[0, 0], [8, 0], [8, 8], [4, 2], [0, 8]]).map(String));
  assert.ok(notch.has("1,4") && notch.has("7,4") && !notch.has("4,6"));
  assert.ok(filled(plane, [[-3, 4], [20, 4], [20, 20]]).every(([u, w]) => plane.inside(u, w)));
});

test("distances are exact, in mm, positive inside", () => {
  const [width, height] = [13, 9];
  const mask = new Uint8Array(width * height);
  for (let y = 3; y <= 5; y++) for (let x = 4; x <= 8; x++) mask[x + y * width] = 1;
  const spacing: [number, number] = [0.5, 2];
  const found = signedDistance(mask, width, height, spacing);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let nearest = Infinity;
      for (let j = 0; j < height; j++) {
        for (let i = 0; i < width; i++) {
          if (mask[i + j * width] !== mask[x + y * width]) nearest = Math.min(nearest, Math.hypot((i - x) * spacing[0], (j - y) * spacing[1]));
        }
      }
      const expected = (mask[x + y * width] ? 1 : -1) * (nearest - 0.25);
      assert.ok(Math.abs((found[x + y * width] as number) - expected) < 1e-4, `${x},${y}`);
    }
  }
});

test("slices between drawn ones get the shape between them; what is drawn stays", () => {
  const v = volume([21, 21, 9]);
  disc(v, 0, 3, 1, [10, 10]);
  disc(v, 4, 7, 1, [10, 10]);
  v.data[v.index(10, 10, 2)] = 2;
  v.count();
  const edit = new Edit(v);
  assert.equal(interpolate(edit, v, 2, 1), 3);
  const areas = [0, 1, 2, 3, 4].map((z) => maskOf(v, new Plane(v, 2, z), 1).reduce((a, b) => a + b, 0));
  for (let z = 1; z < 5; z++) assert.ok((areas[z] as number) > (areas[z - 1] as number), String(areas));
  assert.ok(Math.abs((areas[2] as number) + 1 - Math.PI * 25) < 12, String(areas));
  assert.equal(v.at(10, 10, 2), 2);
  assert.deepEqual(slicesWith(v, 2, 1), [0, 1, 2, 3, 4]);
});

test("a slice is copied onto its neighbor, other classes stay", () => {
  const v = volume();
  disc(v, 3, 2);
  v.data[v.index(4, 4, 4)] = 2;
  v.count();
  const edit = new Edit(v);
  assert.equal(copySlice(edit, v, 2, 3, 4, 1), 12);
  assert.equal(v.at(4, 4, 4), 2);
  edit.undo();
  assert.equal(v.counts[1], 13);
});

test("smoothing removes spikes and fills dents, keeps a ball and other classes", () => {
  const v = volume([17, 17, 17]);
  const inside = (x: number, y: number, z: number, r: number) => Math.hypot(x - 8, y - 8, z - 8) <= r;
  for (let z = 0, i = 0; z < 17; z++) for (let y = 0; y < 17; y++) for (let x = 0; x < 17; x++, i++) if (inside(x, y, z, 5)) v.data[i] = 1;
  v.count();
  const ball = v.counts[1] as number;
  v.data[v.index(8, 8, 15)] = 1;
  v.data[v.index(8, 8, 8)] = 0;
  v.data[v.index(14, 8, 8)] = 2;
  v.count();
  smooth(new Edit(v), v, 1);
  assert.deepEqual([v.at(8, 8, 15), v.at(8, 8, 8), v.at(14, 8, 8)], [0, 1, 2]);
  assert.ok(Math.abs((v.counts[1] as number) - ball) < 0.03 * ball, `${v.counts[1]} of ${ball}`);
});

test("thick slices are not smoothed across, and the edge of the scan takes nothing away", () => {
  const v = volume([9, 9, 3], [1, 1, 5]);
  for (let y = 0; y < 9; y++) for (let x = 0; x < 9; x++) v.data[v.index(x, y, 1)] = 1;
  v.count();
  smooth(new Edit(v), v, 1);
  assert.deepEqual([v.counts[1], v.at(0, 0, 1), v.at(4, 4, 0)], [81, 1, 0]);
});

test("an outline is what touches another class or the edge of the scan", () => {
  const v = volume([5, 5, 5]);
  v.data.fill(1);
  assert.equal(edges(v.data, v.dims).reduce((a, b) => a + b, 0), 125 - 27);
  v.data[v.index(2, 2, 2)] = 2;
  const found = edges(v.data, v.dims);
  assert.deepEqual([found[v.index(2, 2, 2)], found[v.index(1, 2, 2)], found[v.index(1, 1, 1)]], [2, 1, 0]);
  assert.equal(edges(new Uint8Array(25).fill(1), [5, 5, 1]).reduce((a, b) => a + b, 0), 16, "a picture has no slices beside");
});
