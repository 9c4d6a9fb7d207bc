// Ties the page together: the overview of the cluster, the job that the address names, and what is shown of both.

import { Account } from "./account.js";
import { Actions } from "./actions.js";
import { token } from "./api.js";
import { Connection } from "./connection.js";
import { Curves } from "./curves.js";
import { byId, setText } from "./dom.js";
import { Pace } from "./estimate.js";
import { forgetEvents, showEvents, showNotices } from "./events.js";
import { isOver, percentDone, rough, shareDone } from "./format.js";
import { JobHead } from "./job.js";
import { JobList, jobOf } from "./jobs.js";
import { Series } from "./series.js";
import { LiveStream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { Welcome } from "./welcome.js";
import { showWorkers } from "./workers.js";

const SILENCE = 15_000; // the overview comes at least every 5 s
const SLEEP = 60_000; // a page that nobody sees lets go of its streams after this time

const pace = new Pace();
const series = new Series();
const list = new JobList(pace);
const head = new JobHead(pace);
const curves = new Curves(series);
const timeline = new Timeline();
const actions = new Actions(takeJob);
const account = new Account(restart);
const connection = new Connection(tryNow);
const welcome = new Welcome(() => account.ask());

let overview = null;
let overviewStream = null;
let jobStream = null;
let chosen = null; // id of the job that is shown
let job = null;
let notices = [];

/** The coordinator's time, by which events and signs of life are dated. */
function now() {
  return overview?.now_ms ?? Date.now();
}

// The overview

function openOverview() {
  overviewStream?.stop();
  let broken = false;
  overviewStream = new LiveStream("/api/live", {
    silence: SILENCE,
    onEvent: (name, data) => name === "overview" && takeOverview(data),
    onPhase: (phase) => {
      connection.show(phase);
      if (phase.name === "waiting") {
        broken = true;
        setText(byId("job-stream"), ""); // the banner says it for the whole page
      }
      if (phase.name === "refused") refused(phase.error);
      if (phase.name === "open" && broken) {
        broken = false;
        openJob(chosen, true);
      }
    },
  });
}

function takeOverview(data) {
  connection.alive();
  delete byId("page").dataset.private;
  if (overview !== null && overview.incarnation !== data.incarnation) forgetEvents();
  overview = data;
  pace.observe(data.jobs, data.now_ms);
  const { cluster, incarnation, version, uptime_seconds: uptime } = data;
  const facts = [`cluster ${cluster}`, `incarnation ${incarnation}`, `version ${version}`, `up ${rough(uptime)}`];
  setText(byId("cluster"), facts.join(" · "));
  account.show(data.you, data.access);
  choose();
  const seen = data.jobs.find((other) => other.id === chosen);
  const stale = job !== null && isOver(job.state) && !isOver(seen?.state);
  if (seen !== undefined && !stale) job = seen;
  list.show(data.jobs, chosen, data.now_ms);
  showWorkers(data);
  showEvents(data.events, data.jobs, data.now_ms);
  timeline.setWorkers(data.workers.map((worker) => worker.name));
  showJob();
}

function refused(error) {
  if (error.status !== 401) return;
  if (token() !== null) {
    account.rejected();
    openOverview();
    return;
  }
  if (overview !== null) return location.reload(); // so that nothing stays behind of what may not be seen any more
  byId("jobs-loading").hidden = true;
  byId("page").dataset.private = "";
  showJob("private");
}

// The chosen job

/** Follows the address; without one the first job that is not over, else the newest. */
function choose() {
  const named = jobOf(location.hash);
  const jobs = overview?.jobs ?? [];
  const shown = jobs.find((other) => other.id === chosen);
  const fallback = shown ?? jobs.find((other) => !isOver(other.state)) ?? jobs[0];
  const id = named ?? fallback?.id ?? null;
  if (id === chosen) return;
  chosen = id;
  job = jobs.find((other) => other.id === id) ?? null;
  openJob(id);
}

/** Opens a job's stream; with `keep`, what is shown stays until its history comes. */
function openJob(id, keep = false) {
  jobStream?.stop();
  jobStream = null;
  welcome.problem = null;
  setText(byId("job-stream"), "");
  if (!keep) {
    series.replace([]);
    notices = [];
    curves.reset();
    timeline.clear();
  }
  if (id === null) return;
  jobStream = new LiveStream(`/api/jobs/${encodeURIComponent(id)}/live?points=1000`, {
    isOver: () => job !== null && isOver(job.state),
    onEvent: (name, data) => takeJobEvent(name, data),
    onPhase: (phase) => {
      const alone = connection.phase?.name === "open";
      if (phase.name === "waiting" && alone) {
        setText(byId("job-stream"), `The curves stand still: ${phase.reason}. Trying again.`);
      }
      if (phase.name === "open") setText(byId("job-stream"), "");
      if (phase.name !== "refused" || phase.error.status === 401) return;
      welcome.problem = phase.error.message;
      showJob();
    },
  });
}

function takeJobEvent(name, data) {
  if (name === "job") return takeJob(data);
  if (name === "timeline") return timeline.update(data);
  if (name === "history") {
    series.replace(data.steps);
    notices = data.notices;
  } else if (name === "steps") series.append(data);
  else if (name === "notices") {
    const last = notices.at(-1)?.revision ?? -1;
    notices = notices.concat(data.filter((notice) => notice.revision > last)).slice(-200);
  }
  curves.changed();
  timeline.showShares(series.steps);
  showJob();
}

function takeJob(data) {
  if (data.id !== chosen) return;
  job = data;
  showJob();
}

function showJob(reason = null) {
  const shown = welcome.show({ overview, job, chosen, reason });
  byId("job-content").hidden = shown;
  actions.show(shown ? null : job);
  if (shown) {
    document.title = "Lookbehind";
    return;
  }
  const newest = series.newest;
  if (newest !== undefined && newest.outer_step > job.outer_step) job = { ...job, outer_step: newest.outer_step };
  head.show(job, series, now());
  showNotices(notices, now());
  const share = shareDone(job);
  const standing = isOver(job.state) || share === null ? job.state : percentDone(share);
  document.title = `${standing} · ${job.name} · Lookbehind`;
}

// Beginnings, ends and pauses

function restart() {
  openOverview();
  openJob(chosen, true);
}

function tryNow() {
  if (connection.phase?.name === "refused") restart();
  else overviewStream?.retryNow();
}

let sleep = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(sleep);
  if (document.hidden) {
    sleep = setTimeout(() => {
      overviewStream?.stop();
      jobStream?.stop();
      overviewStream = null;
      connection.show({ name: "asleep" });
    }, SLEEP);
  } else if (overviewStream === null) restart();
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("job").focus();
});

window.addEventListener("hashchange", () => {
  choose();
  if (overview === null) return;
  list.show(overview.jobs, chosen, now());
  showJob();
  const beside = matchMedia("(min-width: 62rem)").matches; // the job is beside the list and not below it
  if (jobOf(location.hash) !== null) byId("job-name").focus({ preventScroll: beside });
});

openOverview();
