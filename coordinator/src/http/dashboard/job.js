// The head of the displayed job: its properties, its progress, and the estimated time left.

import { byId, create, icon, setAttribute, setIcon, setText, showList } from "./dom.js";
import {
  count, isOver, method, millis, moment, number, percent, percentDone, rough, shareDone, span, steady,
} from "./format.js";
import { sharpness } from "./series.js";

export class JobHead {
  constructor(pace) {
    this.pace = pace;
    byId("job-state").append(icon("note"), create("span"));
  }

  /** Shows a job, with the newest steps in `series`. */
  show(job, series, now) {
    const newest = series.newest ?? job.last;
    const root = byId("job-content");
    root.dataset.state = job.state;
    root.dataset.job = job.id;
    setText(byId("job-name"), job.name);
    const [svg, state] = byId("job-state").children;
    setIcon(svg, job.state);
    setText(state, job.state);
    showList(byId("job-meta"), meta(job), (text) => text, () => create("span"), setText);
    const message = byId("job-message");
    const words = reason(job);
    message.hidden = words === "";
    setText(message, words);
    this.showProgress(job, newest, now);
    this.showFacts(job, newest, series.newestTest ?? (job.last?.test ? job.last : undefined));
    const digest = byId("job-digest");
    digest.hidden = job.digest === "";
    setText(digest.querySelector("code"), job.digest);
  }

  showProgress(job, newest, now) {
    const share = shareDone(job);
    const bar = byId("job-progress");
    setAttribute(bar, "value", share ?? 0);
    const total = job.total_outer_steps > 0 ? ` of ${count(job.total_outer_steps)}` : "";
    const epoch = newest ? `, epoch ${count(newest.epoch + 1)}` : "";
    const again = job.repeats_until > 0 ? `, done before up to ${count(job.repeats_until)}` : "";
    const percentage = share === null ? "" : `${percentDone(share)} · `;
    setText(byId("job-progress-text"), `${percentage}outer step ${count(job.outer_step)}${total}${epoch}${again}`);
    setText(byId("job-time"), this.time(job, now));
  }

  time(job, now) {
    if (job.state === "running") {
      const left = this.pace.secondsLeft(job);
      return left === null ? "time left not known yet" : `about ${rough(left)} left`;
    }
    if (job.state === "queued") return `waiting since ${moment(millis(job.created_at), now)}`;
    if (job.state === "preparing") return "workers load model and data";
    if (job.state === "paused") return "waits until it is resumed";
    if (job.finished_at === undefined) return "";
    const [begin, end] = [millis(job.created_at), millis(job.finished_at)];
    return `took ${rough((end - begin) / 1000)}, over at ${moment(end, now)}`;
  }

  showFacts(job, newest, test) {
    const speed = this.pace.stepsPerSecond(job);
    const tested = test === undefined ? "no test yet" : `after step ${count(test.outer_step)}`;
    const facts = [
      ["Loss", steady(newest?.loss), "slow weights"],
      ["Perturbed loss", steady(newest?.last_loss), `sharpness ${steady(sharpness(newest))}`],
      ["Accuracy", percent(newest?.accuracy), "training batch"],
      ["Test accuracy", percent(test?.test.accuracy), tested],
      ["Outer step", span(newest?.time?.total), newest ? `${count(newest.gradients)} gradients` : ""],
    ];
    if (speed !== null && !isOver(job.state)) {
      facts.push(["Speed", `${count(speed * (newest?.samples ?? job.batch_size))}`, "samples a second"]);
    }
    if (!isOver(job.state)) {
      facts.push(["Workers", count(job.workers), job.workers === 0 ? "" : "serve this job"]);
    }
    showList(byId("job-facts"), facts, ([name]) => name,
      ([name]) => create("div", {}, create("dt", { text: name }), create("dd", {}, create("span"), create("small"))),
      (element, [, value, note]) => {
        setText(element.querySelector("span"), value);
        setText(element.querySelector("small"), note);
      });
  }
}

/** What the job waits for, else the reason of its state; empty if that says no more than the state. */
function reason({ waiting_for: wait, message, state }) {
  if (wait !== "") return `Waits for ${wait}.`;
  return message === state ? "" : message;
}

/** The job's properties as a list of texts. */
function meta(job) {
  const details = [job.k === undefined ? null : `k ${job.k}`, job.rho === undefined ? null : `ρ ${number(job.rho)}`];
  return [
    [method(job.method), ...details].filter((part) => part !== null).join(", "),
    `${job.model} on ${job.data}`,
    `batch ${count(job.batch_size)} in ${count(job.shards)} shards`,
    ...(job.owner === "" ? [] : [`submitted by ${job.owner}`]),
    ...Object.entries(job.labels ?? {}).map(([key, value]) => `${key}=${value}`),
    `job ${job.id}`,
  ];
}
