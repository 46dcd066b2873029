/** Addresses: `#/cases?state=unlabeled`, `#/case/ID`. */

import type { Session } from "./types.ts";

export interface Route {
  page: string;
  id: string;
  query: URLSearchParams;
}

export interface Shell {
  session: Session;
  refresh(): Promise<Session>;
}

/** Called when the page is left; keeps what is unsaved. */
export type Leave = () => void | Promise<void>;

/** Fills `root`; it is shown once the promise is there. */
export type Page = (root: HTMLElement, shell: Shell, route: Route) => Promise<Leave>;

export function current(): Route {
  const [path = "", search = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", ...rest] = path.split("/");
  return { page: page || "cases", id: unquoted(rest.join("/")), query: new URLSearchParams(search) };
}

/** An address that was typed may not be a quoted one. */
function unquoted(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function href(page: string, id = "", query?: URLSearchParams): string {
  const search = query?.toString();
  return `#/${page}${id && `/${encodeURIComponent(id)}`}${search ? `?${search}` : ""}`;
}

/** Changes the address without opening the page again. */
export function remember(page: string, query: URLSearchParams): void {
  history.replaceState(null, "", href(page, "", query));
}
