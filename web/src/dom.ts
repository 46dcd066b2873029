/** Small helpers that make DOM elements; no inline styles or handlers, as the content security policy asks. */

export type Child = Node | string | number | null | undefined | false;
type Value = string | number | boolean | null | undefined | EventListener;

/**
 * One element with attributes and children. `class` and `aria-*` are attributes, `onclick` and its like listeners,
 * `value`, `checked` and `selected` properties; `true` sets an empty attribute, `false` and `null` none.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: (Child | Child[])[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) assign(element, name, value);
  element.append(...nodes(children.flat()));
  return element;
}

function assign(element: HTMLElement, name: string, value: Value): void {
  if (typeof value === "function") element.addEventListener(name.slice(2), value);
  else if (name === "value" || name === "checked" || name === "selected") {
    (element as unknown as Record<string, Value>)[name] = value;
  } else if (value === true) element.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
}

function nodes(children: Child[]): (Node | string)[] {
  return children
    .filter((c): c is Node | string | number => c !== null && c !== undefined && c !== false)
    .map((c) => (typeof c === "number" ? String(c) : c));
}

/** New children; the focus goes to what has the same name as what had it, and what was unfolded stays so. */
export function replace(parent: Element, ...children: (Child | Child[])[]): void {
  const held = parent.contains(document.activeElement) ? (document.activeElement as HTMLElement) : null;
  const unfolded = [...parent.querySelectorAll("details[open] > summary")].map(identity);
  parent.replaceChildren(...nodes(children.flat()));
  for (const summary of parent.querySelectorAll("details > summary")) {
    if (unfolded.includes(identity(summary))) (summary.parentElement as HTMLDetailsElement).open = true;
  }
  if (!held || document.activeElement === held) return;
  const again = held.isConnected ? held : [...parent.querySelectorAll<HTMLElement>(held.tagName)].find((e) => identity(e) === identity(held));
  again?.focus({ preventScroll: true });
}

/** By what an element is known when it is made anew: its name, or its words without numbers. */
function identity(element: Element): string {
  const { name } = (element as HTMLElement).dataset;
  return name || element.id || (element.getAttribute("aria-label") ?? (element.textContent ?? "").replace(/[^\p{L}]+/gu, " ").trim());
}

/** An SVG element; attributes only. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | number> = {},
  ...children: (Node | string)[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A button; `label` is what is read aloud where the content is an icon. */
export function button(content: Child | Child[], onclick: () => void, attributes: Record<string, Value> = {}) {
  return h("button", { type: "button", onclick: () => onclick(), ...attributes }, content);
}

/** `<select>` of values and their texts. */
export function select(
  options: readonly (readonly [value: string, text: string])[],
  chosen: string,
  onchange: (value: string) => void,
  attributes: Record<string, Value> = {},
): HTMLSelectElement {
  const box = h(
    "select",
    attributes,
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  box.addEventListener("change", () => onchange(box.value));
  return box;
}

/** A label around its control. */
export function field(text: string, control: HTMLElement, hint?: string): HTMLElement {
  return h("label", { class: "field" }, h("span", {}, text), control, hint && h("small", {}, hint));
}

/** Calls the last of a burst of calls, `wait` ms after it. */
export function debounced(wait: number, call: () => void): (() => void) & { cancel(): void } {
  let timer: number | undefined;
  const later = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(call, wait);
  };
  return Object.assign(later, { cancel: () => window.clearTimeout(timer) });
}
