/** Case: one scan in three planes, with layers over it and tools to draw. */

import { casePath, client, get, send } from "../api.ts";
import { button, h, replace } from "../dom.ts";
import { number } from "../format.ts";
import { icon } from "../icons.ts";
import { settled } from "../drawing/drafts.ts";
import { bind, type Binding } from "../keys.ts";
import { attempt, failure, tell, words } from "../notices.ts";
import { href, type Page } from "../route.ts";
import type { CaseDetail, Dice } from "../types.ts";
import { Viewer } from "../viewer/viewer.ts";
import { neighbor } from "./cases/order.ts";
import { classPanel, pickClass } from "./case/classes.ts";
import { Desk } from "./case/desk.ts";
import { decisions, factsPanel, lock, type Decisions } from "./case/facts.ts";
import { Layers, windowPanel } from "./case/layers.ts";
import { importLabel } from "./case/saving.ts";
import { Commands, layouts, toolbar, tools, viewBox } from "./case/toolbar.ts";

export const casePage: Page = async (root, { session }, { id }) => {
  await settled(id);
  const detail = await get<CaseDetail>(casePath(id));
  const canvas = h("canvas", { "aria-label": `Scan ${id}`, class: "scan" });
  const wait = h("div", { class: "loading", role: "status" });
  const place = h("output", { class: "place" });
  const stage = h("div", { class: "stage" }, h("div", { class: "screen" }, canvas), wait, place);
  const side = h("aside", { class: "side", "aria-label": "About this case" });
  const bars = h("div", {});
  root.append(bars, h("div", { class: "workbench" }, stage, side));

  // The viewer measures its place on the screen, so it starts when the page is shown.
  let desk: Desk | null = null;
  let left = false;
  let stop = () => {};
  const begin = async () => {
    const viewer = await Viewer.open(canvas);
    desk = new Desk(session, detail, viewer, (text, share) => progress(wait, text, share));
    stop = await open(desk, { bars, side, stage, place });
    if (left) await leave();
  };
  const leave = async () => {
    left = true;
    bind();
    stop();
    await desk?.close();
  };
  requestAnimationFrame(() => {
    if (left) return;
    begin().catch((error: unknown) => {
      if (left) return;
      desk?.viewer.close();
      replace(stage, failure(error, () => location.reload()));
    });
  });
  return leave;
};

function progress(wait: HTMLElement, text: string | null, share?: number): void {
  replace(wait, text && h("span", {}, text), text && share !== undefined && h("progress", { max: 1, value: share, "aria-label": text }));
}

interface Places {
  bars: HTMLElement;
  side: HTMLElement;
  stage: HTMLElement;
  place: HTMLElement;
}

/** Loads the scan and what lies over it, and fills the page; returns what ends it. */
async function open(desk: Desk, { bars, side, stage, place }: Places): Promise<() => void> {
  const { detail, viewer } = desk;
  const large = detail.images[0]?.preview_url !== null;
  await desk.show(0, !large || desk.box !== null);
  const layers = new Layers(desk);
  const startDrawing = async () => {
    const strange = await desk.startDrawing();
    if (strange) tell(strange, "error");
    if (desk.changed) tell("Your draft is here again.");
    desk.pad!.locked = lock(detail);
    desk.pad!.onlocked = (why) => tell(why);
    desk.drafts!.onrefused = (error) => tell(words(error), "error");
    layers.drawn();
  };
  // A draft of the whole scan is gone on with on the whole scan.
  const load = async (part: boolean) => {
    if (!desk.preview) return;
    await attempt(async () => {
      const there = viewer.world;
      if (part && !detail.draft_url) await desk.choosePart();
      await desk.show(0, true);
      viewer.world = there;
      await startDrawing();
      await layers.again();
    });
    desk.update();
    where(desk, place);
  };
  const commands = new Commands(desk, () => load(viewer.slow));
  const go = (by: 1 | -1) => goTo(desk, by);
  const does = decisions(desk, layers, () => go(1));
  replace(bars, headline(desk, commands, go, load), toolbar(desk, commands));
  replace(side, factsPanel(desk, does), classPanel(desk), layers.panel, windowPanel(desk, (channel) => desk.show(channel, !desk.preview)));
  viewer.onmove = () => where(desk, place);
  bind(shortcuts(desk, commands, layers, does, go));
  commands.layout(viewer.flat ? "axial" : viewer.slow ? "planes" : "all");
  if (desk.preview) await layers.set("label", true);
  else await startDrawing();
  if (detail.prediction_url && !detail.label_url && !detail.draft_url) await layers.set("prediction", true);
  desk.update();
  where(desk, place);
  void agreement(desk);
  const beat = mark(desk);
  const listening = new AbortController();
  for (const used of ["pointermove", "wheel", "keydown"]) addEventListener(used, () => desk.active(), { signal: listening.signal, passive: true });
  drop(desk, stage, listening.signal);
  const leaving = () => void desk.drafts?.flush();
  addEventListener("pagehide", leaving, { signal: listening.signal });
  document.addEventListener("visibilitychange", leaving, { signal: listening.signal });
  stage.dataset["ready"] = "true";
  return () => {
    window.clearInterval(beat);
    listening.abort();
    if (desk.changed) void send("POST", casePath(detail.id, "/drawing"), { client, on: false }).catch(() => {});
  };
}

