/** Which scans to label next, and why. */

import { get, send } from "../../api.ts";
import { button, h, replace, select } from "../../dom.ts";
import { attempt, tell } from "../../notices.ts";
import { href } from "../../route.ts";
import type { Job, Ranking, Strategy } from "../../types.ts";

export function nextToLabel(changed: () => void): HTMLElement {
  const panel = h("section", { class: "panel next", "aria-label": "Label next", hidden: true });
  void attempt(async () => {
    const [ranking, strategies] = await Promise.all([get<Ranking>("/api/ranking"), get<Strategy[]>("/api/strategies")]);
    show(panel, ranking, strategies, changed);
    if (ranking.job || ranking.cases.length) return;
    // A pile that was just opened is ranked without being asked to.
    await new Promise((resolve) => window.setTimeout(resolve, 4000));
    const again = await get<Ranking>("/api/ranking");
    if (panel.isConnected && again.job) show(panel, again, strategies, changed);
  });
  return panel;
}

function show(panel: HTMLElement, ranking: Ranking, strategies: readonly Strategy[], changed: () => void): void {
  let strategy = "default";
  const slices = h("input", { type: "checkbox" });
  const usual = strategies.find((s) => s.default)?.name ?? "";
  const options = [["default", `Usual order${usual && ` (${usual})`}`] as const, ...strategies.map((s) => [s.name, s.name] as const)];
  const about = h("small", { class: "muted" });
  const describe = () => {
    const found = strategies.find((s) => s.name === (strategy === "default" ? usual : strategy));
    about.textContent = found ? `${found.description}${found.needs_model ? " Needs a trained model." : ""}` : "";
  };
  const choice = select(options, strategy, (value) => {
    strategy = value;
    describe();
  }, { "aria-label": "Strategy" });
  const propose = button(ranking.cases.length ? "Rank again" : "Propose which to label", () => void attempt(() => start()), { class: ranking.cases.length ? "" : "primary" });
  const start = async (running?: string) => {
    propose.disabled = true;
    propose.textContent = "Ranking …";
    try {
      const id = running ?? (await send<{ job: Job }>("POST", "/api/ranking", { strategy, n: 5, slices: slices.checked })).job.id;
      await ended(id, panel);
      show(panel, await get<Ranking>("/api/ranking"), strategies, changed);
      changed();
    } finally {
      propose.disabled = false;
      if (propose.textContent === "Ranking …") propose.textContent = "Rank again";
    }
  };
  describe();
  panel.hidden = false;
  replace(panel, h("div", { class: "row" }, h("h2", {}, "Label next"), ranking.stale && h("span", { class: "mark warn" }, "made before the last labels"), h("span", { class: "grow" }), choice, h("label", { class: "inline", title: "Also name three planes of each scan, to label instead of all of it" }, slices, "Slices"), propose), list(ranking) ?? about);
  const { job } = ranking;
  if (job) void attempt(() => start(job));
}

function list(ranking: Ranking): HTMLElement | null {
  if (!ranking.cases.length) return null;
  return h(
    "ol",
    { class: "proposed" },
    ranking.cases.slice(0, 5).map((c) => h("li", {}, h("a", { href: href("case", c.id) }, c.id), h("small", { class: "muted" }, c.reason))),
  );
}

async function ended(id: string, panel: HTMLElement): Promise<void> {
  for (;;) {
    const job = await get<Job>(`/api/jobs/${encodeURIComponent(id)}`);
    if (job.state === "failed") throw new Error(job.error?.message ?? job.message ?? "The ranking failed.");
    if (job.state !== "queued" && job.state !== "running") return;
    if (!panel.isConnected) return;
    if (job.state === "queued") tellOnce();
    await new Promise((resolve) => window.setTimeout(resolve, 700));
  }
}

let told = 0;
function tellOnce(): void {
  if (Date.now() - told < 20000) return;
  told = Date.now();
  tell("The ranking waits until the device is free.");
}
