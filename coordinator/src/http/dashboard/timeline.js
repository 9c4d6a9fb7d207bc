// The timeline of the newest outer steps and the shares of their time. It does not move while a bar is selected.

import { watchCanvas } from "./canvas.js";
import { announce, byId, create, paced, setAttribute, setText, showList, showTable } from "./dom.js";
import { count, known, percent, shards, span } from "./format.js";
import { PARTS, timeShares } from "./series.js";
import { box, draw, geometry } from "./timeline_draw.js";
import { COORDINATOR, gone, layOut } from "./timeline_layout.js";

const KEEP_LOSS = 20_000; // milliseconds for which a step with a lost part stays visible
const SHARE_STEPS = 50;
const HINT = "Numbers in the bars are shards. Point at a bar or use the arrow keys to read it.";
const OUTCOMES = {
  used: "used", duplicate: "too late: another worker's came first", lost: "lost with its worker", failed: "failed",
};

export class Timeline {
  constructor() {
    this.canvas = byId("timeline");
    this.workers = new Set();
    const narrow = matchMedia("(max-width: 40rem)").matches;
    document.querySelector(`input[name="timeline"][value="${narrow ? 1 : 3}"]`).checked = true;
    this.refresh = paced(() => this.drawAll(), 200);
    this.buildShares();
    this.clear();
    byId("timeline-steps").addEventListener("change", () => this.arrange());
    byId("timeline-values").addEventListener("toggle", () => this.drawTable());
    watchCanvas(this.canvas, this.refresh);
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => this.choose(null));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType !== "touch" && document.activeElement !== this.canvas) this.choose(null);
    });
  }

  /** Removes the steps of the previous job. */
  clear() {
    this.steps = [];
    this.loss = null;
    this.chosen = null;
    this.arrange();
    this.showShares([]);
  }

  /** Takes the newest outer steps. */
  update(steps) {
    this.steps = steps;
    const lossy = steps.findLast((step) => step.requests.some((request) => request.parts.some(gone)));
    if (lossy !== undefined && lossy.outer_step !== this.loss?.step.outer_step) {
      this.loss = { step: lossy, at: Date.now() };
    }
    if (this.chosen === null) this.arrange();
  }

  /** Sets the names of the registered workers. */
  setWorkers(names) {
    this.workers = new Set(names);
    this.refresh();
  }

  /** The visible steps: the newest ones, and for a while the last one with a lost part. */
  visible() {
    const wanted = Number(document.querySelector('input[name="timeline"]:checked').value);
    const newest = this.steps.slice(-wanted);
    if (this.loss === null || Date.now() - this.loss.at > KEEP_LOSS) return newest;
    const { step } = this.loss;
    if (newest.some((other) => other.outer_step === step.outer_step)) return newest;
    if (newest.length > 0 && step.outer_step > newest[newest.length - 1].outer_step) return newest;
    return [step, ...newest.slice(newest.length >= wanted && wanted > 1 ? 1 : 0)];
  }

  arrange() {
    this.chosen = null;
    this.layout = layOut(this.visible());
    this.refresh();
  }

  drawAll() {
    const { height } = geometry(this.layout, this.canvas.clientWidth || 600);
    this.canvas.style.height = `${height}px`;
    draw(this.canvas, this.layout, this.chosen, this.workers);
    const names = this.layout.lanes.filter((lane) => lane.name !== COORDINATOR).map((lane) => lane.name);
    const steps = this.layout.steps;
    setText(byId("timeline-summary"), steps.length === 0
      ? "No outer step yet."
      : `Outer steps ${steps.map((step) => count(step.outerStep)).join(", ")}, computed by ${names.join(", ")}.`);
    const readout = byId("timeline-readout");
    if (this.chosen === null) {
      const more = this.layout.hidden > 0 ? ` ${this.layout.hidden} more workers are in the table only.` : "";
      setText(readout, steps.length === 0 ? "No outer step yet." : `${HINT}${more}`);
      setAttribute(readout, "data-idle", "");
      this.drawTable();
    } else {
      setText(readout, this.words(this.chosen));
      setAttribute(readout, "data-idle", null);
    }
  }

  words(bar) {
    const of = bar.step.requests.filter((request) => request.kind === bar.request.kind).length;
    const label = bar.request.kind === "test" ? "test" : `gradient ${bar.request.index + 1} of ${of}`;
    const what = `Step ${count(bar.step.outer_step)}, ${label}, ${bar.lane}`;
    const took = span(bar.to - bar.from);
    if (bar.kind === "waiting") return `${what}: waiting for the others, ${took}`;
    if (bar.kind === "optimizer") return `${what}: reduction and optimizer, ${took}`;
    const { part } = bar;
    const range = shards(part.first_shard, part.end_shard);
    if (gone(part)) return `${what}: ${range} ${OUTCOMES[part.outcome]} after ${took}; computed again by another`;
    const rest = known(part.compute) ? Math.max(0, bar.to - bar.from - part.compute - (part.data ?? 0)) : null;
    const late = part.outcome === "used" ? "" : `; ${OUTCOMES[part.outcome] ?? part.outcome}`;
    const split = `compute ${span(part.compute)}, data ${span(part.data)}, communication ${span(rest)}`;
    return `${what}: ${range} in ${took} (${split})${late}`;
  }

  choose(bar) {
    const before = this.chosen;
    if (before === bar) return;
    this.chosen = bar;
    if (bar === null) this.layout = layOut(this.visible());
    this.refresh();
  }

  point(event) {
    const place = geometry(this.layout, this.canvas.clientWidth);
    const under = this.layout.bars.filter((bar) => {
      const { left, top, width, height } = box(bar, place);
      const { offsetX: x, offsetY: y } = event;
      return x >= left - 1 && x <= left + width + 1 && y >= top - 1 && y <= top + height + 1;
    });
    const bar = under.find((candidate) => candidate.kind !== "waiting") ?? under[0];
    if (bar !== undefined) this.choose(bar);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.layout.bars.length === 0) return;
    if (event.key === "Escape") return this.choose(null);
    const bar = this.neighbour(event.key);
    if (bar === undefined) return;
    event.preventDefault();
    this.choose(bar);
    announce(this.words(bar));
  }

  /** The bar that is selected after pressing a key. */
  neighbour(key) {
    const { bars, lanes } = this.layout;
    const names = lanes.map((lane) => lane.name);
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key)) return undefined;
    if (this.chosen === null) {
      const inFirst = bars.filter((bar) => bar.lane === names[0]);
      return key === "ArrowLeft" || key === "End" ? inFirst.at(-1) : inFirst[0] ?? bars[0];
    }
    const lane = bars.filter((bar) => bar.lane === this.chosen.lane);
    const here = lane.indexOf(this.chosen);
    if (key === "Home") return lane[0];
    if (key === "End") return lane.at(-1);
    if (key === "ArrowLeft") return lane[Math.max(0, here - 1)];
    if (key === "ArrowRight") return lane[Math.min(lane.length - 1, here + 1)];
    const direction = key === "ArrowUp" ? -1 : 1;
    for (let i = names.indexOf(this.chosen.lane) + direction; names[i] !== undefined; i += direction) {
      const middle = (bar) => Math.abs((bar.from + bar.to - this.chosen.from - this.chosen.to) / 2);
      const others = bars.filter((bar) => bar.lane === names[i]);
      if (others.length > 0) return others.reduce((best, bar) => (middle(bar) < middle(best) ? bar : best));
    }
    return this.chosen;
  }

  drawTable() {
    if (!byId("timeline-values").open) return;
    const parts = this.layout.parts.slice(-200).reverse();
    const heads = ["Outer step", "Request", "Worker", "Shards", "Took", "Compute", "Data", "Outcome"];
    const rows = parts.map(({ step, request, part, from, to }) => [
      count(step.outer_step), request.kind === "test" ? "test" : `gradient ${request.index + 1}`, part.worker,
      `${part.first_shard}–${part.end_shard - 1}`, span(to - from), span(part.compute), span(part.data),
      OUTCOMES[part.outcome] ?? part.outcome,
    ]);
    showTable(byId("timeline-table"), "Who computed which shards, newest first", heads, rows, [1, 2, 7]);
  }

  buildShares() {
    byId("split").append(...PARTS.map((part) => create("i", { "data-part": part })));
  }

  /** Shows the shares of the parts in the time of the newest steps. */
  showShares(steps) {
    const shares = timeShares(steps.slice(-SHARE_STEPS));
    [...byId("split").children].forEach((bar, i) => (bar.style.flexGrow = String(shares?.[i] ?? 0)));
    const items = PARTS.map((part, i) => ({ part, share: shares?.[i] ?? null }));
    showList(byId("split-legend"), items, (item) => item.part,
      (item) => create("li", {}, create("i", { "data-part": item.part }), `${item.part} `, create("b")),
      (element, item) => setText(element.lastChild, percent(item.share, 0)));
  }
}
