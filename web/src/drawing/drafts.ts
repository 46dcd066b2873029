/** Unsaved strokes on the server, so that a reload, a crash or another browser finds them again. */

import { casePath, client, offline, query, request } from "../api.ts";
import { packed } from "./packing.ts";

export interface Draft {
  file: Uint8Array<ArrayBuffer>;
  version: number;
  /** The part of the scan that it holds; `null`: all of it. */
  box: string | null;
}

/** By case: what the server does not have yet. It outlives the page of its case, and the browser asks before it is lost. */
const unsent = new Map<string, Drafts>();
addEventListener("beforeunload", (event) => {
  if (unsent.size) event.preventDefault();
});

/** Waits until a case has no unsent draft any more, or the server does not answer. */
export async function settled(id: string): Promise<void> {
  await unsent.get(id)?.flush();
}

/** Sends drafts of one case, one at a time, the newest last; tries again while the server is away. */
export class Drafts {
  /** `away`: the server does not answer, it is tried again. */
  onstate: ((state: "saved" | "unsaved" | "away") => void) | null = null;
  /** The server does not want this draft. */
  onrefused: ((error: unknown) => void) | null = null;
  private readonly id: string;
  private make: () => Draft;
  private timer: number | undefined;
  private sending: Promise<void> | null = null;
  private dirty = false;
  private refused = false;
  /** The label itself is on its way. */
  private held = false;
  private readonly wait: number;

  /** `wait`: ms after the last stroke; more for large scans, where packing takes a moment. */
  constructor(id: string, wait: number, make: () => Draft) {
    this.id = id;
    this.wait = wait;
    this.make = make;
  }

  private note(): void {
    if (this.dirty || this.sending || this.refused || this.held) unsent.set(this.id, this);
    else if (unsent.get(this.id) === this) unsent.delete(this.id);
  }

  /** Something changed: a draft is sent soon. */
  changed(): void {
    this.dirty = true;
    this.note();
    this.onstate?.("unsaved");
    this.later(this.wait);
  }

  /** There is nothing to keep any more; a draft that is on its way is waited for. */
  async forget(): Promise<void> {
    for (const wait of [this.sending, null]) {
      this.dirty = this.refused = false;
      window.clearTimeout(this.timer);
      await wait;
    }
    this.note();
  }

  /** Saves the label; no draft is sent meanwhile. */
  async instead<T>(save: () => Promise<T>): Promise<T> {
    await this.forget();
    this.held = true;
    this.note();
    try {
      return await save();
    } finally {
      this.held = false;
      this.note();
    }
  }

  /** Sends what is unsent; for when the page is left. */
  async flush(): Promise<void> {
    window.clearTimeout(this.timer);
    await this.sending;
    if (this.dirty && !this.held) await (this.sending = this.send());
  }

  /** The page of the case is left: what is unsent stays as it is now, and is sent when the server is back. */
  close(): void {
    this.onstate = this.onrefused = null;
    if (!this.dirty) return;
    const last = this.make();
    this.make = () => last;
  }

  async discard(): Promise<void> {
    await this.forget();
    await request(casePath(this.id, "/draft"), { method: "DELETE" });
  }

  private later(wait: number): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (this.held) this.later(wait);
      else void (this.sending ??= this.send());
    }, wait);
  }

  private async send(): Promise<void> {
    this.dirty = this.refused = false;
    try {
      const { file, version, box } = this.make();
      const body = await packed(file);
      await request(query(casePath(this.id, "/draft"), { version, box, client }), { method: "PUT", body, headers: { "Content-Type": "application/octet-stream" } });
      if (!this.dirty) this.onstate?.("saved");
    } catch (error) {
      if (offline(error)) {
        this.dirty = true;
        this.onstate?.("away");
      } else {
        this.refused = true;
        this.onrefused?.(error);
      }
    } finally {
      this.sending = null;
      this.note();
      if (this.dirty) this.later(Math.max(3000, this.wait));
    }
  }
}
