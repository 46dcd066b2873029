/** Colors of classes as the viewer takes them. */

/** Colors of class numbers; `a` 0 hides one. */
export interface ClassColors {
  r: number[];
  g: number[];
  b: number[];
  a: number[];
  names: string[];
}

/** Places of the table from classes; what has no class, or a hidden one, is transparent. */
export function colorTable(classes: readonly (readonly [number, { name: string; color: string; visible: boolean }])[]): ClassColors {
  const size = Math.max(1, ...classes.map(([at]) => at + 1));
  const zeros = () => new Array<number>(size).fill(0);
  const table: ClassColors = { r: zeros(), g: zeros(), b: zeros(), a: zeros(), names: new Array<string>(size).fill("") };
  for (const [at, c] of classes) {
    const [r = 0, g = 0, b = 0] = [1, 3, 5].map((i) => Number.parseInt(c.color.slice(i, i + 2), 16));
    [table.r[at], table.g[at], table.b[at], table.a[at], table.names[at]] = [r, g, b, c.visible ? 255 : 0, c.name];
  }
  return table;
}
