/** Labels of other programs, many at once: each file has the name of its case. */

import { casePath, get, query, request } from "../../api.ts";
import { button, h } from "../../dom.ts";
import { plural } from "../../format.ts";
import { attempt, choose, tell, words } from "../../notices.ts";
import type { CasePage } from "../../types.ts";

/** A button that asks for files, and `root` takes them where they are dropped. */
export function labelImport(root: HTMLElement, done: () => void): HTMLElement {
  const take = (files: FileList | null | undefined) => {
    if (files?.length) void attempt(() => importAll([...files])).then(done);
  };
  const input = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Label files" });
  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";
  });
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer?.files);
  });
  return h("span", {}, input, button("Take in labels …", () => input.click(), { title: "Label files of another program, named as their cases; or drop them on this page" }));
}

/** The id that a file is named after. */
export function caseOf(name: string): string {
  return name.replace(/(\.nii\.gz|\.img\.gz|\.[^.]+)$/i, "");
}

async function importAll(files: readonly File[]): Promise<void> {
  const text = `${plural(files.length, "file")} become labels of the cases that have their names. Former labels are kept as versions.`;
  if ((await choose("Take in labels", text, [["yes", "Take in"]])) === null) return;
  const refused: string[] = [];
  for (const file of files) {
    try {
      await importOne(file);
    } catch (error) {
      refused.push(`${file.name}: ${words(error)}`);
    }
  }
  tell(`${plural(files.length - refused.length, "label")} taken in.`);
  for (const line of refused.slice(0, 2)) tell(line + (refused.length > 2 ? ` (and ${refused.length - 1} more)` : ""), "error");
}

async function importOne(file: File): Promise<void> {
  const id = caseOf(file.name);
  const { cases } = await get<CasePage>(query("/api/cases", { search: id, size: 500 }));
  const row = cases.find((c) => c.id === id);
  if (!row) throw new Error(`no case is named ${id}.`);
  const form = new FormData();
  form.append("file", file);
  await request(casePath(id, `/import?version=${row.version}`), { method: "POST", body: form });
}
