/** Training: start, watch, stop, resume; what was trained so far. */

import { get, send } from "../api.ts";
import { button, field, h, replace, select } from "../dom.ts";
import { plural, when } from "../format.ts";
import { attempt, tell } from "../notices.ts";
import { remember, type Page, type Shell } from "../route.ts";
import type { Job, Recommendation, RunRow } from "../types.ts";
import { JobView } from "./training/job.ts";
import { runTable } from "./training/runs.ts";

export const training: Page = async (root, shell, route) => {
  const [recommended, jobs, { runs }] = await Promise.all([
    get<Recommendation>("/api/recommend"),
    get<{ jobs: Job[] }>("/api/jobs"),
    get<{ runs: RunRow[] }>("/api/runs"),
    shell.refresh(),
  ]);
  const page = new Training(root, shell, recommended, runs, route.query.get("job"));
  page.show(jobs.jobs);
  return () => page.close();
};

class Training {
  private readonly list = h("ul", { class: "jobs" });
  private readonly form = h("div", {});
  private readonly view = h("div", { class: "job" });
  private readonly runs = h("section", { class: "panel" });
  private readonly shell: Shell;
  private chosen: string | null;
  private shown: JobView | null = null;
  private timer: number | undefined;
  private closed = false;
  private active = 0;

  constructor(root: HTMLElement, shell: Shell, recommended: Recommendation, runs: readonly RunRow[], chosen: string | null) {
    this.shell = shell;
    this.chosen = chosen;
    replace(this.runs, runTable(runs));
    this.showForm(recommended, runs);
    root.append(
      h("h1", {}, "Training"),
      h("div", { class: "columns wide-right" }, h("div", {}, this.form, h("section", { class: "panel" }, h("h2", {}, "Jobs"), this.list)), this.view),
      this.runs,
    );
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
    this.shown?.close();
  }

  /** The form is there at once; what is recommended may take a look at the scans first. */
  private showForm(recommended: Recommendation, runs: readonly RunRow[]): void {
    if (this.closed || this.form.contains(document.activeElement)) return;
    replace(this.form, form(this.shell, recommended, runs, (job) => this.started(job)));
    if (recommended.ready !== false) return;
    window.setTimeout(() => {
      if (!this.closed) void get<Recommendation>("/api/recommend").then((again) => this.showForm(again, runs), () => {});
    }, 2000);
  }

  private started(job: Job): void {
    this.choose(job.id);
    void this.poll();
  }

  private choose(id: string): void {
    this.chosen = id;
    remember("training", new URLSearchParams({ job: id }));
  }

  private async poll(): Promise<void> {
    window.clearTimeout(this.timer);
    let wait = 2000;
    try {
      this.show((await get<{ jobs: Job[] }>("/api/jobs")).jobs);
    } catch {
      wait = 5000;
      replace(this.list, h("li", { class: "muted" }, "The server does not answer. Trainings go on without it; this page waits."));
    }
    if (!this.closed) this.timer = window.setTimeout(() => void this.poll(), wait);
  }

  show(jobs: readonly Job[]): void {
    const active = jobs.filter((j) => j.state === "running" || j.state === "queued").length;
    if (active < this.active) void this.ended();
    this.active = active;
    const job = jobs.find((j) => j.id === this.chosen) ?? jobs.find((j) => j.state === "running") ?? jobs.find((j) => j.kind === "train") ?? jobs[0];
    replace(this.list, jobs.length ? jobs.map((j) => this.line(j, j === job)) : h("li", { class: "muted" }, "Nothing was trained yet."));
    if (job && this.shown?.id !== job.id) {
      this.shown?.close();
      this.shown = new JobView(this.view, job.id);
    }
    if (job) void this.shown?.update(job, () => void this.poll());
    if (this.timer === undefined && !this.closed) this.timer = window.setTimeout(() => void this.poll(), active ? 2000 : 5000);
  }

  /** A job is done: there are other runs, predictions and counts. */
  private async ended(): Promise<void> {
    await attempt(async () => {
      await this.shell.refresh();
      replace(this.runs, runTable((await get<{ runs: RunRow[] }>("/api/runs")).runs));
    });
  }

