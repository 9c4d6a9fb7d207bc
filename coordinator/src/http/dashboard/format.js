// Text for numbers, times and states. An unknown value is a dash.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** Whether a value is a finite number. */
export function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** 12,345 */
export function count(value) {
  return known(value) ? whole.format(value) : NONE;
}

/** Four significant digits, as plain as they can be: 0.3121, 12.35, 4.1e-6. */
export function number(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2).replace("e+", "e");
  if (size >= 1000) return whole.format(value);
  return String(Number(value.toPrecision(4)));
}

/** Like `number`, with a fixed number of decimals, so that a live value does not change its width. */
export function steady(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) return number(value);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

/** 98.1 % */
export function percent(share, digits = 1) {
  return known(share) ? `${(share * 100).toFixed(digits)} %` : NONE;
}

/** A completed share, rounded down so that only a complete one shows 100 %. */
export function percentDone(share) {
  return known(share) ? `${Math.floor(share * 100 + 1e-9)} %` : NONE;
}

/** A measured duration: 850 µs, 12.3 ms, 4.20 s. */
export function span(seconds) {
  if (!known(seconds)) return NONE;
  const size = Math.abs(seconds);
  if (size === 0) return "0 ms";
  if (size < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (size < 1) return `${(seconds * 1e3).toFixed(size < 0.1 ? 1 : 0)} ms`;
  if (size < 60) return `${seconds.toFixed(size < 10 ? 2 : 1)} s`;
  return rough(seconds);
}

/** A rough duration, for estimates: 40 s, 5 min, 1 h 20 min, 3 d 4 h. */
export function rough(seconds) {
  if (!known(seconds)) return NONE;
  const all = Math.max(0, Math.round(seconds));
  if (all < 60) return `${all} s`;
  const minutes = Math.round(all / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Time since the last heartbeat: 0.3 s ago. */
export function ago(seconds) {
  if (!known(seconds)) return NONE;
  return seconds < 10 ? `${Math.max(0, seconds).toFixed(1)} s ago` : `${rough(seconds)} ago`;
}

/** Milliseconds since 1970 of a time as the coordinator writes it, in RFC 3339; NaN if there is none. */
export function millis(at) {
  return at === undefined ? NaN : Date.parse(at);
}

/** A time: 14:03:22 if it is today, otherwise with its day. */
export function moment(ms, now = Date.now()) {
  if (!known(ms)) return NONE;
  return now - ms < 20 * 3600e3 ? clock.format(ms) : day.format(ms);
}

/** The shards from `first` up to but excluding `end`: shard 3, shards 0–3. */
export function shards(first, end) {
  return end - first === 1 ? `shard ${first}` : `shards ${first}–${end - 1}`;
}

const METHODS = {
  sgd: "SGD", sam: "SAM", lookahead: "Lookahead", lookahead_sam: "Lookahead-SAM", multistep_sam: "Multistep-SAM", rwp: "RWP",
  lookbehind: "Lookbehind-SAM",
};

/** The display name of an optimization method. */
export function method(name) {
  return METHODS[name] ?? name;
}

/** Whether a job in this state is over. */
export function isOver(state) {
  return state === "succeeded" || state === "failed" || state === "cancelled";
}

/** Share of a job that is done; null until the number of its steps is known. */
export function shareDone(job) {
  if (job.state === "succeeded") return 1;
  return job.total_outer_steps > 0 ? job.outer_step / job.total_outer_steps : null;
}
