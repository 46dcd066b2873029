/** What is told: short notices, questions, failures, the list of shortcuts. */

import { ApiError } from "./api.ts";
import { button, h, type Child } from "./dom.ts";

/** Screen readers read aloud what appears here. */
export const toasts = h("div", { class: "toasts", role: "status", "aria-live": "polite" });

/** Takes away what went wrong on the page before: what has been there for a while was read. */
export function clearErrors(): void {
  for (const note of toasts.querySelectorAll<HTMLElement>(".error")) if (performance.now() - Number(note.dataset["told"]) > 5000) note.remove();
}

export function tell(text: string, kind: "info" | "error" = "info"): void {
  const note = h("div", { class: `toast ${kind}`, "data-told": performance.now() }, h("span", {}, text));
  note.append(button("×", () => note.remove(), { class: "quiet", "aria-label": "Dismiss" }));
  toasts.append(note);
  while (toasts.childElementCount > 3) toasts.firstElementChild?.remove();
  if (kind === "info") window.setTimeout(() => note.remove(), 6000);
}

export function words(error: unknown): string {
  if (error instanceof ApiError) return error.hint ? `${ended(error.message)} ${sentence(error.hint)}` : error.message;
  return error instanceof Error ? error.message : String(error);
}

function sentence(text: string): string {
  return ended(text.charAt(0).toUpperCase() + text.slice(1));
}

function ended(text: string): string {
  return /[.?!`]$/.test(text) ? text : `${text}.`;
}

/** Runs `work`; tells what went wrong, and answers whether it went well. */
export async function attempt(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    tell(words(error), "error");
    return false;
  }
}

/** In the place of a page that could not be loaded. */
export function failure(error: unknown, again: () => void): HTMLElement {
  return h("div", { class: "failure", role: "alert" }, h("h1", {}, "This did not work"), h("p", {}, words(error)), button("Try again", again));
}

export function dialog(title: string, ...content: (Child | Child[])[]): HTMLDialogElement {
  const box = h("dialog", { "aria-label": title }, h("h2", {}, title), ...content);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

/** A question with buttons; the value of the one that was pressed, `null` where it was closed. */
export function choose(title: string, text: string, answers: readonly (readonly [string, string])[]): Promise<string | null> {
  return new Promise((resolve) => {
    let chosen: string | null = null;
    const buttons = answers.map(([value, label], i) =>
      button(
        label,
        () => {
          chosen = value;
          box.close();
        },
        { class: i === 0 ? "primary" : "" },
      ),
    );
    const box = dialog(title, h("p", {}, text), h("div", { class: "row end" }, buttons, button("Cancel", () => box.close())));
    box.addEventListener("close", () => resolve(chosen));
  });
}

/** A question with a line of text; `null` where it was closed. */
export function ask(title: string, text: string, value = ""): Promise<string | null> {
  return new Promise((resolve) => {
    let answer: string | null = null;
    const input = h("input", { type: "text", value, maxlength: 200, autofocus: true, "aria-label": title });
    const form = h(
      "form",
      {},
      h("p", {}, text),
      input,
      h("div", { class: "row end" }, h("button", { class: "primary" }, "OK"), button("Cancel", () => box.close())),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer = input.value.trim();
      box.close();
    });
    const box = dialog(title, form);
    input.select();
    box.addEventListener("close", () => resolve(answer));
  });
}
