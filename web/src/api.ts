/** Requests to the server that these pages come from, and to no other. */

/** What the server said when it refused; `message` is one line for a person. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string;
  readonly details: Record<string, unknown>;

  constructor(status: number, code: string, message: string, hint = "", details: Record<string, unknown> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.details = details;
  }
}

/** Did the request reach no server? Then what is unsaved should be sent again later. */
export function offline(error: unknown): boolean {
  return error instanceof ApiError && error.code === "UNREACHABLE";
}

/** This tab, also after a reload. */
export const client = (sessionStorage["client"] ??= crypto.randomUUID?.() ?? String(Math.random())) as string;

let user: string | null = null;

/** The annotator's name that goes with every write; none: the one of the server. */
export function setUser(name: string | null): void {
  user = name;
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("X-Semiseg", "1");
  if (user) headers.set("X-Semiseg-User", encodeURIComponent(user));
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers, credentials: "same-origin", redirect: "error" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "UNREACHABLE", "The server does not answer.", "Is `semiseg studio` still running?");
  }
  if (!answer.ok) throw await refused(answer);
  return answer;
}

async function refused(answer: Response): Promise<ApiError> {
  try {
    const said = await answer.json();
    return new ApiError(answer.status, said.code ?? "", said.message ?? String(said.detail), said.hint, said.details);
  } catch {
    return new ApiError(answer.status, "", `The server answered ${answer.status} ${answer.statusText}.`);
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await request(path, signal ? { signal } : {})).json();
}

/** A request with a JSON body. */
export async function send<T>(method: string, path: string, body: unknown = {}): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method, headers, body: JSON.stringify(body) })).json();
}

/** Path of a case; the id is quoted whole. */
export function casePath(id: string, rest = ""): string {
  return `/api/cases/${encodeURIComponent(id)}${rest}`;
}

/** A path with its query; `null` and empty values are left out. */
export function query(path: string, values: Record<string, string | number | null | undefined>): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "") pairs.set(name, String(value));
  }
  const text = pairs.toString();
  return text ? `${path}?${text}` : path;
}

/** Bytes of a file, with progress 0..1 where its size is known. */
export async function bytes(
  path: string,
  progress: (share: number) => void,
  signal?: AbortSignal,
): Promise<ArrayBuffer> {
  const answer = await request(path, signal ? { signal } : {});
  const size = Number(answer.headers.get("Content-Length"));
  if (!size || !answer.body) return answer.arrayBuffer();
  const whole = new Uint8Array(size);
  let at = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > size) throw new ApiError(0, "UNREACHABLE", "A file came longer than announced.");
    whole.set(value, at);
    at += value.length;
    progress(at / size);
  }
  if (at !== size) throw new ApiError(0, "UNREACHABLE", "A file ended early; load the page again.");
  return whole.buffer;
}
