/** Icons of 20 x 20, drawn with strokes of the text color. */

import { svg } from "./dom.ts";

const paths = {
  brand: "M10 3a7 7 0 1 0 0 14V3ZM12 3.3c3 .8 5 3.6 5 6.7s-2 5.900-5 6.700",
  user: "M10 10a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM4 17c.5-3.500 3-5 6-5s5.500 1.500 6 5",
  keys: "M2.500 5.500h15v9h-15ZM5 8.500h1m2 0h1m2 0h1m2 0h1M6 11.500h8",
  theme: "M10 3v14a7 7 0 0 0 0-14ZM10 3a7 7 0 0 0 0 14",
  move: "M10 2v16M2 10h16M10 2 8 4m2-2 2 2M10 18l-2-2m2 2 2-2M2 10l2-2m-2 2 2 2M18 10l-2-2m2 2-2 2",
  pen: "M4 16l1-4 8.500-8.500 3 3L8 15ZM12 5l3 3",
  filled: "M4.500 11C3 6 8 3 11 4s6 4 5 8-6 5-9 3.500S5 12.500 4.500 11Zm3-1 4 4M9 7.500l5 5",
  eraser: "M7 16 3 12l8-8 6 6-6 6ZM7 8l6 6M7 16h10",
  threshold: "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM6 11c1.500 0 1.500-4 3-4s1.500 6 3 6 1.500-2 2.500-2",
  undo: "M7 5 3.500 8.500 7 12M4 8.500h8a4 4 0 0 1 0 8H8",
  redo: "M13 5l3.500 3.500L13 12M16 8.500H8a4 4 0 0 0 0 8h4",
  copy: "M3 4h10v9H3ZM7 13v3h10V7h-4",
  interpolate: "M4 4h5M3 16h14M6 8h6m-7 4h10",
  smooth: "M3 13c2-8 4-8 7-3s5 5 7-3",
  grid: "M3 3h6v6H3Zm8 0h6v6h-6ZM3 11h6v6H3Zm8 0h6v6h-6Z",
  table: "M3 4h14M3 8h14M3 12h14M3 16h14",
  previous: "M12 4l-6 6 6 6",
  next: "M8 4l6 6-6 6",
  eye: "M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5Zm8-2.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5Z",
  hidden: "M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5ZM4 16 16 4",
} as const;

export type Icon = keyof typeof paths;

export function icon(name: Icon): SVGSVGElement {
  return svg("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }, svg("path", { d: paths[name] }));
}
