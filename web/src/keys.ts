/** Keyboard shortcuts: the page that is open binds them, and `?` lists what is bound. */

import { button, h } from "./dom.ts";
import { dialog } from "./notices.ts";

export interface Binding {
  /** `"p"`, `"Ctrl+z"`, `"Shift+c"`, `"ArrowUp"`; several with the same meaning. */
  keys: string[];
  text: string;
  run(event: KeyboardEvent): void;
  /** Works again while the key is held. */
  repeats?: boolean;
  /** In the list; `false` for a second name of another one. */
  listed?: string | false;
}

let bound: readonly Binding[] = [];

/** Takes the place of what was bound; call with nothing when the page is left. */
export function bind(bindings: readonly Binding[] = []): void {
  bound = bindings;
}

function name(event: KeyboardEvent): string {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key)) ? "Shift+" : "";
  const control = (event.ctrlKey && !event.altKey) || event.metaKey; // both together are AltGr, by which many keyboards have [ and ]
  return `${control ? "Ctrl+" : ""}${shift}${key}`;
}

/** Alt with a letter, a digit or a named key belongs to the browser; with anything else it writes a sign. */
function ofBrowser(event: KeyboardEvent): boolean {
  return event.altKey && (event.key.length > 1 || /[a-z0-9]/i.test(event.key));
}

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof Element)) return false;
  const field = target.closest("input, select, textarea");
  const pressed = field instanceof HTMLInputElement && ["checkbox", "button", "radio"].includes(field.type);
  return (field !== null && !pressed) || target.closest("dialog") !== null;
}

/** Starts to listen, once; before the viewer, which has shortcuts of its own. */
export function listen(): void {
  document.addEventListener(
    "keydown",
    (event) => {
      if (ofBrowser(event) || event.isComposing || document.querySelector("dialog[open]")) return;
      const pressed = name(event);
      if (typing(event.target) && pressed !== "Ctrl+s") return;
      if (pressed === "?") {
        showKeys();
        return;
      }
      const binding = bound.find((b) => b.keys.includes(pressed));
      if (!binding) return;
      event.preventDefault();
      event.stopPropagation();
      if (!event.repeat || binding.repeats) binding.run(event);
    },
    { capture: true },
  );
}

const pretty: Record<string, string> = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };

function spelled(key: string): string {
  return key
    .split(/(?<=.)\+(?=.)/)
    .map((part) => pretty[part] ?? (part.length === 1 ? part.toUpperCase() : part))
    .join(" ");
}

export function showKeys(): void {
  const listed = bound.filter((b) => b.listed !== false);
  const rows = [...listed.map((b) => [b.listed || b.keys.map(spelled).join(", "), b.text] as const), ["?", "This list"] as const];
  const lines = rows.map(([key, text]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)));
  const close = button("Close", () => box.close(), { autofocus: true });
  const box = dialog("Keyboard shortcuts", h("dl", { class: "keys" }, lines), h("div", { class: "row end" }, close));
}
