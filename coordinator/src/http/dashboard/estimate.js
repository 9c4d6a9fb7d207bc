// How fast a job goes and how long it will take, from what this page saw of its progress.

const WINDOW = 60_000; // milliseconds of progress that count
const ENOUGH = 3_000; // milliseconds after which what was seen says more than the newest step

/** Remembers the progress of running jobs. */
export class Pace {
  constructor() {
    this.seen = new Map();
  }

  /** Takes the jobs of an overview and the coordinator's time. */
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

  /** Outer steps a second, or null. */
  stepsPerSecond(job) {
    const points = this.seen.get(job.id) ?? [];
    const first = points[0];
    const last = points[points.length - 1];
    if (first !== undefined && last.at - first.at >= ENOUGH && last.step > first.step) {
      return (last.step - first.step) / ((last.at - first.at) / 1000);
    }
    const seconds = job.last?.seconds?.total;
    return job.state === "running" && seconds > 0 ? 1 / seconds : null;
  }

  /** Seconds until a running job is done, or null. */
  secondsLeft(job) {
    const speed = this.stepsPerSecond(job);
    if (job.state !== "running" || speed === null || job.total_outer_steps === 0) return null;
    return Math.max(0, job.total_outer_steps - job.outer_step) / speed;
  }
}
