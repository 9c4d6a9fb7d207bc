// Speed and remaining time of a job, from the progress that this page has observed.

const WINDOW = 60_000; // milliseconds of progress that count
const ENOUGH = 3_000; // milliseconds of observation that are more reliable than the newest step alone

/** Remembers the progress of running jobs. */
export class Pace {
  constructor() {
    this.seen = new Map();
  }

  /** Records the progress of an overview's jobs at the coordinator's time `now`. */
  observe(jobs, now) {
    for (const id of this.seen.keys()) {
      if (!jobs.some((job) => job.id === id && job.state === "running")) this.seen.delete(id);
    }
    for (const job of jobs) {
      if (job.state !== "running") continue;
      let points = this.seen.get(job.id) ?? [];
      const last = points[points.length - 1];
      if (last !== undefined && (job.outer_step < last.step || now < last.at)) points = [];
      points.push({ at: now, step: job.outer_step });
      while (points.length > 2 && points[1].at <= now - WINDOW) points.shift();
      this.seen.set(job.id, points);
    }
  }

  /** Outer steps per second, or null if unknown. */
  stepsPerSecond(job) {
    const points = this.seen.get(job.id) ?? [];
    const first = points[0];
    const last = points[points.length - 1];
    if (first !== undefined && last.at - first.at >= ENOUGH && last.step > first.step) {
      return (last.step - first.step) / ((last.at - first.at) / 1000);
    }
    const seconds = job.last?.time?.total;
    return job.state === "running" && seconds > 0 ? 1 / seconds : null;
  }

  /** Seconds until a running job is done, or null if unknown. */
  secondsLeft(job) {
    const speed = this.stepsPerSecond(job);
    if (job.state !== "running" || speed === null || job.total_outer_steps === 0) return null;
    return Math.max(0, job.total_outer_steps - job.outer_step) / speed;
  }
}
