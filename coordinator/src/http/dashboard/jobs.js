// The list of jobs: links with one stop for the Tab key and arrow keys to move between them.

import { byId, create, icon, setAttribute, setIcon, setText, showList } from "./dom.js";
import { isOver, known, millis, moment, percent, percentDone, rough, shareDone } from "./format.js";

/** The address of a job within this page. */
export function jobAddress(id) {
  return `#/jobs/${encodeURIComponent(id)}`;
}

/** The job that an address names, or null. */
export function jobOf(hash) {
  const match = /^#\/jobs\/([^/]+)$/.exec(hash);
  try {
    return match === null ? null : decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

export class JobList {
  constructor(pace) {
    this.pace = pace;
    this.list = byId("job-list");
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("focusin", (event) => this.stopAt(event.target));
  }

  /** Shows the jobs of an overview; `chosen` is the id of the displayed one. */
  show(jobs, chosen, now) {
    byId("jobs-loading").hidden = true;
    byId("jobs-empty").hidden = jobs.length > 0;
    setText(byId("jobs-count"), jobs.length > 0 ? String(jobs.length) : "");
    showList(this.list, jobs, (job) => job.id, build, (item, job) => this.update(item.firstChild, job, chosen, now));
    const links = this.links();
    if (links.some((link) => link.tabIndex === 0)) return;
    this.stopAt(links.find((link) => link.ariaCurrent === "true") ?? links[0]);
  }

  update(link, job, chosen, now) {
    const [svg, name, share, text, bar] = link.children;
    link.dataset.state = job.state;
    setAttribute(link, "href", jobAddress(job.id));
    setAttribute(link, "aria-current", job.id === chosen ? "true" : null);
    setIcon(svg, job.state);
    setText(name, job.name);
    const done = shareDone(job);
    bar.hidden = isOver(job.state) || done === null;
    bar.value = done ?? 0;
    setText(share, isOver(job.state) ? "" : done === null ? "" : percentDone(done));
    setText(text, [job.state, this.remark(job, now), job.owner].filter((part) => part !== "").join(" · "));
  }

  remark(job, now) {
    if (job.state === "running") {
      const left = this.pace.secondsLeft(job);
      return left === null ? "" : `${rough(left)} left`;
    }
    if (isOver(job.state)) {
      const accuracy = job.state === "succeeded" ? job.results?.test?.accuracy : null;
      return known(accuracy) ? `${percent(accuracy)} test` : moment(millis(job.finished_at), now);
    }
    if (job.waiting_for !== "") return `waits for ${job.waiting_for}`;
    return "";
  }

  links() {
    return [...this.list.querySelectorAll("a")];
  }

  /** Makes one link the only stop of the Tab key. */
  stopAt(link) {
    for (const other of this.links()) other.tabIndex = other === link ? 0 : -1;
  }

  key(event) {
    const links = this.links();
    const here = links.indexOf(document.activeElement);
    const targets = { ArrowUp: here - 1, ArrowDown: here + 1, Home: 0, End: links.length - 1 };
    const target = links[targets[event.key]];
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    target.focus();
  }
}

function build() {
  const link = create(
    "a", { class: "job-link", tabindex: "-1" }, icon("note"), create("span", { class: "job-link-name" }),
    create("span", { class: "job-link-share" }), create("span", { class: "job-link-text" }),
    create("progress", { max: "1", "aria-hidden": "true" }),
  );
  return create("li", {}, link);
}
