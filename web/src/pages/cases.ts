/** Cases: every scan of the dataset in a table or a grid, and which to label next. */

import { get, query } from "../api.ts";
import { button, debounced, h, replace, select } from "../dom.ts";
import { icon } from "../icons.ts";
import { bind } from "../keys.ts";
import { attempt, failure } from "../notices.ts";
import { remember, type Page, type Shell } from "../route.ts";
import type { CasePage, CaseRow, CaseState } from "../types.ts";
import { acceptSelected } from "./case/decide.ts";
import { labelImport } from "./cases/import.ts";
import { cards, stateChip, table } from "./cases/rows.ts";
import { nextToLabel } from "./cases/ranking.ts";
import { rememberList } from "./cases/order.ts";

export const states: readonly CaseState[] = ["unlabeled", "predicted", "accepted", "labeled", "test", "bad"];

const sorts = [
  ["rank", "Label next"],
  ["id", "Name"],
  ["state", "State"],
  ["group", "Group"],
  ["size", "Size"],
  ["uncertainty", "Uncertainty"],
  ["expected_dice", "Expected Dice"],
  ["volume", "Volume"],
  ["changed", "Last change"],
] as const;

interface View {
  state: string;
  group: string;
  search: string;
  sort: string;
  order: string;
  page: number;
  size: number;
  look: string;
}

function fromAddress(values: URLSearchParams): View {
  return {
    state: values.get("state") ?? "",
    group: values.get("group") ?? "",
    search: values.get("search") ?? "",
    sort: values.get("sort") ?? "id",
    order: values.get("order") ?? "asc",
    page: Number(values.get("page")) || 1,
    size: Number(values.get("size")) || 50,
    look: values.get("look") ?? localStorage.getItem("look") ?? "table",
  };
}

export const casesPage: Page = async (root, shell, route) => {
  const list = new CaseList(root, shell, fromAddress(route.query));
  await list.load();
  list.bind();
  window.setTimeout(() => void import("./case.ts"), 500); // the viewer is large; it is there when a case is opened
  return () => list.close();
};

class CaseList {
  private readonly shell: Shell;
  private readonly view: View;
  /** By their ids; also those of other pages of the list. */
  private readonly selected = new Map<string, CaseRow>();
  private readonly filters = h("div", { class: "filters" });
  private readonly rows = h("div", { class: "rows" });
  private readonly pager = h("nav", { class: "pager", "aria-label": "Pages of the list" });
  private readonly search: HTMLInputElement;
  private readonly take: HTMLElement;
  private answer: CasePage | null = null;
  private request = new AbortController();
  private later: number | undefined;

  constructor(root: HTMLElement, shell: Shell, view: View) {
    this.shell = shell;
    this.view = view;
    this.search = h("input", { type: "search", placeholder: "Search name or group", value: view.search, "aria-label": "Search name or group" });
    this.search.addEventListener("input", debounced(200, () => this.change({ search: this.search.value.trim() })));
    this.take = labelImport(root, () => void this.load());
    root.append(nextToLabel(() => void this.load()), this.filters, this.rows, this.pager);
  }

  bind(): void {
    bind([
      { keys: ["/"], text: "Search", run: () => this.search.focus() },
      { keys: ["ArrowLeft"], text: "Page before", run: () => this.turn(-1) },
      { keys: ["ArrowRight"], text: "Page after", run: () => this.turn(1) },
    ]);
  }

  close(): void {
    bind();
    this.request.abort();
    window.clearTimeout(this.later);
  }

  /** Asks the server for the page that the view describes, and shows it. */
  async load(): Promise<void> {
    this.request.abort();
    this.request = new AbortController();
    window.clearTimeout(this.later);
    const { signal } = this.request;
    const { look: _, ...asked } = this.view;
    try {
      this.answer = await get<CasePage>(query("/api/cases", { ...asked }), signal);
    } catch (error) {
      if (!signal.aborted) replace(this.rows, failure(error, () => void this.load()));
      return;
    }
    this.show(this.answer);
    this.later = window.setTimeout(() => void this.load(), this.answer.cases.some((c) => !c.shape) ? 2000 : 30000);
  }

  private change(values: Partial<View>): void {
    Object.assign(this.view, { page: 1 }, values);
    const address = new URLSearchParams();
    for (const [name, value] of Object.entries(this.view)) if (value !== "" && name !== "look") address.set(name, String(value));
    remember("cases", address);
    void this.load();
  }

