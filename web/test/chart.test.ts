import assert from "node:assert/strict";
import { test } from "node:test";
import { thinned, ticks } from "../src/chart.ts";
import { duration, number, score } from "../src/format.ts";

test("ticks are round numbers within the range", () => {
  assert.deepEqual(ticks(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(0, 30000), [0, 10000, 20000, 30000]);
  assert.deepEqual(ticks(0.13, 0.19), [0.14, 0.16, 0.18]);
  assert.deepEqual(ticks(5, 5), [5]);
});

test("a long curve is thinned to means, a short one is not", () => {
  const long = Array.from({ length: 1000 }, (_, i) => [i, i % 2] as const);
  const short = thinned(long, 100);
  assert.equal(short.length, 100);
  assert.deepEqual(short[0], [4.5, 0.5]);
  assert.equal(thinned(long.slice(0, 50), 100).length, 50);
});

test("numbers as a person reads them", () => {
  assert.deepEqual([score(null), score(0.8734), number(0), number(1234.5), number(0.012345), number(-3.456)], ["–", "0.873", "0", "1,235", "0.0123", "-3.46"]);
  assert.deepEqual([duration(5.2), duration(200), duration(7300), duration(null)], ["5 s", "3 min 20 s", "2 h 1 min", "–"]);
});
