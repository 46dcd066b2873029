/** Save, and what happens when somebody else saved meanwhile. */

import { ApiError, casePath, client, query, request } from "../../api.ts";
import { packed } from "../../drawing/packing.ts";
import { plural, when } from "../../format.ts";
import { choose, tell, words } from "../../notices.ts";
import type { Saved } from "../../types.ts";
import type { Desk } from "./desk.ts";

/** Saves the drawing as the case's label; answers whether it is saved. */
export async function save(desk: Desk): Promise<boolean> {
  const { drafts, pad } = desk;
  if (!drafts || !pad || pad.locked || (desk.empty && !(await agreed(desk)))) return false;
  const { state } = pad;
  desk.progress("Saving …");
  try {
    const body = await packed(desk.drawnFile());
    return await drafts.instead(() => put(desk, body, desk.version, state));
  } catch (error) {
    tell(words(error), "error");
    drafts.changed();
    return false;
  } finally {
    desk.progress(null);
  }
}

/** A label in which nothing is drawn is one, too: it says that there is nothing. */
async function agreed(desk: Desk): Promise<boolean> {
  const names = desk.classes.map((c) => c.name).join(", ");
  const text = `An empty label says that this scan shows none of: ${names}. A training learns that from it.`;
  return (await choose("Nothing is drawn", text, [["yes", "Save the empty label"]])) !== null;
}

async function put(desk: Desk, body: Blob, version: number, state: unknown): Promise<boolean> {
  const run = desk.source === "corrected" ? desk.run : null;
  const planes = desk.slicesOnly ? desk.detail.slices.map((s) => `${s.axis}:${s.index}`).join(",") : null;
  const path = query(casePath(desk.detail.id, "/label"), { version: String(version), source: desk.source, run, box: desk.box, seconds: desk.seconds, planes, client });
  let answer: Saved;
  try {
    const sent = await request(path, { method: "PUT", body, headers: { "Content-Type": "application/octet-stream" } });
    answer = (await sent.json()) as Saved;
  } catch (error) {
    if (error instanceof ApiError && error.code === "OUTDATED_VERSION") return outdated(desk, body, error, state);
    throw error;
  }
  desk.saved(answer.version, state);
  tell([`Saved as version ${answer.version}.`, ...answer.warnings].join(" "));
  await desk.reload();
  return true;
}

/** Two people at once: both versions are kept, and the user says which one counts. */
async function outdated(desk: Desk, body: Blob, error: ApiError, state: unknown): Promise<boolean> {
  const { current, by, kept } = error.details as { current: number; by: string | null; kept: number | null };
  desk.progress(null);
  const who = by === desk.session.user ? "You, in another tab," : (by ?? "Somebody");
  const text = `${who} saved version ${current} while you were drawing on version ${desk.version}.${kept ? ` Yours is kept as version ${kept}.` : ""} Which one shall count?`;
  const answer = await choose("Two versions", text, [
    ["mine", "Mine"],
    ["theirs", "Theirs: load it"],
  ]);
  if (answer === "mine") return put(desk, body, current, state);
  if (answer === "theirs") await desk.takeLabel();
  else desk.drafts?.changed();
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
  await desk.takeLabel();
  tell([`${file.name} is version ${answer.version}.`, ...answer.warnings].join(" "));
}
