/** The runs of this dataset, and what each one says of itself. */

import { get } from "../../api.ts";
import { h, replace } from "../../dom.ts";
import { score, when } from "../../format.ts";
import { attempt } from "../../notices.ts";
import type { RunRow } from "../../types.ts";

export function runTable(runs: readonly RunRow[]): HTMLElement {
  if (!runs.length) return h("div", {}, h("h2", {}, "Runs"), h("p", { class: "muted" }, "No run yet."));
  const heads = ["Run", "Method", "Labels", "Iterations", "Validation Dice", "Predicted", "Began from", "Ended"];
  return h(
    "div",
    {},
    h("h2", {}, "Runs"),
    h(
      "div",
      { class: "scrolled" },
      h("table", { class: "runs" }, h("thead", {}, h("tr", {}, heads.map((t, i) => h("th", { scope: "col", class: i > 1 && i < 6 && "number" }, t)))), h("tbody", {}, runs.map(line))),
    ),
    h("div", {}, runs.map(details)),
  );
}

function line(run: RunRow): HTMLElement {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, run.id, run.deviations.length > 0 && h("span", { class: "mark warn", title: run.deviations.join("\n") }, "deviations")),
    h("td", {}, run.method),
    h("td", { class: "number" }, run.labeled),
    h("td", { class: "number" }, run.iterations ?? "–"),
    h("td", { class: "number" }, score(run.dice)),
    h("td", { class: "number" }, run.predicted),
    h("td", {}, run.start_from ?? "random weights"),
    h("td", {}, run.finished ? when(run.ended) : "not finished"),
  );
}

function details(run: RunRow): HTMLElement {
  const content = h("div", {});
  const box = h("details", {}, h("summary", {}, `Manifest of ${run.id}`), content);
  box.addEventListener("toggle", () => {
    if (!box.open || content.firstChild) return;
    void attempt(async () => {
      const said = await get<{ manifest: unknown; deviations: string[] }>(`/api/runs/${encodeURIComponent(run.id)}`);
      replace(content, said.deviations.length > 0 && h("ul", {}, said.deviations.map((d) => h("li", {}, d))), h("pre", { tabindex: 0 }, JSON.stringify(said.manifest, null, 2)));
    });
  });
  return box;
}
