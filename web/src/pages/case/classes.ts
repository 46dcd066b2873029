/** The classes: which one is drawn, its color, whether it is shown, and how large it is. */

import { button, h, replace } from "../../dom.ts";
import { number, score } from "../../format.ts";
import { icon } from "../../icons.ts";
import type { Desk, DrawnClass } from "./desk.ts";

export function classPanel(desk: Desk): HTMLElement {
  const panel = h("section", { class: "panel", "aria-label": "Classes" });
  desk.watch(() => {
    const dice = desk.detail.dice;
    replace(
      panel,
      h("h2", {}, "Classes"),
      h("ul", { class: "classes" }, desk.classes.map((c) => line(desk, c))),
      dice && h("p", { class: "muted small" }, `Dice of ${dice.run} against the label: ${score(dice.mean)}`),
    );
  });
  return panel;
}

function line(desk: Desk, c: DrawnClass): HTMLElement {
  const swatch = h("i", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = c.color;
  const pick = button([swatch, h("span", { class: "name" }, c.name), c.number <= 9 && h("kbd", {}, c.number)], () => pickClass(desk, c.number), {
    class: "class",
    "aria-pressed": String(desk.settings.value === c.number),
    title: `Draw ${c.name}`,
    "data-name": `pick-${c.number}`,
  });
  const eye = button(icon(c.visible ? "eye" : "hidden"), () => toggle(desk, c), {
    class: "quiet",
    "aria-label": `${c.visible ? "Hide" : "Show"} ${c.name}`,
    "aria-pressed": String(c.visible),
    "data-name": `eye-${c.number}`,
  });
  return h("li", {}, pick, h("span", { class: "amount" }, amount(desk, c)), eye);
}

export function pickClass(desk: Desk, value: number): void {
  if (value > desk.classes.length) return;
  desk.settings.value = value;
  desk.update();
}

function toggle(desk: Desk, c: DrawnClass): void {
  c.visible = !c.visible;
  desk.viewer.drawingColors(desk.drawingColors);
  desk.viewer.recolor("label", desk.layerColors);
  desk.viewer.recolor("prediction", desk.layerColors);
  desk.update();
}

/** Volume of what is drawn, else of what the server counted; Dice of the prediction beside it. */
function amount(desk: Desk, c: DrawnClass): (Node | string)[] {
  const { pad, detail } = desk;
  const parts: (Node | string)[] = [];
  if (pad && (pad.volume.counts[c.number] ?? 0) > 0) parts.push(drawnSize(desk, pad.volume.counts[c.number] as number) + (desk.box ? " here" : ""));
  else if (detail.volumes?.[c.name] !== undefined) parts.push(`${number(detail.volumes[c.name])} ${detail.volume_unit}`, detail.volumes_of === "prediction" ? h("small", { class: "muted below" }, "predicted") : "");
  else parts.push("–");
  const dice = detail.dice?.classes[c.name];
  if (dice !== undefined) parts.push(h("small", { class: "muted", title: "Dice of the prediction against the label" }, ` D ${score(dice, 2)}`));
  return parts;
}

function drawnSize(desk: Desk, voxels: number): string {
  const [x, y, z] = desk.viewer.spacing;
  if (desk.detail.unit === "px") return `${voxels.toLocaleString("en-US")} px`;
  if (desk.viewer.flat) return `${number(voxels * x * y)} mm²`;
  return `${number((voxels * x * y * z) / 1000)} mL`;
}