function headline(desk: Desk, commands: Commands, go: (by: 1 | -1) => Promise<boolean>, load: (part: boolean) => Promise<void>): HTMLElement {
  const bar = h("div", { class: "headline" });
  desk.watch(() => {
    replace(
      bar,
      h("a", { href: "#/cases", class: "quiet button" }, icon("previous"), "Cases"),
      h("h1", {}, desk.detail.id),
      desk.preview && h("span", { class: "mark" }, "coarse preview"),
      desk.preview && button("Draw here", () => void load(true), { title: "The part around the crosshair, in full resolution" }),
      desk.preview && button("Full resolution", () => void load(false), { title: "The whole scan; slow without a graphics card" }),
      desk.box !== null && h("span", { class: "mark" }, `part: ${extent(desk.box)} voxels`),
      desk.box !== null && button("Whole scan", again, { disabled: desk.changed, title: desk.changed ? "Save first" : "Back to the preview, to choose another part" }),
      h("span", { class: "grow" }),
      !desk.viewer.flat && viewBox(desk, commands),
      button([icon("previous"), "Before"], () => void go(-1), { title: "Case before this one in the list (B)" }),
      button(["Next", icon("next")], () => void go(1), { title: "Next case of the list (N)" }),
    );
  });
  return bar;
}

/** `250 × 250 × 120` of a box. */
function extent(box: string): string {
  const ends = box.split(",").map(Number);
  return [0, 2, 4].map((i) => (ends[i + 1] as number) - (ends[i] as number)).join(" × ");
}

