/** Results: Dice against the number of labels, the comparison of the runs, and what can be taken away. */

import { get } from "../api.ts";
import { chart } from "../chart.ts";
import { button, h, select } from "../dom.ts";
import { score } from "../format.ts";
import { href, type Page } from "../route.ts";
import type { Results, RunRow } from "../types.ts";
import { takeAway, type Deliverable } from "./deliver.ts";

export const results: Page = async (root, { refresh }) => {
  const [found, deliverable, reviews, { runs }, session] = await Promise.all([get<Results>("/api/results"), get<Deliverable>("/api/deliver"), get<{ lines: string[] }>("/api/results/reviews"), get<{ runs: RunRow[] }>("/api/runs"), refresh()]);
  root.append(
    h("h1", {}, "Results"),
    h("section", { class: "panel" }, h("h2", {}, "Dice and number of labels"), ...learning(found)),
    h("section", { class: "panel" }, h("h2", {}, "Deliver"), ...takeAway(deliverable, runs, session.counts.labeled + session.counts.accepted)),
    ...(reviews.lines.length ? [h("section", { class: "panel" }, h("h2", {}, "Reviews"), h("ul", { class: "plain" }, reviews.lines.map((line) => h("li", {}, line))))] : []),
    sideBySide(runs.filter((r) => r.predicted > 0)),
    comparison(found.report),
  );
  return () => {};
};

function learning({ rounds, forecast, forecast_reason }: Results): (HTMLElement | SVGSVGElement | null)[] {
  const points = rounds.filter((r) => r.dice !== null).map((r) => [r.labels, r.dice as number] as const);
  if (!points.length) return [h("p", { class: "muted" }, "After a training with validation cases, this shows how Dice grows with the labels.")];
  const band = forecast && { x: forecast.labels, low: forecast.low, high: forecast.high, middle: forecast.dice };
  const words = forecast
    ? `${forecast.labels} labels are expected to reach ${score(forecast.dice, 2)} (${score(forecast.low, 2)} to ${score(forecast.high, 2)}).`
    : (forecast_reason ?? "");
  return [
    chart([{ name: "Dice", points, axis: "left", class: "first", dots: true }], { label: "Dice on held-out labeled cases", x: "Labels", left: "Dice", leftRange: [0, 1], forecast: band }),
    h("p", {}, words),
    h(
      "table",
      { class: "runs" },
      h("thead", {}, h("tr", {}, ["Round", "Run", "Labels", "Dice", "Held-out cases"].map((t, i) => h("th", { scope: "col", class: i > 1 && "number" }, t)))),
      h("tbody", {}, rounds.map((r) => h("tr", {}, h("td", {}, r.round), h("th", { scope: "row" }, r.run), h("td", { class: "number" }, r.labels), h("td", { class: "number" }, score(r.dice)), h("td", { class: "number" }, Array.isArray(r.held_out) ? r.held_out.length : r.held_out)))),
    ),
  ];
}

/** The two newest runs, or any others, judged without knowing which is which. */
function sideBySide(runs: readonly RunRow[]): HTMLElement {
  const panel = h("section", { class: "panel" }, h("h2", {}, "Blinded review"));
  const [b, a] = runs;
  if (!a || !b) {
    panel.append(h("p", { class: "muted" }, "Two runs with predictions can be judged side by side, without a word on which is which."));
    return panel;
  }
  const chosen = { a: a.id, b: b.id };
  const options = runs.map((r) => [r.id, r.id] as const);
  const pick = (name: "a" | "b") => select(options, chosen[name], (id) => (chosen[name] = id), { "aria-label": `Run ${name.toUpperCase()}` });
  const start = () => (location.hash = href("review", "", new URLSearchParams(chosen)));
  panel.append(h("div", { class: "row tight" }, pick("a"), "and", pick("b"), button("Judge them side by side", start)));
  return panel;
}

function comparison(report: string | null): HTMLElement {
  if (!report) return h("section", { class: "panel" }, h("h2", {}, "Comparison of runs"), h("p", { class: "muted" }, "There is one as soon as two runs were scored."));
  return h(
    "section",
    { class: "panel" },
    h("div", { class: "row" }, h("h2", {}, "Comparison of runs"), h("span", { class: "grow" }), h("a", { href: report, target: "_blank", rel: "noopener" }, "Open by itself")),
    h("iframe", { src: report, title: "Comparison of runs", class: "report", sandbox: "" }),
  );
}
