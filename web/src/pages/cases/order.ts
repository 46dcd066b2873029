/** The list that the user came from, so that "next" on the page of a case means the next one of that list. */

import { get, query } from "../../api.ts";
import type { CasePage } from "../../types.ts";

interface Remembered {
  ids: string[];
  page: number;
  size: number;
  total: number;
  query: Record<string, string | number>;
}

const key = "list";

export function rememberList(answer: CasePage, view: object): void {
  const { look: _, page: __, ...asked } = { ...view } as Record<string, string | number>;
  const kept: Remembered = { ids: answer.cases.map((c) => c.id), page: answer.page, size: answer.size, total: answer.total, query: asked };
  sessionStorage.setItem(key, JSON.stringify(kept));
}

/**
 * The case `by` (1 or -1) places after `id`: in the remembered list, its neighboring page, or, where `id` is not
 * in the list, what the server says.
 */
export async function neighbor(id: string, by: 1 | -1, otherwise: string | null): Promise<string | null> {
  const kept = read();
  const at = kept?.ids.indexOf(id) ?? -1;
  if (!kept || at < 0) return otherwise;
  const found = kept.ids[at + by];
  if (found !== undefined) return found;
  const page = kept.page + by;
  if (page < 1 || (page - 1) * kept.size >= kept.total) return null;
  const answer = await get<CasePage>(query("/api/cases", { ...kept.query, page }));
  rememberList(answer, kept.query);
  return (by > 0 ? answer.cases[0] : answer.cases.at(-1))?.id ?? null;
}

function read(): Remembered | null {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "null") as Remembered | null;
  } catch {
    return null;
  }
}
