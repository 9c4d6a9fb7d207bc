// Arranges the newest outer steps in lanes and bars, without drawing them: one lane per worker and one for the
// coordinator. Times are seconds since the beginning of the first step; the steps follow each other without gaps.

import { known } from "./format.js";

export const COORDINATOR = "coordinator";
const MOST_LANES = 32;

/**
 * `lanes`: [{ name, rows, lossy }] with one row per overlapping part; `bars`: the bars in the lanes, in order of time;
 * `parts`: the bars of all workers, including the `hidden` ones without a lane; `steps`: begin and end of each outer
 * step; `total`: seconds of all steps.
 */
export function layOut(steps) {
  const all = [];
  const marks = [];
  let start = 0;
  for (const step of steps) {
    const length = known(step.total) ? step.total : 0;
    for (const request of step.requests) all.push(...requestBars(step, request, start, length));
    const lossy = step.requests.some((request) => request.parts.some(gone));
    marks.push({ outerStep: step.outer_step, from: start, to: start + length, lossy });
    start += length;
  }
  all.sort((a, b) => a.from - b.from);
  const parts = all.filter((bar) => bar.kind === "part");
  const workers = [...new Set(parts.map((bar) => bar.lane))];
  workers.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const lanes = [...workers.slice(0, MOST_LANES), COORDINATOR].map((name) => ({
    name, rows: 1, lossy: parts.some((bar) => bar.lane === name && gone(bar.part)),
  }));
  const bars = all.filter((bar) => lanes.some((lane) => lane.name === bar.lane));
  for (const lane of lanes) lane.rows = stack(bars.filter((bar) => bar.lane === lane.name && bar.kind !== "waiting"));
  return { lanes, bars, parts, hidden: Math.max(0, workers.length - MOST_LANES), steps: marks, total: start };
}

/** The bars of one request. */
function requestBars(step, request, start, length) {
  const bars = [];
  const gathered = known(request.gathered) ? request.gathered : length;
  const last = new Map();
  for (const part of request.parts) {
    const delivered = known(part.delivered) ? part.delivered : gathered;
    const from = known(part.assigned) ? part.assigned : request.begun;
    bars.push({
      kind: "part", lane: part.worker, step, request, part,
      from: start + from, to: start + Math.max(from, delivered),
      segments: segments(part, start + from, start + Math.max(from, delivered)),
    });
    last.set(part.worker, Math.max(last.get(part.worker) ?? 0, gone(part) ? gathered : delivered));
  }
  for (const [worker, delivered] of last) {
    if (gathered > delivered) {
      bars.push({ kind: "waiting", lane: worker, step, request, from: start + delivered, to: start + gathered });
    }
  }
  if (known(request.advanced) && request.advanced > gathered) {
    bars.push({ kind: "optimizer", lane: COORDINATOR, step, request, from: start + gathered, to: start + request.advanced });
  }
  return bars;
}

/** Whether a part was lost or failed. */
export function gone(part) {
  return part.outcome === "lost" || part.outcome === "failed";
}

/**
 * Divides the time of a part. The worker reports the time for reading data and computing. The rest is communication;
 * half of it is drawn before (weights) and half after (gradients).
 */
function segments(part, from, to) {
  const data = known(part.data) ? part.data : 0;
  const compute = known(part.compute) ? part.compute : 0;
  if (gone(part) || to - from <= 0 || compute + data <= 0) return [];
  const shrink = Math.min(1, (to - from) / (compute + data));
  const half = (to - from - (compute + data) * shrink) / 2;
  const busy = [["data", data * shrink], ["compute", compute * shrink]];
  const lengths = [["communication", half], ...busy, ["communication", half]];
  let at = from;
  return lengths
    .map(([name, length]) => ({ name, from: at, to: (at += length) }))
    .filter((segment) => segment.to > segment.from);
}

/** Assigns overlapping bars to different rows and returns the number of rows. */
function stack(bars) {
  const ends = [];
  for (const bar of [...bars].sort((a, b) => a.from - b.from)) {
    let row = ends.findIndex((end) => end <= bar.from + 1e-9);
    if (row < 0) row = ends.length;
    ends[row] = bar.to;
    bar.row = row;
  }
  return Math.max(1, ends.length);
}
