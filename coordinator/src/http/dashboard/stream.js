// Server-sent events over fetch, because EventSource cannot send a token. A stream that ends or falls silent is
// reopened after increasing waits.

import { send } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;

/** Milliseconds to wait after `failures` failed attempts; `chance` from 0 to 1 spreads the attempts of many pages. */
export function backoff(failures, chance = Math.random()) {
  const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(failures, 10));
  return wait * (0.75 + 0.5 * chance);
}

/** Parses a body of server-sent events into { name, data }. */
export async function* readEvents(body, onBytes) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let name = "";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line === "") {
          if (data.length > 0) yield { name: name || "message", data: data.join("\n") };
          name = "";
          data = [];
        } else if (line.startsWith("event:")) name = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * A stream that reconnects when it is lost.
 *
 * Its phases: `connecting`; `open` with the first event; `waiting` with { reason, until } before the next attempt;
 * `refused` with { error } if another attempt cannot succeed; `ended` if `isOver` says that no more events follow.
 */
export class LiveStream {
  constructor(path, { onEvent, onPhase = () => {}, isOver = () => false, silence = 0 }) {
    Object.assign(this, { path, onEvent, onPhase, isOver, silence });
    this.stopped = false;
    this.failures = 0;
    this.wake = () => {};
    this.run();
  }

  /** Closes the stream; it does not reconnect. */
  stop() {
    this.stopped = true;
    this.abort?.abort();
    this.wake();
  }

  /** Starts the next attempt at once. */
  retryNow() {
    this.wake();
  }

  async run() {
    while (!this.stopped) {
      this.onPhase({ name: "connecting", failures: this.failures });
      const reason = await this.attempt();
      if (reason === null || this.stopped) return;
      const wait = backoff(this.failures++);
      this.onPhase({ name: "waiting", reason, until: Date.now() + wait });
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.wake = () => (clearTimeout(timer), resolve());
      });
    }
  }

  /** Passes an event on. An exception in the handler must not be mistaken for a lost connection. */
  hand(name, data) {
    try {
      this.onEvent(name, data);
    } catch (error) {
      reportError(error);
    }
  }

  /** Runs one connection; returns the reason to reconnect, or null to stop. */
  async attempt() {
    this.abort = new AbortController();
    let silent = false;
    let guard;
    const alive = () => {
      clearTimeout(guard);
      if (this.silence > 0) guard = setTimeout(() => ((silent = true), this.abort.abort()), this.silence);
    };
    try {
      alive();
      const response = await send(this.path, { signal: this.abort.signal });
      let first = true;
      for await (const { name, data } of readEvents(response.body, alive)) {
        if (this.stopped) return null;
        if (first) {
          first = false;
          this.failures = 0;
          this.onPhase({ name: "open" });
        }
        this.hand(name, JSON.parse(data));
      }
    } catch (error) {
      if (this.stopped) return null;
      if (silent) return `no word for ${this.silence / 1000} s`;
      if (error.status >= 400 && error.status < 500 && error.status !== 429 && error.status !== 408) {
        this.onPhase({ name: "refused", error });
        return null;
      }
      return error.status === undefined ? "the connection broke" : error.message;
    } finally {
      clearTimeout(guard);
    }
    if (this.isOver()) {
      this.onPhase({ name: "ended" });
      return null;
    }
    return "the coordinator closed the stream";
  }
}
