/** One job: progress, live curve, log, stop and resume. */

import { get, send } from "../../api.ts";
import { chart, thinned } from "../../chart.ts";
import { button, h, replace } from "../../dom.ts";
import { duration, when } from "../../format.ts";
import { attempt, choose } from "../../notices.ts";
import { href } from "../../route.ts";
import type { Curve, Job } from "../../types.ts";

export class JobView {
  readonly id: string;
  private readonly head = h("div", { class: "stack" });
  private readonly picture = h("div", {});
  private readonly log = h("pre", { tabindex: 0, "aria-label": "Log" });
  private readonly train: [number, number][] = [];
  private readonly validation: [number, number][] = [];
  private point = 0;
  private byte = 0;
  private reading: Promise<void> | null = null;
  private closed = false;

  constructor(root: HTMLElement, id: string) {
    this.id = id;
    replace(root, h("section", { class: "panel" }, this.head, this.picture), h("section", { class: "panel" }, h("h2", {}, "Log"), this.log));
  }

  close(): void {
    this.closed = true;
  }

  async update(job: Job, changed: () => void): Promise<void> {
    replace(this.head, ...this.heading(job, changed));
    this.reading ??= this.read(job).finally(() => (this.reading = null));
    await this.reading;
  }

  private get path(): string {
    return `/api/jobs/${encodeURIComponent(this.id)}`;
  }

  private async read(job: Job): Promise<void> {
    try {
      const said = await get<{ text: string; next: number }>(`${this.path}/log?after=${this.byte}`);
      if (this.closed) return;
      this.byte = said.next;
      this.append(said.text);
      if (job.kind === "train") await this.readCurve(job);
    } catch {
      // The list of jobs tells when the server is away; the next round reads on from here.
    }
  }

  private append(text: string): void {
    if (!text) return;
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
    this.log.append(text);
    if (this.log.childNodes.length > 400) this.log.firstChild?.remove();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  private async readCurve(job: Job): Promise<void> {
    const curve = await get<Curve>(`${this.path}/curve?after=${this.point}`);
    if (this.closed) return;
    this.point = curve.next;
    this.train.push(...curve.train.map((p) => [p.step, p.loss] as [number, number]));
    this.validation.push(...curve.validation.map((p) => [p.step, p.dice] as [number, number]));
    if (!this.train.length && !this.validation.length) return;
    const last = Math.max(job.total ?? 0, this.train.at(-1)?.[0] ?? 0, this.validation.at(-1)?.[0] ?? 0);
    const lines = [
      { name: "Loss", points: thinned(this.train), axis: "left" as const, class: "first" },
      { name: "Validation Dice", points: this.validation, axis: "right" as const, class: "second", dots: this.validation.length < 40 },
    ];
    replace(
      this.picture,
      chart(lines, { label: "Training", x: "Iteration", left: "Loss", ...(this.validation.length ? { right: "Dice", rightRange: [0, 1] as [number, number] } : {}), xRange: [0, last] }),
      h("p", { class: "legend small" }, h("span", { class: "key first" }, "Loss"), this.validation.length > 0 && h("span", { class: "key second" }, "Validation Dice")),
    );
  }

  private heading(job: Job, changed: () => void): (HTMLElement | false | null)[] {
    const act = (work: () => Promise<unknown>) => () =>
      void attempt(async () => {
        await work();
        changed();
      });
    const going = job.state === "running" || job.state === "queued";
    return [
      h("div", { class: "row" }, h("h2", {}, job.title || job.kind), h("span", { class: `state job-${job.state}` }, h("i", { "aria-hidden": "true" }), job.state)),
      h("p", { class: "muted small" }, [job.device, job.started && `started ${when(job.started)}`, job.ended && `ended ${when(job.ended)}`, job.run].filter(Boolean).join(" · ")),
      going && job.total ? h("progress", { max: job.total, value: job.step ?? 0, "aria-label": "Progress" }) : null,
      !job.error && h("p", { role: "status" }, words(job)),
      job.error && h("p", { class: "warn" }, [job.error.message, job.error.hint].filter(Boolean).join(" ")),
      h(
        "div",
        { class: "row tight" },
        going && job.can_stop && button("Stop", act(() => this.stop(job))),
        job.can_resume && button("Resume", act(() => send("POST", `${this.path}/resume`)), { class: "primary" }),
        !going && button("Remove from list", act(() => send("DELETE", this.path)), { class: "quiet", title: "The run stays" }),
        job.state === "done" && job.kind !== "rank" && h("a", { class: "button", href: href("cases", "", new URLSearchParams({ sort: "rank" })) }, "See the cases"),
      ),
      h("details", {}, h("summary", {}, "Command"), h("code", {}, job.command)),
    ];
  }

  private async stop(job: Job): Promise<void> {
    const sure = await choose("Stop", `${job.title || job.kind} keeps what it has and ends; it can be resumed.`, [["yes", "Stop it"]]);
    if (sure) await send("POST", `${this.path}/stop`);
  }
}

function words(job: Job): string {
  if (job.state === "queued") return "Waits until the device is free.";
  if (job.state !== "running") return job.message ?? "";
  const step = job.total ? `${job.step ?? 0} of ${job.total}` : "";
  const left = job.seconds_left === null ? "" : `about ${duration(job.seconds_left)} left`;
  return [job.part, step, left].filter(Boolean).join(", ") || job.message || "Starts …";
}