  private line(job: Job, current: boolean): HTMLElement {
    const share = job.total ? `${Math.round((100 * (job.step ?? 0)) / job.total)} %` : "";
    const words = job.state === "running" ? share || "running" : job.state;
    return h(
      "li",
      {},
      button([h("span", { class: "name" }, job.title || job.kind), h("span", { class: `state job-${job.state}` }, h("i", { "aria-hidden": "true" }), words)], () => {
        this.choose(job.id);
        void this.poll();
      }, { class: "plain line", "aria-current": current && "true", title: `${job.kind}, ${when(job.created)}` }),
    );
  }
}

const budgets = ["2m", "5m", "10m", "20m", "45m", "1h", "2h", "4h", "8h", "24h"];

function form(shell: Shell, recommended: Recommendation, runs: readonly RunRow[], started: (job: Job) => void): HTMLElement {
  const { session } = shell;
  const values = {
    method: recommended.method,
    max_time: recommended.max_time,
    iterations: "",
    device: "auto",
    start_from: recommended.start_from ?? "",
    accepted: "1",
    then_predict: true,
  };
  const calibrate = h("input", { type: "checkbox" });
  const summary = h("small", { class: "muted" });
  const describe = () =>
    (summary.textContent = values.method === recommended.method ? recommended.reason : (recommended.methods.find((m) => m.name === values.method)?.summary ?? ""));
  const methods = recommended.methods.some((m) => m.name === recommended.method) ? recommended.methods : [{ name: recommended.method, summary: "" }, ...recommended.methods];
  const iterations = h("input", { type: "number", min: 1, step: 1, placeholder: "as the time allows" });
  const predict = h("input", { type: "checkbox", checked: true });
  const times = [...new Set([recommended.max_time, ...budgets])].filter(Boolean);
  const labels = session.counts.labeled + session.counts.accepted;
  const begin = async () => {
    const { job } = await send<{ job: Job }>("POST", "/api/jobs", {
      kind: "train",
      method: values.method,
      max_time: values.max_time || null,
      iterations: iterations.value ? Number(iterations.value) : null,
      device: values.device,
      start_from: values.start_from || null,
      accepted: Number(values.accepted),
      calibrate: calibrate.checked,
      then_predict: predict.checked,
    });
    started(job);
  };
  describe();
  const device = h("div", { hidden: true });
  void get<{ devices: string[] }>("/api/devices").then(({ devices }) => {
    device.hidden = devices.length < 2;
    replace(device, field("Device", select(["auto", ...devices].map((d) => [d, d] as const), values.device, (v) => (values.device = v))));
  }, () => {});
  const start = h("button", { class: "primary" }, "Start training");
  const box = h(
    "form",
    { class: "panel form", "aria-label": "Start a training" },
    h("h2", {}, "New training"),
    h("p", {}, `${plural(labels, "label")}, ${plural(session.counts.unlabeled + session.counts.predicted, "scan")} without.`),
    field("Method", select(methods.map((m) => [m.name, m.name === recommended.method && recommended.ready !== false ? `${m.name} (recommended)` : m.name] as const), values.method, (v) => {
      values.method = v;
      describe();
    })),
    summary,
    field("Time", select([...times.map((t) => [t, spoken(t)] as const), ["", "no limit"] as const], values.max_time, (v) => (values.max_time = v))),
    field("Iterations", iterations),
    device,
    runs.length > 0 && field("Begin from", select([["", "random weights"], ...runs.map((r) => [r.id, `weights of ${r.id}`] as const)], values.start_from, (v) => (values.start_from = v))),
    session.counts.accepted > 0 && field("Accepted predictions", select([["1", "are labels as others"], ["0.5", "count half"], ["0.25", "count a quarter"], ["0", "are left out"]], values.accepted, (v) => (values.accepted = v))),
    h("label", { class: "inline", title: "Trains on up to five folds of the labels as well, which takes up to six times as long" }, calibrate, "Expected Dice of predictions (up to six times as long)"),
    h("label", { class: "inline" }, predict, "Then predict every scan without a label"),
    start,
  );
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    start.disabled = true;
    void attempt(begin).then((ok) => {
      start.disabled = false;
      if (ok) tell("The training is in the queue. It goes on when this page or the server is closed.");
    });
  });
  return box;
}

function spoken(time: string): string {
  const found = /^(\d+)([mh])$/.exec(time);
  return found ? `${found[1]} ${found[2] === "m" ? "minutes" : "hours"}` : time;
}
