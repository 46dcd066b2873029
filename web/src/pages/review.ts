/** Blinded review: the predictions of two runs side by side, without a word on which is which. */

import { bytes, casePath, get, query, send } from "../api.ts";
import { button, h, replace } from "../dom.ts";
import { bind } from "../keys.ts";
import { attempt } from "../notices.ts";
import type { Page } from "../route.ts";
import type { CaseDetail, Session } from "../types.ts";
import { colorTable } from "../viewer/colors.ts";
import { Viewer } from "../viewer/viewer.ts";

interface Pair {
  pair: string | null;
  case: string | null;
  left_url?: string;
  right_url?: string;
  done: number;
  total: number;
}

const scores = [
  [1, "Left is much better"],
  [2, "Left is better"],
  [3, "Alike"],
  [4, "Right is better"],
  [5, "Right is much better"],
] as const;

export const review: Page = async (root, { session }, { query: asked }) => {
  const runs = { a: asked.get("a") ?? "", b: asked.get("b") ?? "" };
  const first = await get<Pair>(query("/api/review", runs));
  const page = new Review(root, session, first);
  requestAnimationFrame(() => void attempt(() => page.begin()));
  return () => page.close();
};

class Review {
  private readonly session: Session;
  private readonly head = h("div", { class: "row" });
  private readonly buttons = h("div", { class: "row tight", role: "group", "aria-label": "Which one is better?" });
  private readonly sides = [side("Left"), side("Right")] as const;
  private viewers: Viewer[] = [];
  private pair: Pair;
  private closed = false;
  private busy = false;

  constructor(root: HTMLElement, session: Session, first: Pair) {
    this.session = session;
    this.pair = first;
    root.append(h("div", { class: "headline" }, h("h1", {}, "Blinded review"), this.head), h("div", { class: "twins" }, this.sides.map((s) => s.box)), h("div", { class: "toolbar" }, this.buttons));
    replace(this.buttons, scores.map(([score, text]) => button([h("kbd", {}, score), h("span", {}, text)], () => void attempt(() => this.judge(score)))));
  }

  close(): void {
    this.closed = true;
    bind();
    for (const viewer of this.viewers) viewer.close();
  }

  async begin(): Promise<void> {
    this.viewers = await Promise.all(this.sides.map((s) => Viewer.open(s.canvas)));
    if (this.closed) return this.close();
    const [left, right] = this.viewers as [Viewer, Viewer];
    left.follow(right);
    right.follow(left);
    bind([...scores.map(([score, text]) => ({ keys: [String(score)], text, run: () => void attempt(() => this.judge(score)) }))]);
    await this.show();
  }

  private async judge(score: number): Promise<void> {
    const { pair } = this.pair;
    if (!pair || this.busy) return;
    this.busy = true;
    try {
      this.pair = await send<Pair>("POST", "/api/review", { pair, score });
      await this.show();
    } finally {
      this.busy = false;
    }
  }

  private async show(): Promise<void> {
    const { pair, done, total, left_url, right_url } = this.pair;
    const table = done > 0 && h("a", { href: "/api/review.csv", download: "review.csv" }, "All judgments (CSV)");
    replace(this.head, h("span", { role: "status" }, pair ? `${done + 1} of ${total}` : `All ${total} are judged. Thank you.`), h("span", { class: "grow" }), table);
    this.buttons.hidden = !pair;
    if (!pair || !this.pair.case || !left_url || !right_url) return;
    const detail = await get<CaseDetail>(casePath(this.pair.case));
    const image = detail.images[0];
    if (!image) return;
    const scan = await bytes(image.preview_url ?? image.url, () => {});
    const labels = await Promise.all([left_url, right_url].map((url) => bytes(url, () => {})));
    for (const [i, viewer] of this.viewers.entries()) {
      await viewer.show(scan.slice(0), image);
      await viewer.setLayer("prediction", labels[i] as ArrayBuffer, colorTable(this.session.dataset.labels.map((l) => [l.value, { ...l, visible: true }])), 0.9);
      viewer.outlines(true);
      viewer.layout("axial");
    }
  }
}

function side(name: string) {
  const canvas = h("canvas", { class: "scan", "aria-label": `${name} prediction` });
  return { canvas, box: h("figure", { class: "twin" }, h("div", { class: "stage" }, h("div", { class: "screen" }, canvas)), h("figcaption", {}, name)) };
}
