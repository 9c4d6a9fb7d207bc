// The outer steps of a job that this page keeps: at most LIMIT, always with the first and the newest.

import { known } from "./format.js";

const LIMIT = 4000;
const RECENT = 1000;

/** The kept steps in their order. */
export class Series {
  constructor() {
    this.steps = [];
  }

  /** Replaces all steps: at the beginning of a stream, and after the job's journal was truncated. */
  replace(steps) {
    this.steps = [];
    this.append(steps);
  }

  /** Adds newer steps. */
  append(steps) {
    for (const step of steps) {
      if (this.steps.length === 0 || step.outer_step > this.newest.outer_step) this.steps.push(step);
    }
    if (this.steps.length > LIMIT) this.thin();
  }

  /** The newest step, or undefined. */
  get newest() {
    return this.steps[this.steps.length - 1];
  }

  /** The newest step with the result of an evaluation, or undefined. */
  get newestTest() {
    return this.testBefore(Infinity);
  }

  /** The last step up to `outerStep` that has one, or undefined. */
  testBefore(outerStep) {
    return this.steps.findLast((step) => hasTest(step) && step.outer_step <= outerStep);
  }

  /** The kept steps among the newest `count` outer steps; all of them for Infinity. */
  range(count) {
    if (!Number.isFinite(count) || this.steps.length === 0) return this.steps;
    const from = this.newest.outer_step - count;
    return this.steps.slice(this.steps.findIndex((step) => step.outer_step > from));
  }

  /** Index of the step that is nearest to an outer step. */
  static nearest(steps, outerStep) {
    let low = 0;
    let high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle].outer_step < outerStep) low = middle + 1;
      else high = middle;
    }
    const closerBefore = low > 0 && outerStep - steps[low - 1].outer_step < steps[low].outer_step - outerStep;
    return closerBefore ? low - 1 : low;
  }

  /** Drops every second one of the older steps. Steps with a test result are kept if dropping the others suffices. */
  thin() {
    const recent = this.steps.length - RECENT;
    this.steps = this.steps.filter((step, i) => i >= recent || i % 2 === 0 || hasTest(step));
    const tail = this.steps.length - RECENT;
    if (this.steps.length > LIMIT) this.steps = this.steps.filter((_, i) => i >= tail || i % 2 === 0);
  }
}

function hasTest(step) {
  return Boolean(step.test ?? step.validation);
}

/** Increase of the loss along the path of ascent: what the perturbed weights add to it; null if it is not known. */
export function sharpness(step) {
  return known(step?.loss) && known(step.last_loss) ? step.last_loss - step.loss : null;
}

/** Norm of the step's first gradient; where shards climb by themselves, the mean of the norms of theirs. */
export function gradientNorm(step) {
  return step.gradient_norm ?? step.mean_shard_gradient_norm ?? null;
}

export const PARTS = ["compute", "data", "communication", "optimizer", "waiting"];

/** Share of each part in the total time of the steps, or null if nothing is known. */
export function timeShares(steps) {
  const sums = PARTS.map((part) => steps.reduce((sum, step) => sum + (step.time?.[part] ?? 0), 0));
  const total = sums.reduce((sum, value) => sum + value, 0);
  return total > 0 ? sums.map((sum) => sum / total) : null;
}
