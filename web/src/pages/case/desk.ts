/** What the parts of the page of a case share: the case, the viewer, the drawing, and how they are told of changes. */

import { bytes, casePath, get, query } from "../../api.ts";
import { Drafts } from "../../drawing/drafts.ts";
import { read, toFile, toViewer, write } from "../../drawing/nifti.ts";
import { unpacked } from "../../drawing/packing.ts";
import { Pad, type Settings } from "../../drawing/pad.ts";
import type { CaseDetail, LabelClass, Session } from "../../types.ts";
import { colorTable, type ClassColors } from "../../viewer/colors.ts";
import type { Layout, Viewer } from "../../viewer/viewer.ts";

export interface DrawnClass extends LabelClass {
  /** 1, 2, …: what the drawing holds; `value` is what the file holds. */
  number: number;
  visible: boolean;
}

export class Desk {
  readonly session: Session;
  readonly classes: DrawnClass[];
  readonly settings: Settings;
  detail: CaseDetail;
  pad: Pad | null = null;
  drafts: Drafts | null = null;
  /** What the drawing began from. */
  version: number;
  source: "drawn" | "corrected";
  /** Whose prediction is shown. */
  run: string | null;
  changed = false;
  /** The drawing as it is saved (see `Pad.state`). */
  private clean: unknown = null;
  /** Only the proposed slices are labeled: saved with `ignore` elsewhere. */
  slicesOnly = false;
  draft: "saved" | "unsaved" | "away" | null = null;
  layout: Layout = "planes";
  /** The voxels of a large scan that are drawn on, `x0,x1,y0,y1,z0,z1`; `null`: all of them. */
  box: string | null;
  /** The file of the grid that is drawn on; `null` as long as only the preview is there. */
  private image: ArrayBuffer | null = null;
  /** Seconds that somebody has worked here since the last save; a pause counts up to half a minute. */
  private worked = 0;
  private last = performance.now();
  private readonly leaving = new AbortController();
  private readonly watchers: (() => void)[] = [];

  readonly viewer: Viewer;
  readonly progress: (text: string | null, share?: number) => void;

  constructor(session: Session, detail: CaseDetail, viewer: Viewer, progress: (text: string | null, share?: number) => void) {
    this.session = session;
    this.detail = detail;
    this.viewer = viewer;
    this.progress = progress;
    this.version = detail.version;
    this.run = detail.run;
    this.box = detail.draft_box;
    this.source = detail.source === "corrected" ? "corrected" : "drawn";
    const { labels, ignore } = session.dataset;
    const drawn = ignore === null ? labels : [...labels, { name: "ignore", value: ignore, color: "#9a9a9a" }];
    this.classes = drawn.slice(0, 254).map((c, i) => ({ ...c, number: i + 1, visible: true }));
    this.settings = { tool: "move", value: 1, size: 3, ball: false, protect: true, low: 0, high: 0 };
  }

  /** The mouse or a key was used. */
  active(): void {
    const now = performance.now();
    this.worked += Math.min(30, (now - this.last) / 1000);
    this.last = now;
  }

  get seconds(): number {
    return Math.round(this.worked);
  }

  /** A label was saved with the drawing in a state that it had; what was drawn since is kept as a draft. */
  saved(version: number, state = this.pad?.state): void {
    this.version = version;
    this.clean = state;
    this.changed = this.pad?.state !== state;
    this.draft = null;
    this.worked = 0;
    if (this.changed) this.drafts?.changed();
  }

  /** Is anything drawn, as far as it is known here? */
  get empty(): boolean {
    return this.box === null && !this.classes.some((c) => (this.pad?.volume.counts[c.number] ?? 0) > 0);
  }

  /** Puts the label that counts into the drawing, in the place of what was drawn. */
  async takeLabel(): Promise<void> {
    await this.drafts?.discard();
    await this.reload();
    const url = this.detail.label_url;
    if (url && this.pad) this.pad.replaceWith((await this.labelMap(this.within(url), "the label")).data);
    await this.drafts?.forget();
    this.saved(this.detail.version);
    this.update();
  }

  /** Calls `draw` now and whenever something changed. */
  watch(draw: () => void): void {
    this.watchers.push(draw);
    draw();
  }

  update(): void {
    for (const draw of this.watchers) draw();
  }

