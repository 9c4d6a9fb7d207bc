// One way to the coordinator: every request carries the token, and every failure becomes words.

const KEY = "lookbehind.token";
let memory = null; // where the browser keeps no storage for this page

/** The token of who is signed in, or null. */
export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? memory;
  } catch {
    return memory;
  }
}

/** Keeps a token for this tab; null forgets it. */
export function setToken(value) {
  memory = value;
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // The tab goes on with what it remembers.
  }
}

/** A refusal: `status` is HTTP's, 0 where no answer came; the message is for people. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Sends a request and returns the response if the coordinator agreed.
 * @throws {ApiError} in words, otherwise
 */
export async function send(path, { method = "GET", body, signal, as = token() } = {}) {
  const headers = {};
  if (as !== null) headers.authorization = `Bearer ${as}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    const content = body === undefined ? undefined : JSON.stringify(body);
    response = await fetch(path, { method, headers, body: content, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (signal?.aborted) throw error;
    const header = as !== null && !/^[\x21-\x7e]+$/.test(as);
    throw header
      ? new ApiError(401, "that is not a token: a token is one word without spaces")
      : new ApiError(0, "the coordinator cannot be reached");
  }
  if (response.ok) return response;
  throw new ApiError(response.status, await reason(response));
}

async function reason(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error !== "") return error;
  } catch {
    // Something between this page and the coordinator answered.
  }
  return `the coordinator answered with status ${response.status}`;
}

/** Who a token belongs to: { name, role }. */
export async function me(as) {
  return (await send("/api/me", { as })).json();
}

/** Asks for cancel, pause or resume; returns the job as it is then. */
export async function steer(id, action) {
  const response = await send(`/api/jobs/${encodeURIComponent(id)}/${action}`, { method: "POST", body: {} });
  return (await response.json()).job;
}
