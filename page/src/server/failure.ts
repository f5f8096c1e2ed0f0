// What went wrong, in plain words, and what can be done about it.

import type { ServerError } from "./types.ts";

export type FailureKind = "offline" | "key" | "busy" | "refused" | "broken" | "cut";

export interface FailureData {
  kind: FailureKind;
  title: string;
  detail: string;
  /** Seconds after which another try makes sense. */
  wait: number | null;
}

export class Failure extends Error {
  readonly data: FailureData;

  constructor(data: FailureData) {
    super(data.title);
    this.data = data;
  }
}

export function offline(): Failure {
  return new Failure({
    kind: "offline",
    title: "The server does not answer.",
    detail: "It may have ended, or is starting. See whether “cactus serve” still runs.",
    wait: null,
  });
}

/** An answer that ended without its last word. */
export function cut(): Failure {
  return new Failure({
    kind: "cut",
    title: "The connection ended before the answer did.",
    detail: "What had arrived is kept.",
    wait: null,
  });
}

export function fromResponse(status: number, body: unknown, retryAfter: string | null): Failure {
  const error = serverError(body);
  const said = error?.message ?? "";
  const seconds = Number(retryAfter);
  const wait = retryAfter !== null && Number.isFinite(seconds) ? Math.max(1, seconds) : null;
  if (status === 401 || status === 403) {
    const title = status === 401 ? "The server asks for a key." : "The server refused the request.";
    return new Failure({ kind: status === 401 ? "key" : "refused", title, detail: said, wait: null });
  }
  if (status === 429 || status === 503) {
    const title = "The server is busy with others.";
    return new Failure({ kind: "busy", title, detail: said, wait: wait ?? 5 });
  }
  if (status === 413) {
    const title = "The request is larger than the server allows.";
    return new Failure({ kind: "refused", title, detail: said, wait: null });
  }
  if (status >= 500) {
    const title = "Something broke in the server.";
    return new Failure({ kind: "broken", title, detail: said || `It said ${status}.`, wait: null });
  }
  const where = error?.param && !said.includes(error.param) ? ` (It is about ${error.param}.)` : "";
  const title = "The server cannot do this.";
  return new Failure({ kind: "refused", title, detail: (said || `It said ${status}.`) + where, wait: null });
}

/** An error that came in the middle of a stream. */
export function fromStream(error: ServerError): Failure {
  return new Failure({
    kind: "broken",
    title: "The answer broke off.",
    detail: error.message,
    wait: null,
  });
}

export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  // fetch and streams throw a TypeError when the connection fails, whatever the reason.
  if (error instanceof TypeError) return offline();
  const detail = error instanceof Error ? error.message : String(error);
  return new Failure({ kind: "broken", title: "Something went wrong in this page.", detail, wait: null });
}

function serverError(body: unknown): ServerError | null {
  if (typeof body !== "object" || body === null || !("error" in body)) return null;
  const { error } = body as { error: unknown };
  if (typeof error === "string") return { message: error };
  if (typeof error !== "object" || error === null) return null;
  const { message } = error as { message?: unknown };
  return typeof message === "string" ? (error as ServerError) : null;
}
