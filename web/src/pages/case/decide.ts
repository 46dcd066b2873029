/** Accept, reject, restore: what is decided about a case without drawing. */

import { casePath, send } from "../../api.ts";
import { plural } from "../../format.ts";
import { ask, choose, tell } from "../../notices.ts";
import type { CaseRow, Saved } from "../../types.ts";

/** Takes the predictions of several cases as labels; each by the run that predicted it. `false`: not after all. */
export async function acceptSelected(rows: readonly CaseRow[], run: string | null): Promise<boolean> {
  const agreed = await choose("Accept predictions", `${plural(rows.length, "prediction")} become labels as they are. Have you looked at them?`, [["yes", "Accept"]]);
  if (!agreed) return false;
  const runs = Map.groupBy(rows, (r) => r.run ?? run ?? "");
  const refused: string[] = [];
  let accepted = 0;
  for (const [name, cases] of runs) {
    const said = await send<{ accepted: string[]; refused: { id: string; message: string }[] }>("POST", "/api/accept", { cases: cases.map((c) => c.id), run: name });
    accepted += said.accepted.length;
    refused.push(...said.refused.map((r) => `${r.id}: ${r.message}`));
  }
  tell(`${plural(accepted, "prediction")} accepted.`);
  for (const line of refused.slice(0, 3)) tell(line, "error");
  return true;
}

export function accept(id: string, run: string, version: number): Promise<Saved> {
  return send<Saved>("POST", casePath(id, "/accept"), { run, version });
}

/** Asks for the reason; `null` where the user thought better of it. */
export async function reject(id: string): Promise<CaseRow | null> {
  const reason = await ask("Reject this scan", "It is not trained on and not proposed again; a label is kept aside. Why?", "");
  if (reason === null) return null;
  return (await send<{ case: CaseRow }>("POST", casePath(id, "/reject"), { reason })).case;
}

export async function restore(id: string): Promise<CaseRow> {
  return (await send<{ case: CaseRow }>("POST", casePath(id, "/restore"))).case;
}
