// Connects the parts of the page: the overview of the cluster and the job that the address names.

import { Account } from "./account.js";
import { Actions } from "./actions.js";
import { token } from "./api.js";
import { Connection } from "./connection.js";
import { Curves } from "./curves.js";
import { showDegraded } from "./degraded.js";
import { byId, setText } from "./dom.js";
import { Pace } from "./estimate.js";
import { forgetEvents, newestNotices, showEvents, showNotices } from "./events.js";
import { Finder } from "./find.js";
import { isOver, millis, percentDone, rough, shareDone } from "./format.js";
import { JobHead } from "./job.js";
import { JobList, jobOf } from "./jobs.js";
import { Series } from "./series.js";
import { LiveStream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { Welcome } from "./welcome.js";
import { showWorkers } from "./workers.js";

const SILENCE = 15_000; // the overview arrives at least every 5 s
const SLEEP = 60_000; // a hidden page closes its streams after this time

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
const finder = new Finder(showJobs);

let overview = null;
let overviewStream = null;
let jobStream = null;
let chosen = null; // id of the displayed job
let job = null;
let notices = [];

/** The coordinator's clock, to which the times of events refer. */
function now() {
  return overview === null ? Date.now() : millis(overview.now);
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
        setText(byId("job-stream"), ""); // the banner shows the problem for the whole page
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
  pace.observe(data.jobs, now());
  const { cluster, incarnation, version, uptime_seconds: uptime } = data;
  const facts = [`cluster ${cluster}`, `incarnation ${incarnation}`, `version ${version}`, `up ${rough(uptime)}`];
  setText(byId("cluster"), facts.join(" · "));
  account.show(data.you ?? null, data.access);
  choose();
  const seen = data.jobs.find((other) => other.id === chosen);
  if (seen !== undefined) update(seen);
  showJobs();
  showWorkers(data, now());
  showEvents(data.events, data.jobs, now());
  showDegraded(data.degraded);
  timeline.setWorkers(data.workers.map((worker) => worker.name));
  showJob();
}

function showJobs() {
  if (overview !== null) list.show(finder.list(overview), chosen, now());
}

function refused(error) {
  if (error.status !== 401) return;
  if (token() !== null) {
    account.rejected();
    openOverview();
    return;
  }
  if (overview !== null) return location.reload(); // removes content that this viewer may no longer see
  byId("jobs-loading").hidden = true;
  byId("page").dataset.private = "";
  showJob("private");
}

// The chosen job

/**
 * Chooses the job that the address names, else the one that was chosen, else the first that runs, else the first that
 * is not over, else the newest.
 */
function choose() {
  const named = jobOf(location.hash);
  const jobs = overview?.jobs ?? [];
  const shown = jobs.find((other) => other.id === chosen);
  const running = jobs.find((other) => other.state === "running");
  const fallback = shown ?? running ?? jobs.find((other) => !isOver(other.state)) ?? jobs[0];
  const id = named ?? fallback?.id ?? null;
  if (id === chosen) return;
  chosen = id;
  job = jobs.find((other) => other.id === id) ?? null;
  openJob(id);
}

/** Opens a job's stream; with `keep`, the present content stays until the history arrives. */
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
    notices = newestNotices(notices.concat(data.filter((notice) => notice.revision > last)));
  }
  curves.changed();
  timeline.showShares(series.steps);
  showJob();
}

function takeJob(data) {
  if (data.id !== chosen) return;
  update(data);
  showJob();
}

/** Takes a state of the chosen job that is not older than the known one. A job that goes on after its end is followed again. */
function update(data) {
  if (job !== null && data.revision < job.revision) return;
  const goesOn = job !== null && isOver(job.state) && !isOver(data.state);
  job = data;
  if (goesOn) openJob(chosen, true);
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

// Opening and closing of streams

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
  showJobs();
  showJob();
  const sideBySide = matchMedia("(min-width: 62rem)").matches; // the job is next to the list, not below it
  if (jobOf(location.hash) !== null) byId("job-name").focus({ preventScroll: sideBySide });
});

openOverview();
