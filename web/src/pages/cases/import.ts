/** Labels of other programs, many at once: each file has the name of its case. */

import { casePath, get, query, request } from "../../api.ts";
import { button, h } from "../../dom.ts";
import { plural } from "../../format.ts";
import { attempt, choose, tell, words } from "../../notices.ts";
import type { CasePage } from "../../types.ts";

/** A button that asks for files or a folder of them; `root` takes both where they are dropped. */
export function labelImport(root: HTMLElement, done: () => void): HTMLElement {
  const take = (files: readonly File[]) => {
    if (files.length) void attempt(() => importAll(files)).then(done);
  };
  const input = (label: string, folder: boolean) => {
    const box = h("input", { type: "file", multiple: true, webkitdirectory: folder, hidden: true, "aria-label": label });
    box.addEventListener("change", () => {
      take([...(box.files ?? [])].filter((file) => !file.name.startsWith(".")));
      box.value = "";
    });
    return box;
  };
  const [files, folder] = [input("Label files", false), input("Folder with labels", true)];
  root.addEventListener("drop", (event) => void attempt(async () => take(await dropped(event.dataTransfer))));
  const ask = async () => {
    const text = "Labels of another program, in files that are named as their cases. They can be dropped on this page, too.";
    const chosen = await choose("Take in labels", text, [["files", "Choose files"], ["folder", "Choose a folder"]]);
    if (chosen) (chosen === "files" ? files : folder).click();
  };
  return h("span", {}, files, folder, button("Take in labels …", () => void ask()));
}

/** The files that were dropped, and those in the folders that were. */
async function dropped(transfer: DataTransfer | null): Promise<File[]> {
  const found = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry() ?? item.getAsFile() ?? []);
  return (await Promise.all(found.map((one) => (one instanceof FileSystemEntry ? within(one) : one)))).flat();
}

async function within(entry: FileSystemEntry): Promise<File[]> {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) return [await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed))];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: File[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    for (const one of some) found.push(...(await within(one)));
  }
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
