/** The drawing pad: mouse, tool and class become edits of the label map, shown at once. */

import type { Place, Viewer } from "../viewer/viewer.ts";
import { Plane, type Axis } from "./plane.ts";
import { copySlice, interpolate } from "./slices.ts";
import { smooth } from "./smooth.ts";
import { filled, paintLine, type Brush } from "./strokes.ts";
import { Edit, History, type Box, type Triple, Volume } from "./volume.ts";

export type Tool = "move" | "pen" | "filled" | "eraser" | "threshold";

export interface Settings {
  tool: Tool;
  /** Class number that is drawn. */
  value: number;
  size: number;
  ball: boolean;
  /** Draw on unlabeled voxels alone. */
  protect: boolean;
  /** Gray values of the threshold brush. */
  low: number;
  high: number;
}

export class Pad {
  readonly volume: Volume;
  readonly settings: Settings;
  /** After each change of the drawing, whole strokes. */
  onchange: (() => void) | null = null;
  /** Why nothing can be drawn; `null`: it can. */
  locked: string | null = null;
  onlocked: ((why: string) => void) | null = null;
  private readonly viewer: Viewer;
  private readonly history = new History();
  private readonly listening = new AbortController();
  private stroke: { edit: Edit; plane: Plane; last: [number, number]; outline: [number, number][]; brush: Brush; value: number } | null = null;
  private axis: Axis = 2;

  constructor(viewer: Viewer, settings: Settings, data?: Uint8Array) {
    this.viewer = viewer;
    this.settings = settings;
    this.volume = new Volume(viewer.dims, viewer.spacing, data);
    viewer.startDrawing(this.volume.data);
    const target = viewer.canvas.parentElement as HTMLElement;
    const options = { signal: this.listening.signal, capture: true };
    target.addEventListener("pointerdown", (e) => this.down(e), options);
    target.addEventListener("pointermove", (e) => this.move(e), options);
    target.addEventListener("pointerup", (e) => this.up(e), options);
    target.addEventListener("pointercancel", (e) => this.up(e), options);
    // The viewer listens to the mouse events that follow; while something is drawn they are not its own.
    for (const name of ["mousedown", "mousemove", "mouseup", "touchstart", "touchmove"]) {
      target.addEventListener(name, (e) => this.keep(e), options);
    }
  }

  close(): void {
    this.listening.abort();
  }

  get canUndo(): boolean {
    return this.history.canUndo;
  }

  get canRedo(): boolean {
    return this.history.canRedo;
  }

  /** What the drawing is now: the same thing again when it is undone to it. */
  get state(): unknown {
    return this.stroke?.edit ?? this.history.top;
  }

  /** The plane that was drawn in last, or the one that the mouse was over. */
  get plane(): Axis {
    return this.axis;
  }

  set plane(axis: Axis) {
    this.axis = axis;
  }

  undo(): void {
    this.shown(this.history.undo());
  }

  redo(): void {
    this.shown(this.history.redo());
  }

