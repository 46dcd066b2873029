/** Rows and cards of the list of cases. */

import { h } from "../../dom.ts";
import { score, size, volumes, when } from "../../format.ts";
import { href } from "../../route.ts";
import type { CaseRow, CaseState } from "../../types.ts";

export interface Choice {
  selected: Set<string>;
  changed(): void;
  sort: string;
  order: string;
  sortBy(column: string): void;
}

export function stateChip(state: CaseState): HTMLElement {
  return h("span", { class: `state ${state}` }, h("i", { "aria-hidden": "true" }), state);
}

function thumbnail(row: CaseRow): HTMLElement {
  return h("img", { src: row.thumbnail, alt: "", loading: "lazy", decoding: "async", height: 56 });
}

/** Marks beside the state: somebody draws on it, a draft, to be looked at. */
function marks(row: CaseRow): HTMLElement[] {
  const found: HTMLElement[] = [];
  if (row.review) found.push(h("span", { class: "mark warn", title: row.expected_dice_reason ?? "Little is expected of this prediction" }, "look at it"));
  if (row.draft) found.push(h("span", { class: "mark" }, "draft"));
  if (row.drawing) found.push(h("span", { class: "mark" }, `${row.drawing.user} draws`));
  return found;
}

function expected(row: CaseRow): (Node | string)[] {
  const e = row.expected_dice;
  if (!e) return [h("span", { class: "muted", title: row.expected_dice_reason ?? "" }, "–")];
  const about = `${Math.round(e.coverage * 100)} % of such intervals hold the true value`;
  return [h("span", { title: about }, score(e.value, 2)), h("small", { class: "muted" }, ` ${score(e.low, 2)}–${score(e.high, 2)}`)];
}

function check(row: CaseRow, choice: Choice): HTMLElement | null {
  if (row.state !== "predicted") return null;
  const box = h("input", { type: "checkbox", checked: choice.selected.has(row.id), "aria-label": `Select ${row.id}` });
  box.addEventListener("change", () => {
    if (box.checked) choice.selected.add(row.id);
    else choice.selected.delete(row.id);
    choice.changed();
  });
  return box;
}

const columns: readonly (readonly [sort: string, text: string, number?: boolean])[] = [
  ["id", "Case"],
  ["state", "State"],
  ["group", "Group"],
  ["size", "Size"],
  ["rank", "Next", true],
  ["uncertainty", "Uncertainty", true],
  ["expected_dice", "Expected Dice", true],
  ["volume", "Volume"],
  ["changed", "Changed"],
];

export function table(rows: readonly CaseRow[], choice: Choice): HTMLElement {
  const shown = columns.filter(([name]) => name !== "group" || rows.some((r) => r.group && r.group !== r.id));
  const heads = shown.map(([name, text, right]) => {
    const sorted = choice.sort === name ? (choice.order === "asc" ? "ascending" : "descending") : null;
    const arrow = sorted && (sorted === "ascending" ? " ↑" : " ↓");
    return h("th", { scope: "col", class: right && "number", "aria-sort": sorted }, h("button", { type: "button", class: "plain", onclick: () => choice.sortBy(name) }, text, arrow));
  });
  const grouped = shown.some(([name]) => name === "group");
  const body = rows.map((row) => line(row, choice, grouped));
  return h(
    "table",
    { class: "cases" },
    h("thead", {}, h("tr", {}, h("th", {}, h("span", { class: "unseen" }, "Select")), h("th", {}, h("span", { class: "unseen" }, "Picture")), heads)),
    h("tbody", {}, body),
  );
}

function line(row: CaseRow, choice: Choice, grouped: boolean): HTMLElement {
  const [shape, spacing] = size(row.shape, row.spacing, row.unit);
  return h(
    "tr",
    {},
    h("td", {}, check(row, choice)),
    h("td", { class: "picture" }, thumbnail(row)),
    h("th", { scope: "row" }, h("a", { href: href("case", row.id) }, row.id), reason(row)),
    h("td", {}, stateChip(row.state), marks(row)),
    grouped && h("td", {}, row.group),
    h("td", {}, shape, h("small", { class: "muted" }, spacing)),
    h("td", { class: "number" }, row.rank ?? ""),
    h("td", { class: "number" }, score(row.uncertainty, 3)),
    h("td", { class: "number" }, expected(row)),
    h("td", {}, volumes(row.volumes, row.volume_unit)),
    h("td", {}, row.changed ? [when(row.changed), h("small", { class: "muted" }, row.by ?? "")] : ""),
  );
}

function reason(row: CaseRow): HTMLElement | null {
  const text = row.state === "bad" ? row.note : row.rank ? row.reason : null;
  return text ? h("small", { class: "muted" }, text) : null;
}

export function cards(rows: readonly CaseRow[], choice: Choice): HTMLElement {
  return h(
    "ul",
    { class: "cards" },
    rows.map((row) =>
      h(
        "li",
        {},
        h("a", { href: href("case", row.id), "aria-label": `${row.id}, ${row.state}` }, thumbnail(row), h("span", { class: "name" }, row.id)),
        h("div", { class: "row tight" }, stateChip(row.state), marks(row), row.expected_dice && h("span", { class: "mark" }, `≈ ${score(row.expected_dice.value, 2)}`), h("span", { class: "grow" }), check(row, choice)),
        reason(row),
      ),
    ),
  );
}
