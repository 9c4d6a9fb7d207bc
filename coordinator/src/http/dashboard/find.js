// Finds jobs that the overview does not have: by state, name, owner and label, and page by page.

import { listJobs } from "./api.js";
import { byId, setText } from "./dom.js";

const PAUSE = 300; // milliseconds without a keystroke before the coordinator is asked
const FIELDS = { state: "find-state", name: "find-name", owner: "find-owner", label: "find-label" };

/** The query of a list of jobs; fields that are empty restrict nothing. */
export function query(fields, token = "") {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(fields)) if (value !== "") parameters.append(key, value);
  if (token !== "") parameters.append("page_token", token);
  return parameters.toString();
}

/** The jobs of an earlier list in their present state, as far as a newer list has them. */
export function renewed(jobs, newer) {
  const known = new Map(newer.map((job) => [job.id, job]));
  return jobs.map((job) => known.get(job.id) ?? job);
}

export class Finder {
  /** `onFound` is called when there is something else to list. */
  constructor(onFound) {
    this.onFound = onFound;
    this.found = null; // { jobs, token } of what was looked for, or null if the overview is listed
    this.asked = 0; // number of the newest question: an older answer is not shown
    let pause;
    const changed = () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.start(), PAUSE);
    };
    for (const id of Object.values(FIELDS)) byId(id).addEventListener("input", changed);
    byId("jobs-find").addEventListener("submit", (event) => event.preventDefault());
    byId("jobs-more").addEventListener("click", () => this.more());
  }

  fields() {
    return Object.fromEntries(Object.entries(FIELDS).map(([key, id]) => [key, byId(id).value.trim()]));
  }

  /** The jobs to list, given those of the overview; says whether there are more. */
  list({ jobs, more_jobs: more }) {
    byId("jobs-more").hidden = this.found === null ? !more : this.found.token === "";
    setText(byId("jobs-empty"), this.found === null ? "No jobs yet." : "No such jobs.");
    return this.found === null ? jobs : renewed(this.found.jobs, jobs);
  }

  /** Lists what the fields describe; the overview if they are empty. */
  start() {
    if (query(this.fields()) !== "") return this.ask([], "");
    this.asked += 1;
    this.problem("");
    this.found = null;
    this.onFound();
  }

  /** Lists the next page as well. */
  more() {
    this.ask(this.found?.jobs ?? [], this.found?.token ?? "");
  }

  async ask(before, token) {
    const question = ++this.asked;
    try {
      const page = await listJobs(query(this.fields(), token));
      if (question !== this.asked) return;
      this.problem("");
      this.found = { jobs: [...before, ...page.jobs], token: page.next_page_token };
    } catch (error) {
      if (question !== this.asked) return;
      this.problem(error.message);
    }
    this.onFound();
  }

  problem(text) {
    byId("find-problem").hidden = text === "";
    setText(byId("find-problem"), text);
  }
}
