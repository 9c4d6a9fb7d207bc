// Buttons to cancel, pause, resume and retry a job, shown only if the coordinator allows the action.

import { steer } from "./api.js";
import { announce, byId, setText } from "./dom.js";
import { count } from "./format.js";

const DONE = { cancel: "is cancelled", pause: "pauses after its current outer step", resume: "goes on", retry: "is queued again" };

export class Actions {
  /** `onJob` receives the job that the coordinator returns after an action. */
  constructor(onJob) {
    this.onJob = onJob;
    this.job = null;
    this.asking = new Set(); // actions without an answer yet
    this.group = byId("job-actions");
    this.dialog = byId("cancel-dialog");
    this.group.addEventListener("click", ({ target }) => {
      const action = target.dataset.action;
      if (action === "cancel") this.ask();
      else if (action !== undefined) this.send(action, this.job);
    });
    byId("cancel-keep").addEventListener("click", () => this.dialog.close());
    byId("cancel-confirm").addEventListener("click", () => {
      this.dialog.close();
      this.send("cancel", this.asked);
    });
  }

  /** Shows the allowed actions of a job; null if no job is shown. */
  show(job) {
    if (job?.id !== this.job?.id) this.problem("");
    this.job = job;
    for (const button of this.group.children) {
      const allowed = job !== null && job.allowed.includes(button.dataset.action);
      if (!allowed && document.activeElement === button) byId("job-name").focus();
      button.hidden = !allowed;
    }
    if (this.dialog.open && !(job?.id === this.asked.id && job.allowed.includes("cancel"))) this.dialog.close();
  }

  ask() {
    this.asked = this.job;
    const { name, outer_step: step, total_outer_steps: total } = this.job;
    setText(byId("cancel-title"), `Cancel “${name}”?`);
    const where = total > 0 ? `outer step ${count(step)} of ${count(total)}` : `outer step ${count(step)}`;
    setText(byId("cancel-text"), `It ends at ${where}. A retry goes on from its newest checkpoint. To stop it for a while, pause it.`);
    this.dialog.showModal();
    byId("cancel-keep").focus();
  }

  async send(action, job) {
    const wish = `${action} ${job.id}`;
    if (this.asking.has(wish)) return;
    this.asking.add(wish);
    this.problem("");
    try {
      this.onJob(await steer(job.id, action));
      announce(`${job.name} ${DONE[action]}`);
    } catch (error) {
      this.problem(`${action} was refused: ${error.message}`);
    } finally {
      this.asking.delete(wish);
    }
  }

  problem(text) {
    const element = byId("job-problem");
    element.hidden = text === "";
    setText(element, text);
  }
}