  file(url: string, what: string): Promise<ArrayBuffer> {
    return bytes(url, (share) => this.progress(`Loading ${what} …`, share), this.leaving.signal).finally(() => this.progress(null));
  }

  /** Is the scan here as a preview only? */
  get preview(): boolean {
    return this.image === null;
  }

  /** The address of a map on the voxels that are shown: all, those of a part, or those of a preview. */
  within(url: string): string {
    const address = new URL(url, location.origin);
    if (this.preview) address.searchParams.set("size", "preview");
    else if (this.box) address.searchParams.set("box", this.box);
    return address.pathname + address.search;
  }

  /** The part of a large scan around the crosshair, for browsers that draw by a processor. */
  async choosePart(): Promise<void> {
    const at = this.viewer.world.map((mm) => mm.toFixed(3)).join(",");
    this.box = (await get<{ box: string }>(query(casePath(this.detail.id, "/part"), { at }))).box;
  }

  /** Shows a channel; of a large scan the preview first. */
  async show(channel: number, full: boolean): Promise<void> {
    const image = this.detail.images.find((i) => i.channel === channel) ?? this.detail.images[0];
    if (!image) throw new Error("This case has no image.");
    const small = !full && image.preview_url;
    const url = this.box && !small ? query(image.url, { box: this.box }) : small || image.url;
    const file = await this.file(url, small ? "a preview" : this.box ? "a part of the scan" : "the scan");
    await this.viewer.show(file, image);
    if (!small) this.image ??= file;
    if (!this.pad) [this.settings.low, this.settings.high] = [image.window.low, image.window.high];
  }

  /** Starts the drawing: with the draft, else the label, else empty. Returns what was strange about it. */
  async startDrawing(): Promise<string | null> {
    const url = this.detail.draft_url ?? this.detail.label_url;
    const { data, unknown } = url ? await this.labelMap(this.detail.draft_url ?? this.within(url), this.detail.draft_url ? "your draft" : "the label") : { data: undefined, unknown: 0 };
    const pad = new Pad(this.viewer, this.settings, data);
    this.pad = pad;
    this.changed = this.detail.draft_url !== null;
    this.draft = this.changed ? "saved" : null;
    this.clean = this.changed ? "not this one" : null;
    if (this.changed) this.version = this.detail.draft_version ?? this.detail.version;
    const large = pad.volume.data.length > 32 * 2 ** 20;
    this.drafts = new Drafts(this.detail.id, large ? 8000 : 500, () => ({ file: this.drawnFile(), version: this.version, box: this.box }));
    this.drafts.onstate = (state) => {
      this.draft = state;
      this.update();
    };
    pad.onchange = () => {
      this.changed = pad.state !== this.clean;
      if (this.changed) this.drafts?.changed();
      else void this.drafts?.discard().catch(() => {});
      this.update();
    };
    return unknown ? `${unknown.toLocaleString("en-US")} voxels of this label belong to no class; they are shown as unlabeled.` : null;
  }

  /** A label map of the server in the viewer's order, as class numbers. */
  async labelMap(url: string, what: string): Promise<{ data: Uint8Array; unknown: number }> {
    const { voxels } = read(await unpacked(await this.file(url, what)));
    return toViewer(voxels, this.viewer.order, new Map(this.classes.map((c) => [c.value, c.number])));
  }

  /** The drawing as a file on the grid of the scan. */
  drawnFile(): Uint8Array<ArrayBuffer> {
    if (!this.image || !this.pad) throw new Error("The scan is here as a preview only.");
    const valueOf = [0, ...this.classes.map((c) => c.value)];
    return write(this.image, toFile(this.pad.volume.data, this.viewer.order, valueOf));
  }

  /** Colors by class number, for the drawing. */
  get drawingColors(): ClassColors {
    return colorTable(this.classes.map((c) => [c.number, c]));
  }

  /** Colors by label value, for layers. */
  get layerColors(): ClassColors {
    return colorTable(this.classes.map((c) => [c.value, c]));
  }

  /** Reads the case again, after something was saved or decided. */
  async reload(): Promise<void> {
    this.detail = await get<CaseDetail>(query(casePath(this.detail.id), {}));
    this.update();
  }

  async close(): Promise<void> {
    this.leaving.abort();
    this.pad?.close();
    await this.drafts?.flush();
    this.drafts?.close();
    this.viewer.close();
  }
}
