/** What is known of the case, what can be decided about it, and its former versions. */

import { button, h, replace } from "../../dom.ts";
import { score, size, when } from "../../format.ts";
import { attempt, tell } from "../../notices.ts";
import type { CaseDetail } from "../../types.ts";
import { facts } from "../about.ts";
import { stateChip } from "../cases/rows.ts";
import { accept, reject, restore } from "./decide.ts";
import type { Desk } from "./desk.ts";
import type { Layers } from "./layers.ts";
import { importLabel, loadVersion, save } from "./saving.ts";

export interface Decisions {
  save(andNext: boolean): Promise<void>;
  accept(): Promise<void>;
  correct(): Promise<void>;
  reject(): Promise<void>;
}

export function decisions(desk: Desk, layers: Layers, next: () => Promise<boolean>): Decisions {
  return {
    async save(andNext) {
      if ((await save(desk)) && andNext) await next();
    },
    async accept() {
      const run = desk.run;
      if (!run) return;
      const saved = await accept(desk.detail.id, run, desk.version);
      tell(`The prediction is the label now, version ${saved.version}.`);
      if (!(await next())) await desk.takeLabel();
    },
    async correct() {
      const { pad, detail, run } = desk;
      if (!pad || !detail.prediction_url) return;
      const { data } = await desk.labelMap(desk.within(predictionUrl(desk)), "the prediction");
      pad.replaceWith(data);
      desk.source = "corrected";
      await layers.set("prediction", false);
      await layers.set("label", true);
      tell(`The prediction of ${run} is in the drawing. Correct it, then save.`);
    },
    async reject() {
      const bad = desk.detail.state === "bad";
      if (bad) await restore(desk.detail.id);
      else if (!(await reject(desk.detail.id))) return;
      await desk.reload();
      if (desk.pad) desk.pad.locked = lock(desk.detail);
      desk.update();
      tell(bad ? "The scan is back." : "The scan is put aside.");
    },
  };
}

function predictionUrl(desk: Desk): string {
  const url = new URL(desk.detail.prediction_url as string, location.origin);
  if (desk.run) url.searchParams.set("run", desk.run);
  return url.pathname + url.search;
}

export function factsPanel(desk: Desk, does: Decisions): HTMLElement {
  const panel = h("section", { class: "panel", "aria-label": "Case" });
  desk.watch(() => {
    replace(panel, ...content(desk, does));
  });
  return panel;
}

function content(desk: Desk, does: Decisions): (HTMLElement | false | null)[] {
  const { detail, pad } = desk;
  const locked = pad?.locked ?? null;
  const off = !pad || locked !== null;
  const predicted = detail.prediction_url !== null && detail.state !== "test";
  return [
    h("div", { class: "row" }, stateChip(detail.state), h("span", { class: "grow" }), h("span", { class: "small muted", role: "status" }, draftWords(desk))),
    locked !== null && h("p", { class: "small" }, locked),
    !pad && h("p", { class: "small" }, "A coarse preview of a large scan. Put the crosshair where you want to draw and choose a tool."),
    pad !== null && desk.box !== null && h("p", { class: "small" }, "You draw on a part of the scan, in full resolution. Outside of it the saved label stays as it is."),
    detail.drawing && h("p", { class: "warn small", role: "alert" }, detail.drawing.user === desk.session.user ? "You are drawing on this case in another tab, too." : `${detail.drawing.user} is drawing on this case, too.`),
    predicted &&
      h(
        "div",
        { class: "row tight" },
        button("Accept", () => void attempt(() => does.accept()), { class: desk.changed || detail.state !== "predicted" ? "" : "primary", disabled: off || desk.changed, title: desk.changed ? "You have drawn; save that instead" : `The prediction is right: make it the label${desk.version ? " in the place of this one" : ""}` }),
        button("Correct", () => void attempt(() => does.correct()), { disabled: off, title: "Take the prediction into the drawing and fix it" }),
      ),
    h(
      "div",
      { class: "row tight" },
      button("Save", () => void attempt(() => does.save(false)), { class: desk.changed ? "primary" : "", disabled: off, title: "Save the drawing as the label (Ctrl S)" }),
      button("Save and next", () => void attempt(() => does.save(true)), { disabled: off }),
      button(detail.state === "bad" ? "Take back" : "Reject", () => void attempt(() => does.reject()), { class: "quiet", disabled: detail.state === "test", title: "A bad scan is neither trained on nor proposed" }),
    ),
    slices(desk, off),
    about(desk),
    history(desk, off),
  ];
}

