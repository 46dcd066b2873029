/** Rows and cards of the list of cases. */

import { h } from "../../dom.ts";
import { number, score, size, when } from "../../format.ts";
import { href } from "../../route.ts";
import type { CaseRow, CaseState } from "../../types.ts";

export interface Choice {
  selected: Map<string, CaseRow>;
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
  if (row.state === "test" && row.labeled) found.push(h("span", { class: "mark", title: "Nothing of the label of a test case is shown in the list" }, "label kept hidden"));
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
    if (box.checked) choice.selected.set(row.id, row);
    else choice.selected.delete(row.id);
    choice.changed();
  });
  return box;
}

interface Column {
  sort: string;
  text: string;
  number?: boolean;
  /** Is there anything to show? A column that is empty on the whole page is left out. */
  shown(row: CaseRow): boolean;
  cell(row: CaseRow): (Node | string | null)[];
}

const columns: readonly Column[] = [
  { sort: "state", text: "State", shown: () => true, cell: (r) => [stateChip(r.state), ...marks(r)] },
  { sort: "group", text: "Group", shown: (r) => Boolean(r.group) && r.group !== r.id, cell: (r) => [r.group] },
  { sort: "size", text: "Size", shown: () => true, cell: dimensions },
  { sort: "rank", text: "Next", number: true, shown: (r) => r.rank !== null, cell: (r) => [r.rank === null ? "" : String(r.rank)] },
  { sort: "uncertainty", text: "Uncertainty", number: true, shown: (r) => r.uncertainty !== null, cell: (r) => [score(r.uncertainty, 3)] },
  { sort: "expected_dice", text: "Expected Dice", number: true, shown: (r) => r.run !== null, cell: expected },
  { sort: "volume", text: "Volume", shown: (r) => r.volumes !== null, cell: amounts },
  { sort: "changed", text: "Changed", shown: (r) => r.changed !== null, cell: (r) => (r.changed ? [when(r.changed), h("small", { class: "muted" }, r.by ?? "")] : []) },
];

function dimensions(row: CaseRow): Node[] {
  const [shape, spacing] = size(row.shape, row.spacing, row.unit);
  return [h("span", {}, shape), h("small", { class: "muted" }, spacing)];
}

function amounts(row: CaseRow): Node[] {
  return Object.entries(row.volumes ?? {}).map(([name, value]) => h("small", {}, `${name} ${number(value)} ${row.volume_unit}`));
}

export function table(rows: readonly CaseRow[], choice: Choice): HTMLElement {
  const shown = columns.filter((c) => c.sort === choice.sort || rows.some((r) => c.shown(r)));
  const head = (name: string, text: string, right = false) => {
    const sorted = choice.sort === name ? (choice.order === "asc" ? "ascending" : "descending") : null;
    const arrow = sorted && (sorted === "ascending" ? " ↑" : " ↓");
    return h("th", { scope: "col", class: right && "number", "aria-sort": sorted }, h("button", { type: "button", class: "plain", onclick: () => choice.sortBy(name) }, text, arrow));
  };
  const unseen = (text: string) => h("th", {}, h("span", { class: "unseen" }, text));
  return h(
    "table",
    { class: "cases" },
    h("thead", {}, h("tr", {}, unseen("Select"), unseen("Picture"), head("id", "Case"), shown.map((c) => head(c.sort, c.text, c.number)))),
    h("tbody", {}, rows.map((row) => line(row, choice, shown))),
  );
}

function line(row: CaseRow, choice: Choice, shown: readonly Column[]): HTMLElement {
  return h(
    "tr",
    {},
    h("td", {}, check(row, choice)),
    h("td", { class: "picture" }, thumbnail(row)),
    h("th", { scope: "row" }, h("a", { href: href("case", row.id) }, row.id), reason(row)),
    shown.map((c) => h("td", { class: c.number ? "number" : `col-${c.sort}` }, c.cell(row))),
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