/** Opens the page of this case anew. */
function again(): void {
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Opens the case before or after this one; answers whether there is one. */
async function goTo(desk: Desk, by: 1 | -1): Promise<boolean> {
  const { id, previous, next } = desk.detail;
  let found: string | null = null;
  await attempt(async () => {
    found = await neighbor(id, by, by > 0 ? next : previous);
    if (found) location.hash = href("case", found);
    else tell(by > 0 ? "This is the last case of the list." : "This is the first case of the list.");
  });
  return found !== null;
}

/** Dice of the prediction with the label of a large scan, which takes a moment. */
async function agreement(desk: Desk): Promise<void> {
  const { dice, dice_url } = desk.detail;
  if (dice || !dice_url) return;
  const found = await get<Dice>(dice_url).catch(() => null);
  desk.detail.dice = found;
  if (found) desk.update();
}

/** Voxel, gray value and class at the crosshair. */
function where(desk: Desk, place: HTMLElement): void {
  const voxel = desk.viewer.crosshair;
  const gray = desk.viewer.grayAt()(...voxel);
  const value = desk.pad?.volume.at(...voxel) ?? 0;
  const name = desk.classes[value - 1]?.name;
  const at = desk.preview || desk.box ? `${desk.viewer.world.map((mm) => Math.round(mm)).join(", ")} mm` : desk.viewer.counted.join(", ");
  place.textContent = [at, Number.isFinite(gray) && `gray ${number(gray)}`, name].filter(Boolean).join(" · ");
}

/** Tells the server every 20 s who draws here, and the user who else does. */
function mark(desk: Desk): number {
  const beat = async () => {
    if (!desk.changed || document.hidden) return;
    try {
      const said = await send<{ drawing: CaseDetail["drawing"] }>("POST", casePath(desk.detail.id, "/drawing"), { client, on: true });
      if (said.drawing?.user !== desk.detail.drawing?.user) {
        desk.detail.drawing = said.drawing;
        desk.update();
      }
    } catch {
      // The draft tells when the server is away.
    }
  };
  let known = false;
  desk.watch(() => {
    if (desk.changed && !known) void beat();
    known = desk.changed;
  });
  return window.setInterval(() => void beat(), 20000);
}

/** A label file that is dropped on the scan is taken in. */
function drop(desk: Desk, stage: HTMLElement, signal: AbortSignal): void {
  stage.addEventListener(
    "drop",
    (event) => {
      const file = event.dataTransfer?.files[0];
      if (file) void attempt(() => importLabel(desk, file));
    },
    { signal },
  );
}

function shortcuts(desk: Desk, commands: Commands, layers: Layers, does: Decisions, go: (by: 1 | -1) => Promise<boolean>): Binding[] {
  const again = true;
  const last = Math.min(9, desk.classes.length);
  const slices: Binding[] = [
    { keys: ["k"], text: "Copy the class from the slice before", run: () => commands.copy(-1) },
    { keys: ["Shift+k"], text: "Copy the class from the slice after", run: () => commands.copy(1) },
    { keys: ["i"], text: "Interpolate between drawn slices", run: () => commands.interpolate() },
    { keys: ["ArrowUp", "ArrowDown"], text: "Next slice, slice before; or the wheel", repeats: again, run: (e) => commands.step(e.key === "ArrowUp" ? 1 : -1) },
    ...layouts.map(([layout, key, text]) => ({ keys: [key], text, run: () => commands.layout(layout) })),
  ];
  const digits = desk.classes.slice(0, 9).map((c, i) => ({ keys: [String(c.number)], text: "Class to draw with", run: () => pickClass(desk, c.number), listed: i ? false : last > 1 ? `1 … ${last}` : "1" }) as Binding);
  return [
    ...tools.map(([tool, key, text, about]) => ({ keys: [key], text: `${text}: ${about.charAt(0).toLowerCase()}${about.slice(1)}`, run: () => commands.choose(tool) })),
    ...digits,
    { keys: ["[", "]"], text: "Smaller, larger brush", repeats: again, run: (e) => commands.size(e.key === "[" ? -1 : 1) },
    { keys: ["Ctrl+z"], text: "Undo", repeats: again, run: () => commands.undo() },
    { keys: ["Ctrl+Shift+z", "Ctrl+y"], text: "Redo", repeats: again, run: () => commands.redo() },
    { keys: ["m"], text: "Smooth the class", run: () => commands.smooth() },
    { keys: ["Ctrl+s"], text: "Save", run: () => void attempt(() => does.save(false)) },
    ...(desk.viewer.flat ? [] : slices),
    { keys: ["Shift+ArrowLeft", "Shift+ArrowRight", "Shift+ArrowUp", "Shift+ArrowDown"], text: "Move the crosshair within the slice", listed: "Shift ← → ↑ ↓", repeats: again, run: (e) => commands.nudge(e.key) },
    { keys: ["."], text: "Draw at the crosshair with the chosen tool", repeats: again, run: () => desk.pad?.touch() },
    { keys: ["+", "="], text: "Larger; or Ctrl and the wheel", listed: "+", repeats: again, run: () => desk.viewer.zoom(1.2) },
    { keys: ["-"], text: "Smaller", repeats: again, run: () => desk.viewer.zoom(1 / 1.2) },
    { keys: ["0"], text: "Fit into the window", run: () => desk.viewer.zoom(0) },
    ...layers.keys.map(({ key, text, name }) => ({ keys: [key], text: `${text} on and off`, run: () => layers.toggle(name) })),
    { keys: ["o"], text: "Outlines or areas", run: () => layers.toggleOutlines() },
    { keys: ["n", "b"], text: "Next case, case before", run: (e) => void go(e.key === "n" ? 1 : -1) },
    { keys: [], text: "Window and level", listed: "Right drag", run: () => {} },
    { keys: [], text: "Move the picture", listed: "Middle drag", run: () => {} },
  ];
}
