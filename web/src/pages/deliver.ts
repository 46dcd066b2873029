/** What leaves the studio: labels, predictions (also as DICOM), and models. */

import { query, request } from "../api.ts";
import { button, h, select } from "../dom.ts";
import { plural } from "../format.ts";
import { attempt } from "../notices.ts";
import type { RunRow } from "../types.ts";

interface Form {
  to: string;
  /** What keeps this machine or dataset from it; `null`: nothing. */
  lacks: string | null;
}

export interface Deliverable {
  /** With a model, newest first. */
  runs: string[];
  models: Form[];
  dicom: Form[];
}

const NAMES: Record<string, string> = {
  zip: "for semiseg predict -m, or another studio",
  onnx: "ONNX, with a program that needs neither PyTorch nor semiseg",
  torch: "a PyTorch program",
  monai: "a MONAI bundle",
  "dicom-seg": "DICOM SEG",
  rtstruct: "DICOM RTSTRUCT",
};

export function takeAway({ runs, models, dicom }: Deliverable, rows: readonly RunRow[], labels: number): HTMLElement[] {
  const predicted = rows.filter((r) => r.predicted > 0);
  const link = (text: string, path: string) => h("li", {}, h("a", { href: path, download: "" }, text));
  const lacking = (form: Form) => h("li", { class: "muted" }, `${NAMES[form.to] ?? form.to}: ${form.lacks}.`);
  const ready = dicom.filter((form) => form.lacks === null);
  return [
    h(
      "ul",
      { class: "plain" },
      labels > 0 && link(`All ${plural(labels, "label")} (ZIP of NIfTI)`, query("/api/export.zip", { what: "labels" })),
      predicted.flatMap((r) => [
        link(`${plural(r.predicted, "prediction")} of ${r.id} (ZIP of NIfTI)`, query("/api/export.zip", { what: "predictions", run: r.id })),
        ...ready.map((form) => link(`Predictions of ${r.id} (ZIP of ${NAMES[form.to]})`, query("/api/deliver/predictions.zip", { run: r.id, to: form.to }))),
      ]),
      predicted.length > 0 && dicom.filter((form) => form.lacks !== null).map(lacking),
      !labels && !predicted.length && h("li", { class: "muted" }, "Nothing yet."),
    ),
    ...(runs[0] === undefined ? [] : [model(runs, models)]),
  ];
}

/** Choose a run and a form, and save the model. */
function model(runs: readonly string[], models: readonly Form[]): HTMLElement {
  const ready = models.filter((form) => form.lacks === null);
  const chosen = { run: runs[0] ?? "", to: ready[0]?.to ?? "zip" };
  const save = button("Save the model", () => {
    save.disabled = true;
    void attempt(() => download(query("/api/deliver/model.zip", chosen), `${chosen.run}_${chosen.to}.zip`)).then(() => (save.disabled = false));
  });
  return h(
    "div",
    { class: "row tight" },
    "Model of",
    select(runs.map((run) => [run, run] as const), chosen.run, (run) => (chosen.run = run), { "aria-label": "Run whose model is saved" }),
    select(ready.map(({ to }) => [to, `${to}: ${NAMES[to] ?? ""}`] as const), chosen.to, (to) => (chosen.to = to), { "aria-label": "Form of the model" }),
    save,
    models.filter((form) => form.lacks !== null).map((form) => h("span", { class: "muted" }, `${form.to}: ${form.lacks}`)),
  );
}

/** A file that is made when it is asked for: a refusal is told on the page instead of saved as the file. */
async function download(path: string, name: string): Promise<void> {
  const url = URL.createObjectURL(await (await request(path)).blob());
  h("a", { href: url, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
