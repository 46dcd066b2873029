/** What lies over the scan (label, prediction, difference, uncertainty), and the window of gray values. */

import { casePath, query } from "../../api.ts";
import { button, h, replace, select } from "../../dom.ts";
import { attempt } from "../../notices.ts";
import type { LayerName } from "../../viewer/viewer.ts";
import type { Desk } from "./desk.ts";

interface Layer {
  name: LayerName;
  text: string;
  key: string;
  opacity: number;
  on: boolean;
  loading: boolean;
}

export class Layers {
  readonly panel = h("section", { class: "panel", "aria-label": "Layers" });
  private readonly desk: Desk;
  private readonly layers: Layer[] = [
    { name: "label", text: "Label", key: "l", opacity: 0.5, on: true, loading: false },
    { name: "prediction", text: "Prediction", key: "r", opacity: 0.45, on: false, loading: false },
    { name: "difference", text: "Difference", key: "y", opacity: 0.7, on: false, loading: false },
    { name: "uncertainty", text: "Uncertainty", key: "u", opacity: 0.6, on: false, loading: false },
  ];
  private outline = false;

  constructor(desk: Desk) {
    this.desk = desk;
    desk.watch(() => this.show());
  }

  get keys(): { key: string; text: string; name: LayerName }[] {
    return this.layers;
  }

  private layer(name: LayerName): Layer {
    return this.layers.find((l) => l.name === name) as Layer;
  }

  isOn(name: LayerName): boolean {
    return this.layer(name).on;
  }

  /** Is there such a layer of this case? The label is what is drawn. */
  private there(name: LayerName): boolean {
    const { detail, pad, preview } = this.desk;
    if (name === "label") return pad !== null || (preview && detail.label_url !== null);
    if (name === "prediction") return detail.prediction_url !== null;
    if (name === "uncertainty") return detail.uncertainty_url !== null;
    return detail.prediction_url !== null && detail.label_url !== null;
  }

  async set(name: LayerName, on: boolean): Promise<void> {
    const layer = this.layer(name);
    if (layer.loading || (on && !this.there(name))) return;
    layer.on = on;
    if (on && (name !== "label" || this.desk.preview) && !this.desk.viewer.hasLayer(name)) {
      layer.loading = true;
      this.show();
      const loaded = await attempt(() => this.load(layer));
      layer.loading = false;
      if (!loaded) layer.on = false;
    }
    this.apply(layer);
    this.show();
  }

  toggle(name: LayerName): void {
    void this.set(name, !this.layer(name).on);
  }

  /** Forgets layers that are no longer what the server has. */
  forget(...names: LayerName[]): void {
    for (const name of names) {
      this.layer(name).on = false;
      this.desk.viewer.removeLayer(name);
    }
    this.show();
  }

  toggleOutlines(): void {
    this.outline = !this.outline;
    this.desk.viewer.outlines(this.outline);
    for (const layer of this.layers) this.apply(layer);
    this.show();
  }

  /** Layers of the preview are loaded again on the voxels that are shown now. */
  async again(): Promise<void> {
    const shown = this.layers.filter((l) => l.name !== "label" && l.on).map((l) => l.name);
    this.forget("prediction", "difference", "uncertainty");
    for (const name of shown) await this.set(name, true);
  }

  /** The label of a preview is a layer; of the full scan it is the drawing. */
  drawn(): void {
    this.desk.viewer.removeLayer("label");
    this.desk.viewer.drawingColors(this.desk.drawingColors);
    this.apply(this.layer("label"));
    this.show();
  }

  private async load({ name, opacity }: Layer): Promise<void> {
    const { desk } = this;
    const { id } = desk.detail;
    const url = name === "label" ? desk.detail.label_url : query(casePath(id, `/${name}.nii`), { run: desk.run });
    const file = await desk.file(desk.within(url as string), `the ${name}`);
    if (name === "uncertainty") await desk.viewer.setLayer(name, file, { map: "inferno", low: 0.05, high: 1 }, opacity);
    else await desk.viewer.setLayer(name, file, name === "difference" ? differences : desk.layerColors, opacity);
  }

  private apply({ name, on, opacity }: Layer): void {
    const { viewer, pad } = this.desk;
    if (name === "label" && pad) {
      const area = this.outline ? 0.02 : opacity;
      viewer.drawingOpacity(on ? area : 0, on ? Math.min(1, opacity + 0.35) : 0);
    } else {
      viewer.setLayerOpacity(name, on ? (this.outline ? Math.min(1, opacity + 0.35) : opacity) : 0);
    }
  }