  private turn(by: number): void {
    const pages = Math.max(1, Math.ceil((this.answer?.total ?? 0) / this.view.size));
    const page = Math.min(pages, Math.max(1, this.view.page + by));
    if (page !== this.view.page) this.change({ page });
  }

  private show(answer: CasePage): void {
    rememberList(answer, this.view);
    this.showFilters(answer);
    const choice = {
      selected: this.selected,
      changed: () => this.showFilters(answer),
      sort: this.view.sort,
      order: this.view.order,
      sortBy: (sort: string) => this.sortBy(sort),
    };
    const empty = h("p", { class: "empty" }, answer.total || this.filtered() ? "No case is like this." : "This dataset has no cases yet.");
    const shown = this.view.look === "grid" ? cards(answer.cases, choice) : table(answer.cases, choice);
    replace(this.rows, answer.cases.length ? shown : empty);
    this.showPager(answer);
  }

  private filtered(): boolean {
    return Boolean(this.view.state || this.view.group || this.view.search);
  }

  private sortBy(sort: string): void {
    const turnedAround = this.view.sort === sort && this.view.order === "asc";
    this.change({ sort, order: turnedAround ? "desc" : "asc" });
  }

  private showFilters(answer: CasePage): void {
    const { view } = this;
    const all = Object.values(answer.counts).reduce((a, b) => a + b, 0);
    const filter = (state: string, content: Node | string, count: number) =>
      button([content, h("span", { class: "count" }, count.toLocaleString("en-US"))], () => this.change({ state }), {
        class: "filter",
        "aria-pressed": String(view.state === state),
      });
    const groups = answer.groups.filter(Boolean);
    replace(
      this.filters,
      this.search,
      h(
        "div",
        { class: "row tight", role: "group", "aria-label": "State" },
        filter("", "All", all),
        states.filter((s) => answer.counts[s] || view.state === s).map((s) => filter(s, stateChip(s), answer.counts[s])),
      ),
      groups.length > 1 &&
        select([["", "All groups"], ...groups.map((g) => [g, g] as const)], view.group, (group) => this.change({ group }), { "aria-label": "Group" }),
      h("span", { class: "grow" }),
      this.selected.size > 0 ? this.acceptButton() : this.take,
      select(sorts, view.sort, (sort) => this.change({ sort, order: "asc" }), { "aria-label": "Sort by" }),
      button(view.order === "asc" ? "↑" : "↓", () => this.change({ order: view.order === "asc" ? "desc" : "asc" }), {
        "aria-label": view.order === "asc" ? "Ascending; turn around" : "Descending; turn around",
        "data-name": "order",
      }),
      ...(["table", "grid"] as const).map((look) =>
        button(icon(look), () => this.look(look), { "aria-label": look === "table" ? "Table" : "Thumbnails", "aria-pressed": String(view.look === look) }),
      ),
    );
  }

  private acceptButton(): HTMLElement {
    const label = `Accept ${this.selected.size} selected`;
    return button(label, () => void attempt(() => this.accept()), { class: "primary" });
  }

  private async accept(): Promise<void> {
    if (!(await acceptSelected([...this.selected.values()], this.shell.session.run))) return;
    this.selected.clear();
    await this.load();
  }

  private look(look: string): void {
    localStorage.setItem("look", look);
    this.view.look = look;
    if (this.answer) this.show(this.answer);
  }

  private showPager(answer: CasePage): void {
    const pages = Math.max(1, Math.ceil(answer.total / this.view.size));
    const first = (this.view.page - 1) * this.view.size + 1;
    const last = Math.min(answer.total, this.view.page * this.view.size);
    replace(
      this.pager,
      h("span", { role: "status" }, answer.total ? `${first}–${last} of ${answer.total.toLocaleString("en-US")}` : "0 cases"),
      h("span", { class: "grow" }),
      button([icon("previous"), "Before"], () => this.turn(-1), { disabled: this.view.page <= 1 }),
      h("span", {}, `Page ${this.view.page} of ${pages}`),
      button(["After", icon("next")], () => this.turn(1), { disabled: this.view.page >= pages }),
      select(["25", "50", "100", "200"].map((n) => [n, `${n} a page`] as const), String(this.view.size), (size) => this.change({ size: Number(size) }), { "aria-label": "Cases on a page" }),
    );
  }
}
