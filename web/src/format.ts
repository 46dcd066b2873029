/** Numbers, times and names as a person reads them. */

/** `0.873`; `–` where there is none. */
export function score(value: number | null | undefined, digits = 3): string {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits);
}

/** At most four significant digits, no exponent for common sizes. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
}

/** `3 min 20 s`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** Date and time in the reader's own zone; today only the time. */
export function when(iso: string | null | undefined): string {
  if (!iso) return "–";
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return iso;
  const clock = time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (time.toDateString() === new Date().toDateString()) return clock;
  return `${time.toLocaleDateString("en-CA")} ${clock}`;
}

/** Voxels and their size; of a photograph, whose file has rows first, width by height alone. */
export function size(shape: number[] | null, spacing: number[] | null, unit: string): [string, string] {
  if (!shape) return ["…", ""];
  if (unit === "px" && shape.length === 2) return [`${[...shape].reverse().join(" × ")} px`, ""];
  return [shape.join(" × "), spacing ? `${spacing.map((s) => number(s)).join(" × ")} ${unit}` : ""];
}

export function plural(count: number, noun: string): string {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}
