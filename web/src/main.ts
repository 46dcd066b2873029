/** The shell: navigation, theme, name of the annotator; pages come and go inside it. */

import "./style/base.css";
import "./style/layout.css";
import "./style/viewer.css";
import "./style/narrow.css";
import { get, setUser } from "./api.ts";
import { button, h, replace } from "./dom.ts";
import { icon } from "./icons.ts";
import { listen, showKeys } from "./keys.ts";
import { ask, clearErrors, failure, toasts } from "./notices.ts";
import { about } from "./pages/about.ts";
import { casesPage } from "./pages/cases.ts";
import { results } from "./pages/results.ts";
import { training } from "./pages/training.ts";
import { current, href, type Leave, type Page, type Route } from "./route.ts";
import type { Session } from "./types.ts";

const pages: Record<string, Page> = {
  cases: casesPage,
  case: async (...args) => (await import("./pages/case.ts")).casePage(...args),
  review: async (...args) => (await import("./pages/review.ts")).review(...args),
  training,
  results,
  about,
};
const links = [
  ["cases", "Cases"],
  ["training", "Training"],
  ["results", "Results"],
  ["about", "About"],
] as const;

const main = h("main", { id: "main", tabindex: -1 });
const nav = h("nav", { "aria-label": "Pages" });
let leave: Leave | null = null;
let session: Session;
let shown = "";

function theme(): void {
  document.documentElement.dataset["theme"] = localStorage.getItem("theme") ?? "dark";
}

function toggleTheme(): void {
  localStorage.setItem("theme", localStorage.getItem("theme") === "light" ? "dark" : "light");
  theme();
}

async function rename(): Promise<void> {
  const name = await ask("Your name", "It is noted with every label that you save.", localStorage.getItem("user") ?? "");
  if (name === null) return;
  localStorage.setItem("user", name);
  setUser(name || null);
  header();
}

const top = h("header", { class: "top" });

function header(): void {
  const who = localStorage.getItem("user") || session.user;
  replace(
    top,
    h("a", { class: "brand", href: "#/cases" }, icon("brand"), h("b", {}, "semiseg"), " studio"),
    nav,
    h("span", { class: "dataset", title: session.dataset.root }, session.dataset.name),
    session.blind && h("span", { class: "chip" }, "blind"),
    button([icon("user"), h("span", {}, who)], () => void rename(), { class: "quiet", title: "Your name" }),
    button(icon("keys"), showKeys, { class: "quiet", "aria-label": "Keyboard shortcuts", title: "Shortcuts (?)" }),
    button(icon("theme"), toggleTheme, { class: "quiet", "aria-label": "Dark or light", title: "Dark or light" }),
  );
}

function navigation(route: Route): void {
  const here = { case: "cases", review: "results" }[route.page] ?? route.page;
  replace(
    nav,
    links.map(([page, text]) => h("a", { href: href(page), "aria-current": page === here && "page" }, text)),
  );
}

async function open(): Promise<void> {
  const route = current();
  const page = pages[route.page];
  if (!page) {
    location.hash = "#/cases";
    return;
  }
  const address = location.hash;
  shown = address;
  clearErrors();
  await leave?.();
  leave = null;
  if (address !== location.hash) return;
  navigation(route);
  const title = links.find(([name]) => name === route.page)?.[1] ?? route.id;
  document.title = `${title} · ${session.dataset.name} · semiseg studio`;
  replace(main, h("p", { class: "wait", role: "status" }, "Loading …"));
  main.className = `page-${route.page}`;
  const root = h("div", { class: "page" });
  try {
    const left = await page(root, { session, refresh }, route);
    if (shown !== address) {
      await left();
      return;
    }
    leave = left;
    replace(main, root);
    main.focus({ preventScroll: true });
  } catch (error) {
    replace(main, failure(error, () => void open()));
  }
}

/** Reads the session again: counts, runs and devices change. */
async function refresh(): Promise<Session> {
  session = Object.assign(session, await get<Session>("/api/session"));
  return session;
}

async function start(): Promise<void> {
  theme();
  document.body.append(h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the content"), top, main, toasts);
  setUser(localStorage.getItem("user") || null);
  try {
    session = await get<Session>("/api/session");
  } catch (error) {
    replace(main, failure(error, () => location.reload()));
    return;
  }
  header();
  addEventListener("hashchange", () => void open());
  // A file that misses its place is not opened instead of the studio.
  for (const type of ["dragover", "drop"]) addEventListener(type, (event) => event.preventDefault());
  listen();
  await open();
}

function skip(event: Event): void {
  event.preventDefault();
  main.focus();
}

void start();
