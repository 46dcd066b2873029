/** Save, and what happens when somebody else saved meanwhile. */

import { ApiError, casePath, query, request } from "../../api.ts";
import { packed } from "../../drawing/packing.ts";
import { plural, when } from "../../format.ts";
import { choose, tell, words } from "../../notices.ts";
import type { Saved } from "../../types.ts";
import type { Desk } from "./desk.ts";

/** Saves the drawing as the case's label; answers whether it is saved. */
export async function save(desk: Desk): Promise<boolean> {
  if (!desk.pad || desk.pad.locked) return false;
  const body = await packed(desk.drawnFile());
  await desk.drafts?.forget();
  desk.progress("Saving …");
  try {
    return await put(desk, body, desk.version);
  } catch (error) {
    tell(words(error), "error");
    desk.drafts?.changed();
    return false;
  } finally {
    desk.progress(null);
  }
}

async function put(desk: Desk, body: Blob, version: number): Promise<boolean> {
  const run = desk.source === "corrected" ? desk.run : null;
  const path = query(casePath(desk.detail.id, "/label"), { version: String(version), source: desk.source, run, box: desk.box, seconds: desk.seconds, planes: desk.slicesOnly ? desk.detail.slices.map((s) => `${s.axis}:${s.index}`).join(",") : null });
  let answer: Saved;
  try {
    const sent = await request(path, { method: "PUT", body, headers: { "Content-Type": "application/octet-stream" } });
    answer = (await sent.json()) as Saved;
  } catch (error) {
    if (error instanceof ApiError && error.code === "OUTDATED_VERSION") return outdated(desk, body, error);
    throw error;
  }
  desk.saved(answer.version);
  tell([`Saved as version ${answer.version}.`, ...answer.warnings].join(" "));
  await desk.reload();
  return true;
}

/** Two people at once: both versions are kept, and the user says which one counts. */
async function outdated(desk: Desk, body: Blob, error: ApiError): Promise<boolean> {
  const { current, by, kept } = error.details as { current: number; by: string | null; kept: number | null };
  desk.progress(null);
  const text = `${by ?? "Somebody"} saved version ${current} while you were drawing on version ${desk.version}.${kept ? ` Yours is kept as version ${kept}.` : ""} Which one shall count?`;
  const answer = await choose("Two versions", text, [
    ["mine", "Mine"],
    ["theirs", "Theirs: load it"],
  ]);
  if (answer === "mine") return put(desk, body, current);
  if (answer === "theirs") {
    await desk.drafts?.discard();
    await desk.reload();
    const url = desk.detail.label_url;
    if (url && desk.pad) desk.pad.replaceWith((await desk.labelMap(desk.within(url), "the label")).data);
    await desk.drafts?.forget();
    desk.version = desk.detail.version;
    desk.changed = false;
    desk.draft = null;
    desk.update();
    return false;
  }
  desk.drafts?.changed();
  return false;
}

/** Puts an older version into the drawing; saving makes it the newest. */
export async function loadVersion(desk: Desk, version: number, time: string): Promise<void> {
  if (!desk.pad) return;
  const { data, unknown } = await desk.labelMap(desk.within(casePath(desk.detail.id, `/label.nii?version=${version}`)), `version ${version}`);
  desk.pad.replaceWith(data);
  tell(`Version ${version} of ${when(time)} is in the drawing; save to keep it.${unknown ? ` ${plural(unknown, "voxel")} of no class.` : ""}`);
}

/** Takes in a label that was drawn elsewhere. */
export async function importLabel(desk: Desk, file: File): Promise<void> {
  const form = new FormData();
  form.append("file", file);
  const sent = await request(casePath(desk.detail.id, `/import?version=${desk.version}`), { method: "POST", body: form });
  const answer = (await sent.json()) as Saved;
  await desk.drafts?.forget();
  desk.version = answer.version;
  await desk.reload();
  const url = desk.detail.label_url;
  if (url && desk.pad) desk.pad.replaceWith((await desk.labelMap(desk.within(url), "the label")).data);
  await desk.drafts?.discard();
  desk.changed = false;
  desk.draft = null;
  desk.update();
  tell([`${file.name} is version ${answer.version}.`, ...answer.warnings].join(" "));
}
