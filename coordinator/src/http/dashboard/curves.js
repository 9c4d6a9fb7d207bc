// The curves of the chosen job: six plots that share one cursor, and the same values as a table.

import { watchCanvas } from "./canvas.js";
import { announce, byId, create, lineSample, paced, setText, showTable } from "./dom.js";
import { count, known, number, percent, steady } from "./format.js";
import { Plot } from "./plot.js";
import { Series, gradientNorm, sharpness } from "./series.js";

const CURVES = [
  {
    name: "Loss", size: "large", logarithmic: true, band: true, text: steady,
    note: "of a batch; the band between slow and perturbed is the sharpness along the path; test: of the whole split",
    lines: [
      { label: "slow weights", color: "--slow", value: (step) => step.loss },
      { label: "perturbed weights", color: "--perturbed", dash: [5, 3], value: (step) => step.last_loss },
      { label: "test", color: "--test", dots: true, value: (step) => step.test?.loss ?? null },
    ],
  },
  {
    name: "Accuracy", size: "large", bounds: [0, 1],
    text: (value) => percent(value, 2),
    tick: (value, step) => percent(value, step < 0.01 ? 1 : 0),
    note: "training: of a batch at the slow weights; test: of the whole split",
    lines: [
      { label: "training", color: "--slow", value: (step) => step.accuracy },
      { label: "test", color: "--test", dots: true, value: (step) => step.test?.accuracy ?? null },
      { label: "validation", color: "--sharp", dots: true, optional: true, value: (step) => step.validation?.accuracy ?? null },
      { label: "clean labels", color: "--plain", dots: true, optional: true, value: (step) => step.clean?.accuracy ?? null },
      { label: "memorised", color: "--perturbed", dots: true, optional: true, value: (step) => step.memorised?.accuracy ?? null },
    ],
  },
  {
    name: "Gradient norm", size: "small", logarithmic: true, text: steady,
    note: "Euclidean, of the step's first gradient; with perturbation \"shard\", the mean over the shards",
    lines: [{ label: "‖g‖", color: "--plain", value: gradientNorm }],
  },
  {
    name: "Sharpness", size: "small", zero: true, text: steady,
    note: "loss at the perturbed weights less loss at the slow ones",
    lines: [{ label: "sharpness", color: "--sharp", value: sharpness }],
  },
  {
    name: "Alpha", size: "small", bounds: [0, 1], text: number,
    note: "share of the way that the slow weights follow the fast ones",
    lines: [{ label: "α", color: "--plain", value: (step) => step.alpha }],
  },
  {
    name: "Learning rate", size: "small", logarithmic: true, text: number,
    note: "of the descent on the fast weights",
    lines: [{ label: "rate", color: "--plain", value: (step) => step.learning_rate }],
  },
];

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Curves {
  constructor(series) {
    this.series = series;
    this.cursor = null; // the outer step under the cursor, or null
    this.views = CURVES.map((curve, i) => this.build(curve, i));
    byId("curves").append(...this.views.map((view) => view.figure));
    this.refresh = paced(() => this.draw(), calm.matches ? 1000 : 120);
    this.refreshTable = paced(() => this.drawTable(), 1500);
    for (const input of document.querySelectorAll('input[name="range"]')) {
      input.addEventListener("change", this.refresh);
    }
    byId("log-scale").addEventListener("change", this.refresh);
    byId("curves-values").addEventListener("toggle", () => this.drawTable());
    for (const view of this.views) watchCanvas(view.canvas, this.refresh);
  }

  /** Prepares for the steps of another job. */
  reset() {
    this.cursor = null;
    this.changed();
  }

  /** Redraws after new steps were added. */
  changed() {
    this.refresh();
    this.refreshTable();
  }

  build(curve, i) {
    const summary = create("p", { id: `curve-${i}-summary`, class: "sr-only" });
    const canvas = create("canvas", {
      tabindex: "0", role: "application", "aria-roledescription": "curve", "aria-label": curve.name,
      "aria-describedby": `curve-${i}-summary curves-hint`,
    });
    const values = curve.lines.map(() => create("b"));
    const title = create("div", { class: "curve-title" }, create("h3", { text: curve.name }));
    const caption = create("figcaption", {}, title, create("p", { text: curve.note }));
    const keys = curve.lines.map((line, j) => create("li", {}, lineSample(line), `${line.label} `, values[j]));
    if (keys.length === 1) title.append(values[0]);
    else caption.append(create("ul", { class: "keys" }, ...keys));
    const figure = create("figure", { class: "curve", "data-size": curve.size }, caption, canvas, summary);
    const view = { curve, figure, canvas, keys, values, summary, plot: new Plot(canvas, curve) };
    canvas.addEventListener("keydown", (event) => this.key(view, event));
    canvas.addEventListener("blur", () => this.read(null));
    const point = (event) => this.read(this.steps()[view.plot.stepAt(event.offsetX)]?.outer_step ?? null);
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType !== "touch" && document.activeElement !== canvas) this.read(null);
    });
    return view;
  }

  steps() {
    const range = document.querySelector('input[name="range"]:checked').value;
    return this.series.range(range === "all" ? Infinity : Number(range));
  }

  read(outerStep) {
    if (this.cursor === outerStep) return;
    this.cursor = outerStep;
    this.refresh();
  }

  key(view, event) {
    const steps = this.steps();
    if (steps.length === 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = steps.length - 1;
    const here = this.cursor === null ? null : Series.nearest(steps, this.cursor);
    const page = Math.max(1, Math.round(steps.length / 10));
    const moves = {
      ArrowLeft: () => (here ?? last + 1) - 1, ArrowRight: () => (here ?? last - 1) + 1, Home: () => 0, End: () => last,
      PageUp: () => (here ?? last) + page, PageDown: () => (here ?? last) - page, Escape: () => null,
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const place = move();
    if (place === null) return this.read(null);
    const step = steps[Math.min(last, Math.max(0, place))];
    this.read(step.outer_step);
    const words = view.curve.lines.map((line) => `${line.label} ${this.text(view.curve, line, step) ?? "not known"}`);
    announce(`${view.curve.name}, outer step ${count(step.outer_step)}: ${words.join(", ")}`);
  }

  /** A line's value at a step, or null. A step without a test result shows that of the last test before it. */
  text(curve, line, step) {
    const at = line.dots ? this.series.testBefore(step?.outer_step) : step;
    const value = at === undefined ? null : line.value(at);
    if (!known(value)) return null;
    const plain = at === step || at === this.series.newestTest;
    return plain ? curve.text(value) : `${curve.text(value)} after step ${count(at.outer_step)}`;
  }

  draw() {
    const steps = this.steps();
    const log = byId("log-scale").checked;
    const cursor = this.cursor === null || steps.length === 0 ? null : Series.nearest(steps, this.cursor);
    const step = cursor === null ? this.series.newest : steps[cursor];
    setText(byId("curves-at"), cursor === null ? "over outer steps" : `at outer step ${count(step.outer_step)}`);
    for (const view of this.views) {
      view.plot.draw(steps, cursor, log);
      view.curve.lines.forEach((line, i) => {
        setText(view.values[i], this.text(view.curve, line, step) ?? "–");
        view.keys[i].hidden = !isShown(line, steps);
      });
      setText(view.summary, this.summary(view.curve, steps));
    }
  }

  summary(curve, steps) {
    if (steps.length === 0) return "No outer step yet.";
    const [first, last] = [steps[0], steps[steps.length - 1]];
    const lines = curve.lines.filter((line) => isShown(line, steps)).map((line) => {
      const values = steps.map((step) => line.value(step)).filter(known);
      if (values.length === 0) return `${line.label}: no value yet`;
      return `${line.label}: from ${curve.text(values[0])} to ${curve.text(values[values.length - 1])}`;
    });
    return `Outer steps ${count(first.outer_step)} to ${count(last.outer_step)}. ${lines.join("; ")}.`;
  }

  /** Fills the table: each of the newest steps, then earlier ones evenly spaced; newest first. */
  drawTable() {
    if (!byId("curves-values").open) return;
    const steps = this.steps();
    const newest = steps.slice(-20);
    const earlier = steps.slice(0, -20);
    const every = Math.max(1, Math.ceil(earlier.length / 40));
    const spaced = earlier.filter((step, i) => i % every === 0 || step === this.series.newestTest);
    const rows = [...spaced, ...newest].reverse();
    const heads = [
      "Outer step", "Epoch", "Loss", "At perturbed weights", "Sharpness", "Accuracy", "Test accuracy", "Test loss",
      "Gradient norm", "Alpha", "Learning rate", "Workers",
    ];
    const cells = rows.map((step) => [
      count(step.outer_step), count(step.epoch + 1), steady(step.loss), steady(step.last_loss), steady(sharpness(step)),
      percent(step.accuracy, 2), percent(step.test?.accuracy, 2), steady(step.test?.loss), steady(gradientNorm(step)),
      number(step.alpha), number(step.learning_rate), count(step.workers),
    ]);
    showTable(byId("curves-table"), "Values of the curves, newest outer step first", heads, cells);
  }
}

/** Whether a line belongs to the job: of those that few jobs have, only lines with values are shown. */
function isShown(line, steps) {
  return !line.optional || steps.some((step) => known(line.value(step)));
}