  /** Puts another label map in the place of this one; can be undone. */
  replaceWith(data: Uint8Array): void {
    this.command((edit) => {
      const [nx, ny, nz] = this.volume.dims;
      for (let z = 0, i = 0; z < nz; z++) {
        for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++, i++) edit.set(x, y, z, data[i] as number);
      }
    });
  }

  /** Copies the class from the slice before (-1) or after (1) the crosshair onto its slice. */
  copyFrom(by: -1 | 1): number {
    const slice = this.viewer.crosshair[this.axis];
    const source = slice + by;
    if (source < 0 || source >= this.volume.dims[this.axis]) return 0;
    return this.command((edit) => copySlice(edit, this.volume, this.axis, source, slice, this.settings.value));
  }

  /** Number of slices that were filled. */
  interpolate(): number {
    return this.command((edit) => interpolate(edit, this.volume, this.axis, this.settings.value));
  }

  smooth(): number {
    return this.command((edit) => {
      smooth(edit, this.volume, this.settings.value);
      return edit.length;
    });
  }

  private command<T>(work: (edit: Edit) => T): T {
    const edit = new Edit(this.volume);
    const result = work(edit);
    this.finish(edit);
    return result;
  }

  private finish(edit: Edit): void {
    if (!edit.length) return;
    this.history.push(edit);
    this.shown(edit.box);
  }

  private shown(box: Box | null): void {
    if (!box) return;
    this.viewer.refresh(box);
    this.onchange?.();
  }

  private keep(event: Event): void {
    if (this.stroke || (this.settings.tool !== "move" && event instanceof MouseEvent && event.button === 0 && event.type !== "mousemove" && this.viewer.at(event))) {
      event.stopPropagation();
      if (event.cancelable) event.preventDefault();
    }
  }

  private down(event: PointerEvent): void {
    const place = this.viewer.at(event);
    if (place) this.axis = place.axis;
    if (!place || event.button !== 0 || this.settings.tool === "move" || this.stroke) return;
    this.viewer.canvas.focus({ preventScroll: true });
    if (this.locked !== null) {
      this.onlocked?.(this.locked);
      return;
    }
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
    this.viewer.crosshair = place.voxel;
    this.begin(place);
  }

  /** One touch of the tool at the crosshair, for those who draw by keys. */
  touch(): void {
    if (this.locked !== null) this.onlocked?.(this.locked);
    else if (this.settings.tool !== "move" && !this.stroke) {
      this.begin({ voxel: this.viewer.crosshair, axis: this.axis });
      this.end();
    }
  }

  private begin({ voxel, axis }: Place): void {
    const plane = new Plane(this.volume, axis, voxel[axis]);
    const at = plane.flat(voxel);
    const { tool, value } = this.settings;
    this.stroke = { edit: new Edit(this.volume), plane, last: at, outline: [at], brush: this.brush(), value: tool === "eraser" ? 0 : value };
    this.paint(at);
    if (this.stroke.edit.length) this.onchange?.(); // a long stroke is in a draft before it ends
  }

  private move(event: PointerEvent): void {
    const { stroke } = this;
    if (!stroke) return;
    for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
      const place = this.viewer.at(one);
      if (place?.axis === stroke.plane.axis) this.paint(stroke.plane.flat(place.voxel));
    }
  }

  private paint(at: [number, number]): void {
    const { stroke } = this;
    if (!stroke) return;
    paintLine(stroke.edit, this.volume, stroke.plane, stroke.last, at, stroke.brush, stroke.value);
    stroke.last = at;
    stroke.outline.push(at);
    const fresh = stroke.edit.takeFresh();
    if (fresh) this.viewer.refresh(fresh);
  }

  private up(event: PointerEvent): void {
    this.move(event);
    this.end();
  }

  private end(): void {
    const { stroke } = this;
    if (!stroke) return;
    this.stroke = null;
    if (this.settings.tool === "filled") {
      for (const [u, v] of filled(stroke.plane, stroke.outline)) {
        const voxel = stroke.plane.voxel(u, v);
        if (stroke.brush.takes(...voxel)) stroke.edit.set(...voxel, stroke.value);
      }
    }
    this.finish(stroke.edit);
  }

  private brush(): Brush {
    const { tool, size, ball, protect, low, high, value } = this.settings;
    const gray = tool === "threshold" ? this.viewer.grayAt() : null;
    const free = (x: number, y: number, z: number) => {
      const old = this.volume.at(x, y, z);
      return old === 0 || old === value;
    };
    const inRange = (x: number, y: number, z: number) => {
      const g = gray!(x, y, z);
      return g >= low && g <= high;
    };
    const takes = (...voxel: Triple) => (!protect || tool === "eraser" || free(...voxel)) && (!gray || inRange(...voxel));
    // An outline that is filled is thin, however large the brush is.
    return { size: tool === "filled" ? 1 : size, ball: ball && tool !== "filled", takes };
  }
}
