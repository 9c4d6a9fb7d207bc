// The workers: their activity, speed and last heartbeat. A lost worker stays visible for a while.

import { byId, create, setText, showList } from "./dom.js";
import { ago, count, millis, span } from "./format.js";

const REMEMBER = 120_000; // milliseconds for which a lost worker stays visible

/** Shows the workers of an overview; `now` is the coordinator's time in milliseconds. */
export function showWorkers({ workers, jobs, events }, now) {
  const gone = lost(workers, events, now);
  byId("workers-empty").hidden = workers.length + gone.length > 0;
  byId("workers-scroll").hidden = workers.length + gone.length === 0;
  setText(byId("workers-count"), workers.length > 0 ? String(workers.length) : "");
  const fastest = Math.min(...workers.map((worker) => worker.seconds_per_shard ?? Infinity));
  const names = new Map(jobs.map((job) => [job.id, job.name]));
  const items = [
    ...workers.map((worker) => ({ key: worker.session, worker })),
    ...gone.map((event) => ({ key: `lost ${event.sequence}`, event })),
  ];
  const rows = items.flatMap((item) => [item, { ...item, key: `${item.key} remark`, remark: true }]);
  showList(byId("workers"), rows, (row) => row.key, build, (element, { worker, event, remark }) => {
    if (remark) showRemark(element.firstChild, worker, names);
    else if (worker === undefined) showLost(element, event, now);
    else showWorker(element, worker, fastest);
  });
}

/** Creates the two rows of a worker: its values, and below them its activity. */
function build({ event, remark }) {
  const lost = event !== undefined;
  if (remark) return create("tr", { class: "remark", "data-lost": lost }, create("td", { colspan: "4" }));
  const pace = create("span", { class: "pace", "aria-hidden": "true" }, create("i"));
  return create("tr", { class: "worker", "data-lost": lost },
    create("th", { scope: "row" }), create("td"), create("td", {}, create("span"), pace), create("td"));
}

function showWorker(row, worker, fastest) {
  const [name, done, speed, sign] = row.children;
  const [seconds, pace] = speed.children;
  setText(name, worker.name);
  setText(done, count(worker.shards_done));
  setText(seconds, span(worker.seconds_per_shard));
  pace.hidden = worker.seconds_per_shard === undefined;
  pace.firstChild.style.width = `${Math.round((100 * fastest) / (worker.seconds_per_shard || fastest))}%`;
  setText(sign, ago(worker.silent_seconds));
}

/** Shows a worker's activity and device; without a worker, that it was lost. */
function showRemark(cell, worker, names) {
  if (worker === undefined) return setText(cell, "✕ lost; its shards went to the others");
  const job = names.get(worker.job_id) ?? worker.job_id;
  const parts = [worker.draining ? "draining" : "", job === "" ? "free" : `serves ${job}`, worker.device];
  setText(cell, parts.filter((part) => part !== "").join(" · "));
}

/** Events of recently lost workers of whose name no worker has registered again. */
function lost(workers, events, now) {
  const here = new Set(workers.map((worker) => worker.name));
  const newest = new Map();
  for (const event of events) {
    const fresh = event.kind === "worker_lost" && now - millis(event.at) < REMEMBER;
    if (fresh && !here.has(event.worker)) newest.set(event.worker, event);
  }
  return [...newest.values()];
}

function showLost(row, event, now) {
  const [name, done, speed, sign] = row.children;
  setText(name, event.worker);
  setText(done, "–");
  setText(speed.firstChild, "–");
  speed.lastChild.hidden = true;
  setText(sign, ago((now - millis(event.at)) / 1000));
}