  private show(): void {
    const { desk, panel } = this;
    if (panel.contains(document.activeElement) && (document.activeElement as HTMLInputElement).type === "range") return;
    const outline = h("input", { type: "checkbox", checked: this.outline, id: "outlines" });
    outline.addEventListener("change", () => this.toggleOutlines());
    const runs = desk.detail.runs;
    replace(
      panel,
      h("h2", {}, "Layers"),
      runs.length > 1 && select(runs.map((r) => [r, `Prediction of ${r}`] as const), desk.run ?? "", (run) => void this.chooseRun(run), { "aria-label": "Run" }),
      h("ul", { class: "layers" }, this.layers.filter((l) => this.there(l.name)).map((l) => this.line(l))),
      this.isOn("difference") && legend(),
      h("label", { class: "inline" }, outline, "Outlines (O)"),
    );
  }

  private line(layer: Layer): HTMLElement {
    const box = h("input", { type: "checkbox", checked: layer.on, id: `layer-${layer.name}`, disabled: layer.loading });
    box.addEventListener("change", () => void this.set(layer.name, box.checked));
    const range = h("input", { type: "range", min: 0.05, max: 1, step: 0.05, value: String(layer.opacity), "aria-label": `Opacity of ${layer.text.toLowerCase()}`, disabled: !layer.on });
    range.addEventListener("input", () => {
      layer.opacity = Number(range.value);
      this.apply(layer);
    });
    return h("li", {}, h("label", { class: "inline" }, box, layer.text, h("kbd", {}, layer.key.toUpperCase())), range);
  }

  private async chooseRun(run: string): Promise<void> {
    const { desk } = this;
    desk.run = run;
    await this.again();
    desk.update();
  }
}

const differences = { r: [0, 230, 90, 240], g: [0, 90, 180, 228], b: [0, 60, 240, 66], a: [0, 255, 255, 255], names: ["", "only label", "only prediction", "another class"] };

function legend(): HTMLElement {
  const entries = [1, 2, 3].map((i) => {
    const swatch = h("i", { class: "swatch", "aria-hidden": "true" });
    swatch.style.backgroundColor = `rgb(${differences.r[i]} ${differences.g[i]} ${differences.b[i]})`;
    return h("span", { class: "inline" }, swatch, differences.names[i]);
  });
  return h("p", { class: "small legend" }, entries);
}

/** Window and level: presets, numbers, and which channel is shown. */
export function windowPanel(desk: Desk, channel: (channel: number) => Promise<void>): HTMLElement {
  const panel = h("section", { class: "panel", "aria-label": "Gray values" });
  let smoothed = true;
  let shown = 0;
  const draw = () => {
    if (panel.contains(document.activeElement) && document.activeElement instanceof HTMLInputElement && document.activeElement.type === "number") return;
    const { images } = desk.detail;
    const { rgb, windows } = images[shown] ?? { rgb: false, windows: [] };
    const interpolation = h("input", { type: "checkbox", checked: smoothed });
    interpolation.addEventListener("change", () => {
      smoothed = interpolation.checked;
      desk.viewer.interpolated(smoothed);
    });
    replace(
      panel,
      h("h2", {}, rgb ? "Picture" : "Gray values"),
      images.length > 1 &&
        select(images.map((i) => [String(i.channel), i.name] as const), String(shown), (value) => {
          shown = Number(value);
          void channel(shown).then(draw);
        }, { "aria-label": "Channel" }),
      !rgb && h("div", { class: "presets", role: "group", "aria-label": "Windows" }, windows.map((w) => button(w.name, () => set(w.low, w.high), { class: "preset", title: `${w.low} to ${w.high}` }))),
      !rgb && numbers(),
      h("label", { class: "inline" }, interpolation, "Smooth between voxels"),
    );
  };
  const set = (low: number, high: number) => {
    desk.viewer.window = { low, high };
    draw();
  };
  const numbers = () => {
    const { low, high } = desk.viewer.window;
    const box = (value: number, label: string, take: (v: number) => void) => {
      const input = h("input", { type: "number", step: "any", value: String(Number(value.toPrecision(5))), "aria-label": label, class: "gray" });
      input.addEventListener("change", () => take(Number(input.value)));
      return input;
    };
    return h("div", { class: "row tight" }, box(low, "Darkest gray value", (v) => set(v, desk.viewer.window.high)), "to", box(high, "Brightest gray value", (v) => set(desk.viewer.window.low, v)));
  };
  desk.viewer.canvas.addEventListener("pointerup", (e) => e.button === 2 && draw());
  draw();
  return panel;
}