/** Why a case is not drawn on. */
export function lock(detail: CaseDetail): string | null {
  if (detail.state === "test") return "A test case can be viewed, but not drawn on.";
  if (detail.state === "bad") return "This scan is rejected; take it back to draw on it.";
  return null;
}

function draftWords(desk: Desk): string {
  const { state, labeled, label_url } = desk.detail;
  if (state === "test") return !labeled ? "test case without a label" : label_url ? "label of a test case" : "test case: label kept hidden";
  if (!desk.changed) return desk.version ? `version ${desk.version}` : "no label yet";
  const words = { saved: "draft kept", unsaved: "not saved", away: "server away, kept here" };
  return desk.draft ? words[desk.draft] : "not saved";
}

/** The proposed slices: where they are, and whether they alone are labeled. */
function slices(desk: Desk, off: boolean): HTMLElement | null {
  const found = desk.detail.slices;
  if (!found.length) return null;
  const can = desk.session.dataset.ignore !== null;
  const box = h("input", { type: "checkbox", checked: desk.slicesOnly, disabled: off || !can });
  box.addEventListener("change", () => (desk.slicesOnly = box.checked));
  const go = found.map((s) => button(`${s.name} ${s.index + 1}`, () => (desk.viewer.world = s.at), { class: "preset", title: "Go to this slice" }));
  const words = can ? "The others are saved as ignore: no training looks at them." : "To label single slices, dataset.json needs an ignore label.";
  return h("div", {}, h("div", { class: "presets", role: "group", "aria-label": "Slices to label" }, go), h("label", { class: "inline" }, box, "Only these slices are labeled"), h("p", { class: "small muted" }, words));
}

function about(desk: Desk): HTMLElement {
  const { detail } = desk;
  const [shape, spacing] = size(detail.shape, detail.spacing, detail.unit);
  const expected = detail.expected_dice;
  const rows: [string, string][] = [["Size", `${shape}${spacing && `, ${spacing}`}`]];
  if (detail.group && detail.group !== detail.id) rows.push(["Group", detail.group]);
  if (detail.uncertainty !== null) rows.push(["Uncertainty", score(detail.uncertainty)]);
  if (expected) rows.push(["Expected Dice", `${score(expected.value, 2)} (${score(expected.low, 2)} to ${score(expected.high, 2)})`]);
  else if (detail.prediction_url && detail.expected_dice_reason) rows.push(["Expected Dice", `unknown: ${detail.expected_dice_reason}`]);
  if (detail.rank) rows.push(["Label next", `${detail.rank}. ${detail.reason ?? ""}`]);
  if (detail.note) rows.push(["Rejected", detail.note]);
  for (const text of detail.unlike) rows.push(["Unlike training", text]);
  return facts(rows);
}

function history(desk: Desk, off: boolean): HTMLElement {
  const { versions } = desk.detail;
  const input = h("input", { type: "file", disabled: off, "aria-label": "Label file of another program" });
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (file) void attempt(() => importLabel(desk, file));
  });
  const lines = [...versions].reverse().map((v) =>
    h(
      "li",
      {},
      h("b", {}, v.version),
      ` ${v.source}${v.kept_as ? ` (${v.kept_as})` : ""}`,
      h("small", { class: "muted" }, `${v.by ?? ""} ${when(v.time)}`),
      button("Load", () => void attempt(() => loadVersion(desk, v.version, v.time)), { class: "quiet", disabled: off, "aria-label": `Load version ${v.version}` }),
    ),
  );
  return h(
    "details",
    {},
    h("summary", {}, `Versions and import${versions.length ? ` (${versions.length})` : ""}`),
    h("ol", { class: "versions" }, lines),
    h("label", { class: "field" }, h("span", {}, "Label of another program"), input, h("small", {}, "NIfTI, NRRD, MHA or PNG on the grid of this scan; or drop it on the scan.")),
  );
}
