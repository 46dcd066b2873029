import assert from "node:assert/strict";
import { test } from "node:test";
import { packed, unpacked } from "../src/drawing/packing.ts";
import { read, toFile, toViewer, write, type Order } from "../src/drawing/nifti.ts";

/** A scan of int16 on 3 x 4 x 2 voxels. */
function scan(): ArrayBuffer {
  const file = new ArrayBuffer(352 + 24 * 2);
  const header = new DataView(file);
  header.setInt32(0, 348, true);
  [3, 3, 4, 2, 1, 1, 1, 1].forEach((n, i) => header.setInt16(40 + 2 * i, n, true));
  header.setInt16(70, 4, true);
  header.setInt16(72, 16, true);
  header.setFloat32(108, 352, true);
  header.setFloat32(112, 2.5, true);
  header.setFloat32(280, -1.5, true);
  new Uint8Array(file).set([0x6e, 0x2b, 0x31, 0], 344);
  return file;
}

/** File order turned around in x, with y and z exchanged, as the viewer may show it. */
const order: Order = { dims: [3, 2, 4], start: 2, step: [-1, 12, 3] };

test("a label goes to the viewer and back unchanged, whatever the order of its axes", () => {
  const values = [0, 1, 7, 300];
  const voxels = Uint16Array.from({ length: 24 }, (_, i) => values[(i * 7) % 4] as number);
  const { data, unknown } = toViewer(voxels, order, new Map([[1, 1], [7, 2], [300, 3]]));
  assert.equal(unknown, 0);
  assert.equal(data[0], [0, 1, 2, 3][values.indexOf(voxels[2] as number)]);
  assert.deepEqual(toFile(data, order, values), voxels);
});

test("values of no class are counted and shown as unlabeled", () => {
  const { data, unknown } = toViewer(Uint8Array.from({ length: 24 }, (_, i) => (i < 5 ? 9 : 1)), order, new Map([[1, 1]]));
  assert.equal(unknown, 5);
  assert.equal(data.filter((v) => v === 0).length, 5);
});

test("a label is written on the grid of the scan, with a type and slope of its own", () => {
  const label = Uint8Array.from({ length: 24 }, (_, i) => i % 3);
  const file = write(scan(), label);
  const header = new DataView(file.buffer);
  assert.deepEqual([header.getInt16(70, true), header.getInt16(72, true), header.getFloat32(112, true), header.getFloat32(280, true)], [2, 8, 1, -1.5]);
  assert.deepEqual(read(file.buffer), { dims: [3, 4, 2], voxels: label });
  const wide = read(write(scan(), Uint16Array.from(label, (v) => v * 400)).buffer);
  assert.equal(wide.voxels[2], 800);
});

test("files that end early or are none are refused", () => {
  assert.throws(() => read(scan().slice(0, 380)), /ends early/);
  assert.throws(() => read(new ArrayBuffer(400)), /not a NIfTI/);
});

test("packed bytes are unpacked, others left", async () => {
  const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i % 7);
  const small = await (await packed(bytes)).arrayBuffer();
  assert.ok(small.byteLength < 200);
  assert.deepEqual(new Uint8Array(await unpacked(small)), bytes);
  assert.equal(await unpacked(bytes.buffer), bytes.buffer);
});
