// Cluster events and notices of a job, newest first.

import { announce, byId, create, icon, setText, showList } from "./dom.js";
import { count, millis, moment } from "./format.js";
import { jobAddress } from "./jobs.js";

const KINDS = {
  worker_joined: { icon: "joined", tone: "good", words: "worker joined" },
  worker_lost: { icon: "failed", tone: "bad", words: "worker lost" },
  worker_left: { icon: "note", tone: "", words: "worker left" },
  worker_refused: { icon: "refused", tone: "warn", words: "worker refused" },
  job: { icon: "note", tone: "", words: "job" },
  coordinator: { icon: "note", tone: "warn", words: "coordinator" },
};

// Tones of notices by their kind, where that says more than the state.
const NOTICES = { checkpoint_failed: "bad", storage: "warn" };
const STATES = { succeeded: "good", failed: "bad", paused: "warn" };

let heard = null; // sequence number of the newest announced event

/** Shows the events of an overview, and announces the workers that were lost since the last one. */
export function showEvents(events, jobs, now) {
  byId("events-empty").hidden = events.length > 0;
  byId("events-scroll").hidden = events.length === 0;
  const known = new Set(jobs.map((job) => job.id));
  const make = (event) => build(event, now, known);
  showList(byId("events"), events.toReversed(), (event) => event.sequence, make, () => {});
  const fresh = events.filter((event) => heard !== null && event.sequence > heard && event.kind === "worker_lost");
  heard = events.at(-1)?.sequence ?? heard ?? 0;
  if (fresh.length > 0) announce(fresh.map((event) => event.text).join(". "));
}

function build(event, now, known) {
  const kind = KINDS[event.kind] ?? KINDS.coordinator;
  const { text: words, job_id: job } = event;
  const text = known.has(job) ? create("a", { href: jobAddress(job), text: words }) : create("span", { text: words });
  return line(event.at, now, kind.icon, kind.tone, text, kind.words);
}

function line(at, now, name, tone, content, kind) {
  const time = create("time", { datetime: at, text: moment(millis(at), now) });
  const spoken = create("span", { class: "sr-only", text: `${kind}: ` });
  const words = create("span", { class: "event-text" }, spoken, content);
  return create("li", { "data-tone": tone }, time, icon(name), words);
}

/** The notices to keep: of those that are routine only the newest, of the others the newest 200. */
export function newestNotices(notices) {
  const routine = notices.findLast((notice) => notice.routine);
  return notices.filter((notice) => !notice.routine || notice === routine).slice(-200);
}

/** Shows the notices of a job. */
export function showNotices(notices, now) {
  byId("notices-empty").hidden = notices.length > 0;
  byId("notices-scroll").hidden = notices.length === 0;
  showList(byId("notices"), notices.toReversed(), (notice) => notice.revision, (notice) => {
    const words = notice.message === "" ? notice.state : notice.message;
    const content = create("span", { text: words });
    const item = line(notice.at, now, notice.state, NOTICES[notice.kind] ?? STATES[notice.state] ?? "", content, notice.state);
    const where = ` · ${notice.state}, outer step ${count(notice.outer_step)}`;
    item.lastChild.append(create("span", { class: "event-kind", text: where }));
    return item;
  }, () => {});
}

/** Forgets which events were announced, because another coordinator numbers its events anew. */
export function forgetEvents() {
  heard = null;
  setText(byId("announcer"), "");
}
