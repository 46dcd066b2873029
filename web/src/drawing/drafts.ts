/** Unsaved strokes on the server, so that a reload, a crash or another browser finds them again. */

import { casePath, offline, query, request } from "../api.ts";
import { packed } from "./packing.ts";

export interface Draft {
  file: Uint8Array<ArrayBuffer>;
  version: number;
  /** The part of the scan that it holds; `null`: all of it. */
  box: string | null;
}

/** Sends drafts of one case, one at a time, the newest last; tries again while the server is away. */
export class Drafts {
  /** `away`: the server does not answer, it is tried again. */
  onstate: ((state: "saved" | "unsaved" | "away") => void) | null = null;
  /** The server does not want this draft. */
  onrefused: ((error: unknown) => void) | null = null;
  private readonly id: string;
  private readonly make: () => Draft;
  private timer: number | undefined;
  private sending: Promise<void> | null = null;
  private dirty = false;
  private closed = false;
  private readonly wait: number;

  /** `wait`: ms after the last stroke; more for large scans, where packing takes a moment. */
  constructor(id: string, wait: number, make: () => Draft) {
    this.id = id;
    this.wait = wait;
    this.make = make;
  }

  /** Something changed: a draft is sent soon. */
  changed(): void {
    this.dirty = true;
    this.onstate?.("unsaved");
    this.later(this.wait);
  }

  /** There is nothing to keep any more; a draft that is on its way is waited for. */
  async forget(): Promise<void> {
    this.dirty = false;
    window.clearTimeout(this.timer);
    await this.sending;
    window.clearTimeout(this.timer);
    this.dirty = false;
  }

  /** Sends what is unsent; for when the page is left. */
  async flush(): Promise<void> {
    window.clearTimeout(this.timer);
    await this.sending;
    if (this.dirty) await (this.sending = this.send());
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
  }

  async discard(): Promise<void> {
    await this.forget();
    await request(casePath(this.id, "/draft"), { method: "DELETE" });
  }

  private later(wait: number): void {
    window.clearTimeout(this.timer);
    if (!this.closed) this.timer = window.setTimeout(() => void (this.sending ??= this.send()), wait);
  }

  private async send(): Promise<void> {
    this.dirty = false;
    const { file, version, box } = this.make();
    try {
      const body = await packed(file);
      await request(query(casePath(this.id, "/draft"), { version, box }), { method: "PUT", body, headers: { "Content-Type": "application/octet-stream" } });
      if (!this.dirty) this.onstate?.("saved");
    } catch (error) {
      if (offline(error)) {
        this.dirty = true;
        this.onstate?.("away");
      } else {
        this.onrefused?.(error);
      }
    } finally {
      this.sending = null;
      if (this.dirty) this.later(Math.max(3000, this.wait));
    }
  }
}
