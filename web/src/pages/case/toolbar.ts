/** The tools above the scan. */

import { button, h, replace, select } from "../../dom.ts";
import { plural } from "../../format.ts";
import { icon, type Icon } from "../../icons.ts";
import { tell } from "../../notices.ts";
import type { Tool } from "../../drawing/pad.ts";
import type { Layout } from "../../viewer/viewer.ts";
import type { Desk } from "./desk.ts";

export const tools: readonly (readonly [tool: Tool, key: string, text: string, about: string, icon: Icon])[] = [
  ["move", "v", "Look", "Click moves the crosshair", "move"],
  ["pen", "p", "Pen", "Draws with the chosen class", "pen"],
  ["filled", "f", "Filled", "Draw an outline, its inside is filled", "filled"],
  ["eraser", "e", "Erase", "Removes what is drawn", "eraser"],
  ["threshold", "t", "Threshold", "Draws only where the gray value is in the range", "threshold"],
];

export const layouts: readonly (readonly [layout: Layout, key: string, text: string])[] = [
  ["planes", "q", "Three planes"],
  ["all", "g", "Planes and 3D"],
  ["axial", "x", "Axial"],
  ["coronal", "c", "Coronal"],
  ["sagittal", "s", "Sagittal"],
  ["render", "d", "3D"],
];

/** What the commands of the toolbar do; shortcuts call the same. */
export class Commands {
  private readonly desk: Desk;
  /** Loads what can be drawn on where there is only a preview. */
  private readonly load: () => Promise<void>;

  constructor(desk: Desk, load: () => Promise<void>) {
    this.desk = desk;
    this.load = load;
  }

  choose(tool: Tool): void {
    this.desk.settings.tool = tool;
    this.desk.viewer.canvas.classList.toggle("drawing", tool !== "move");
    this.desk.update();
    if (tool !== "move" && this.desk.preview) void this.load();
  }

  size(by: number): void {
    this.desk.settings.size = Math.min(41, Math.max(1, this.desk.settings.size + 2 * by));
    this.desk.update();
  }

  layout(layout: Layout): void {
    this.desk.layout = layout;
    this.desk.viewer.layout(layout);
    const axis = { axial: 2, coronal: 1, sagittal: 0 } as const;
    if (this.desk.pad && layout in axis) this.desk.pad.plane = axis[layout as keyof typeof axis];
    this.desk.update();
  }

  step(by: number): void {
    this.desk.viewer.step(this.desk.pad?.plane ?? 2, by);
  }

  nudge(key: string): void {
    const right = Number(key === "ArrowRight") - Number(key === "ArrowLeft");
    this.desk.viewer.nudge(this.desk.pad?.plane ?? 2, right, Number(key === "ArrowUp") - Number(key === "ArrowDown"));
  }

  undo(): void {
    this.allowed()?.undo();
  }

  redo(): void {
    this.allowed()?.redo();
  }

  copy(by: -1 | 1): void {
    const pad = this.allowed();
    if (pad && !pad.copyFrom(by)) tell(`Nothing of ${this.className} to copy from the slice ${by < 0 ? "before" : "after"}.`);
  }

  interpolate(): void {
    const pad = this.allowed();
    if (!pad) return;
    const slices = pad.interpolate();
    tell(slices ? `${plural(slices, "slice")} of ${this.className} filled.` : `Draw ${this.className} on two slices with others in between first.`);
  }

  smooth(): void {
    const pad = this.allowed();
    if (pad && !pad.smooth()) tell(`Nothing of ${this.className} to smooth.`);
  }

  private allowed() {
    const { pad } = this.desk;
    if (pad?.locked) tell(pad.locked);
    return pad?.locked ? null : pad;
  }

  private get className(): string {
    return this.desk.classes[this.desk.settings.value - 1]?.name ?? "";
  }
}

export function toolbar(desk: Desk, commands: Commands): HTMLElement {
  const bar = h("div", { class: "toolbar", role: "toolbar", "aria-label": "Drawing" });
  desk.watch(() => {
    const busy = document.activeElement;
    if (busy instanceof HTMLInputElement && busy.type !== "checkbox" && bar.contains(busy)) {
      refreshStates(bar, desk);
      return;
    }
    replace(bar, draw(desk, commands));
  });
  return bar;
}

