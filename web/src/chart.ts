/** Line charts as SVG: a live curve while a model trains, Dice against the number of labels. */

import { svg } from "./dom.ts";

export interface Line {
  name: string;
  points: readonly (readonly [x: number, y: number])[];
  /** `"left"` and `"right"` have scales of their own. */
  axis: "left" | "right";
  class: string;
  dots?: boolean;
}

export interface Band {
  x: number;
  low: number;
  high: number;
  middle: number;
}

export interface Chart {
  label: string;
  x: string;
  left: string;
  right?: string;
  /** Fixed range of an axis, such as 0..1 for Dice. */
  xRange?: [number, number];
  leftRange?: [number, number];
  rightRange?: [number, number];
  forecast?: Band | null;
}

const room = { width: 720, height: 260, left: 52, right: 16, top: 14, bottom: 40 };

/** About five round numbers within a range. */
export function ticks(low: number, high: number, count = 5): number[] {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough) ?? rough;
  const first = Math.ceil(low / step - 1e-9) * step;
  const values: number[] = [];
  for (let i = 0; first + i * step <= high + step * 1e-6; i++) values.push(Number((first + i * step).toPrecision(6)));
  return values;
}

function range(lines: readonly Line[], axis: 0 | 1, fixed?: [number, number]): [number, number] {
  if (fixed) return fixed;
  const values = lines.flatMap((l) => l.points.map((p) => p[axis])).filter(Number.isFinite);
  if (!values.length) return [0, 1];
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  if (low === high) return [low - 0.5, high + 0.5];
  const room = axis === 1 ? (high - low) * 0.06 : 0;
  return [low - room, high + room];
}

/** At most `limit` points of a curve, each the mean of its neighbors. */
export function thinned(points: readonly (readonly [number, number])[], limit = 400): (readonly [number, number])[] {
  if (points.length <= limit) return [...points];
  const bin = points.length / limit;
  return Array.from({ length: limit }, (_, i) => {
    const part = points.slice(Math.floor(i * bin), Math.floor((i + 1) * bin));
    const sum = part.reduce((a, p) => [a[0] + p[0], a[1] + p[1]] as const, [0, 0] as const);
    return [sum[0] / part.length, sum[1] / part.length] as const;
  });
}

export function chart(lines: readonly Line[], about: Chart): SVGSVGElement {
  const box = { ...room, right: about.right ? room.left : room.right };
  const xs = range([...lines, ...bandLine(about.forecast)], 0, about.xRange);
  const sides = {
    left: range(lines.filter((l) => l.axis === "left"), 1, about.leftRange),
    right: range(lines.filter((l) => l.axis === "right"), 1, about.rightRange),
  };
  const px = (x: number) => box.left + ((x - xs[0]) / (xs[1] - xs[0])) * (box.width - box.left - box.right);
  const py = (y: number, [low, high]: [number, number]) =>
    box.height - box.bottom - ((y - low) / (high - low)) * (box.height - box.top - box.bottom);
  const picture = svg("svg", {
    viewBox: `0 0 ${box.width} ${box.height}`,
    class: "chart",
    role: "img",
    "aria-label": `${about.label}. ${lines.map(told).join(". ")}`,
  });
  for (const y of ticks(...sides.left)) {
    const at = py(y, sides.left);
    picture.append(svg("line", { x1: box.left, x2: box.width - box.right, y1: at, y2: at, class: "rule" }), text(box.left - 8, at + 4, y, "end"));
  }
  if (about.right) for (const y of ticks(...sides.right)) picture.append(text(box.width - box.right + 8, py(y, sides.right) + 4, y, "start"));
  for (const x of ticks(...xs)) picture.append(text(px(x), box.height - box.bottom + 18, x, "middle"));
  picture.append(
    text((box.left + box.width - box.right) / 2, box.height - 6, about.x, "middle"),
    turned(14, about.left),
    ...(about.right ? [turned(box.width - 6, about.right)] : []),
  );
  if (about.forecast) picture.append(...band(about.forecast, px, (y) => py(y, sides.left)));
  for (const line of lines) picture.append(...drawn(line, px, (y) => py(y, sides[line.axis])));
  return picture;
}

function bandLine(forecast: Band | null | undefined): Line[] {
  return forecast ? [{ name: "", points: [[forecast.x, forecast.middle]], axis: "left", class: "" }] : [];
}

function told(line: Line): string {
  const last = line.points.at(-1);
  return last ? `${line.name}: ${line.points.length} points, the last ${last[1].toPrecision(3)} at ${last[0]}` : `${line.name}: no points yet`;
}

function text(x: number, y: number, content: string | number, anchor: string): SVGTextElement {
  return svg("text", { x, y, "text-anchor": anchor }, typeof content === "number" ? String(Number(content.toPrecision(4))) : content);
}

function turned(x: number, content: string): SVGTextElement {
  const y = (room.height - room.bottom + room.top) / 2;
  return svg("text", { x, y, "text-anchor": "middle", transform: `rotate(-90 ${x} ${y})` }, content);
}

function drawn(line: Line, px: (x: number) => number, py: (y: number) => number): SVGElement[] {
  const points = line.points.filter((p) => Number.isFinite(p[1]));
  const path = points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
  const dots = line.dots || points.length === 1 ? points.map(([x, y]) => svg("circle", { cx: px(x), cy: py(y), r: 3.5, class: `dot ${line.class}` })) : [];
  return [svg("path", { d: path, class: `line ${line.class}` }), ...dots];
}

function band(f: Band, px: (x: number) => number, py: (y: number) => number): SVGElement[] {
  const x = px(f.x);
  return [
    svg("line", { x1: x, x2: x, y1: py(f.low), y2: py(f.high), class: "line forecast" }),
    svg("circle", { cx: x, cy: py(f.middle), r: 3.5, class: "dot forecast" }),
  ];
}
