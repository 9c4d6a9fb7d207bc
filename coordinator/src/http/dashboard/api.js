// All requests to the coordinator go through this module: it adds the token and turns failures into messages.

const KEY = "lookbehind.token";
let memory = null; // used if the browser denies storage to this page

/** The token of the signed-in user, or null. */
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
    // No storage: the tab uses the copy in memory.
  }
}

/** A failed request: `status` is the HTTP status, or 0 without an answer; the message is for the user. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Sends a request and returns the response if it succeeded.
 * @throws {ApiError} otherwise
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
    // The body is not from the coordinator, but for example from a proxy.
  }
  return `the coordinator answered with status ${response.status}`;
}

/** The holder of a token: { name, role }. */
export async function me(as) {
  return (await send("/api/me", { as })).json();
}

/** A page of the jobs that a query describes: { jobs, next_page_token }. */
export async function listJobs(query) {
  return (await send(`/api/jobs?${query}`)).json();
}

/** Requests cancel, pause or resume; returns the job after the action. */
export async function steer(id, action) {
  const response = await send(`/api/jobs/${encodeURIComponent(id)}/${action}`, { method: "POST", body: {} });
  return (await response.json()).job;
}