/** While a number is typed or a slider moved, the bar is not built anew. */
function refreshStates(bar: HTMLElement, desk: Desk): void {
  for (const [name, on] of [["undo", desk.pad?.canUndo], ["redo", desk.pad?.canRedo]] as const) {
    const found = bar.querySelector<HTMLButtonElement>(`[data-name="${name}"]`);
    if (found) found.disabled = !on;
  }
}

function draw(desk: Desk, commands: Commands): (HTMLElement | false)[] {
  const { settings, pad } = desk;
  const none = !pad || pad.locked !== null;
  const command = (name: Icon, text: string, about: string, run: () => void, off = none) =>
    button([icon(name), h("span", {}, text)], run, { class: "tool", title: about, disabled: off, "data-name": name });
  return [
    h(
      "div",
      { class: "group tools", role: "group", "aria-label": "Tool" },
      tools.map(([tool, key, text, about, name]) =>
        button([icon(name), h("span", {}, text)], () => commands.choose(tool), {
          class: "tool",
          "aria-pressed": String(settings.tool === tool),
          title: `${about} (${key.toUpperCase()})`,
          disabled: tool !== "move" && (pad?.locked ?? null) !== null,
          "data-name": tool,
        }),
      ),
    ),
    settings.tool !== "move" && settings.tool !== "filled" && sizeBox(desk, commands),
    settings.tool === "threshold" && rangeBox(desk),
    settings.tool !== "move" && settings.tool !== "eraser" && check("Keep other classes", settings.protect, (on) => (settings.protect = on)),
    h(
      "div",
      { class: "group commands", role: "group", "aria-label": "Change" },
      command("undo", "Undo", "Undo (Ctrl Z)", () => commands.undo(), none || !pad?.canUndo),
      command("redo", "Redo", "Redo (Ctrl Shift Z)", () => commands.redo(), none || !pad?.canRedo),
      !desk.viewer.flat && command("copy", "Copy slice", "Copy the class from the slice before (K); from the slice after (Shift K)", () => commands.copy(-1)),
      !desk.viewer.flat && command("interpolate", "Interpolate", "Fill the slices between drawn ones (I)", () => commands.interpolate()),
      command("smooth", "Smooth", "Smooth the chosen class (M)", () => commands.smooth()),
    ),
  ];
}

/** Which planes are shown. */
export function viewBox(desk: Desk, commands: Commands): HTMLElement {
  const views = layouts.map(([value, key, text]) => [value, `${text} (${key.toUpperCase()})`] as const);
  return select(views, desk.layout, (layout) => commands.layout(layout as Layout), { "aria-label": "View" });
}

function sizeBox(desk: Desk, commands: Commands): HTMLElement {
  const { settings } = desk;
  const range = h("input", { type: "range", min: 1, max: 41, step: 2, value: String(settings.size), "aria-label": "Brush size in voxels" });
  const shown = h("output", {}, settings.size);
  range.addEventListener("input", () => {
    settings.size = Number(range.value);
    shown.textContent = range.value;
  });
  range.addEventListener("change", () => {
    range.blur();
    commands.size(0);
  });
  return h("div", { class: "group options" }, h("label", { class: "inline", title: "Brush size in voxels ([ and ])" }, "Size", range, shown), !desk.viewer.flat && check("Ball", settings.ball, (on) => (settings.ball = on)));
}

function rangeBox(desk: Desk): HTMLElement {
  const { settings } = desk;
  const box = (name: "low" | "high", label: string) => {
    const input = h("input", { type: "number", step: "any", value: String(round(settings[name])), "aria-label": label, class: "gray" });
    input.addEventListener("change", () => {
      settings[name] = Number(input.value);
    });
    return input;
  };
  const around = () => {
    const gray = desk.viewer.grayAt()(...desk.viewer.crosshair);
    if (!Number.isFinite(gray)) return;
    const { low, high } = desk.viewer.window;
    const reach = (high - low) * 0.12;
    [settings.low, settings.high] = [gray - reach, gray + reach];
    desk.update();
  };
  return h("div", { class: "group options" }, box("low", "Lowest gray value"), "to", box("high", "Highest gray value"), button("At crosshair", around, { title: "The gray values around that of the voxel at the crosshair" }));
}

function round(value: number): number {
  return Number(value.toPrecision(5));
}

function check(text: string, on: boolean, set: (on: boolean) => void): HTMLElement {
  const box = h("input", { type: "checkbox", checked: on, "data-name": text });
  box.addEventListener("change", () => set(box.checked));
  return h("label", { class: "inline" }, box, text);
}
