// Draws curves over outer steps into one canvas. If there are more steps than pixels, a column of pixels shows the
// range of its steps, so that no peak is lost; a running mean then shows the trend.

import { apart, color, logTicks, prepare, scale, tickText, ticks } from "./canvas.js";
import { known } from "./format.js";

const MARGIN = { right: 10, top: 8, bottom: 20 };
const LINE = 15; // height of a tick's text with the room around it
const COLUMN_GAP = 8; // least room between two ticks side by side
const DENSE = 160; // number of steps from which the running mean is drawn

/** Smallest and largest value of the lines, with a margin. */
function valueRange(lines, steps, log, bounds) {
  let low = Infinity;
  let high = -Infinity;
  for (const line of lines) {
    for (const step of steps) {
      const value = line.value(step);
      if (!known(value) || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return log ? [0.1, 1] : [0, 1];
  if (log) return low === high ? [low / 2, high * 2] : [low / 1.08, high * 1.08];
  const room = low === high ? Math.abs(low) * 0.1 || 0.5 : (high - low) * 0.06;
  const [least, most] = bounds ?? [-Infinity, Infinity];
  const from = low >= 0 && low - room < 0 ? 0 : low - room;
  return [Math.max(least, from), Math.min(most, high + room)];
}

/** Running mean, with a window proportional to the number of values. */
function runningMean(values) {
  const half = Math.max(2, Math.round(values.length / 60));
  const means = new Array(values.length).fill(null);
  let sum = 0;
  let number = 0;
  const add = (value, sign) => {
    if (!known(value)) return;
    sum += sign * value;
    number += sign;
  };
  for (let i = 0; i < half; i++) add(values[i], 1);
  for (let i = 0; i < values.length; i++) {
    if (i + half < values.length) add(values[i + half], 1);
    if (i - half - 1 >= 0) add(values[i - half - 1], -1);
    means[i] = number > 0 ? sum / number : null;
  }
  return means;
}

export class Plot {
  /**
   * `lines`: [{ value(step), color, dash, dots }], the first one on top; `bounds`: smallest and largest possible
   * value; `logarithmic`: whether a logarithmic scale is allowed; `band`: whether the area between two lines is tinted;
   * `zero`: whether the axis at 0 is emphasised; `tick`: formats a tick from its value and its distance to the next.
   */
  constructor(canvas, { lines, bounds = null, logarithmic = false, band = false, zero = false, tick = tickText }) {
    Object.assign(this, { canvas, lines, bounds, logarithmic, band, zero, tick });
    this.steps = [];
  }

  /** Draws the steps; `cursor` is the index of the selected step, or null. */
  draw(steps, cursor, log) {
    this.steps = steps;
    const surface = prepare(this.canvas);
    if (surface === null) return;
    const { context, width, height } = surface;
    const area = { left: 0, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    this.log = log && this.logarithmic;
    const [low, high] = valueRange(this.lines, steps, this.log, this.bounds);
    const rows = Math.max(2, Math.round((area.bottom - area.top) / 42));
    const marks = this.log ? logTicks(low, high, rows) : ticks(low, high, rows);
    const gap = this.log ? Infinity : marks[1] - marks[0];
    this.y = scale(low, high, area.bottom, area.top, this.log);
    const axis = apart(
      marks.map((value) => ({ value, text: this.tick(value, gap || value), at: -this.y(value), size: LINE })),
    );
    area.left = Math.max(24, ...axis.map(({ text }) => context.measureText(text).width)) + 8;
    this.room = area.right - area.left;
    const first = steps[0]?.outer_step ?? 0;
    const last = Math.max(steps[steps.length - 1]?.outer_step ?? 1, first + 1);
    this.x = scale(first, last, area.left, area.right);
    this.drawAxes(context, area, axis, first, last);
    if (steps.length === 0) return;
    context.save();
    context.beginPath();
    context.rect(area.left - 4, area.top - 4, area.right - area.left + 8, area.bottom - area.top + 8);
    context.clip();
    if (this.band) this.drawBand(context);
    for (const line of [...this.lines].reverse()) this.drawLine(context, line);
    context.restore();
    if (cursor !== null) this.drawCursor(context, area, steps[cursor]);
  }

  drawAxes(context, area, axis, first, last) {
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const { value, text } of axis) {
      const y = Math.round(this.y(value)) + 0.5;
      context.strokeStyle = color(this.zero && value === 0 ? "--edge" : "--line");
      context.beginPath();
      context.moveTo(area.left, y);
      context.lineTo(area.right, y);
      context.stroke();
      context.fillStyle = color("--soft");
      context.fillText(text, area.left - 6, y);
    }
    context.textBaseline = "alphabetic";
    const columns = Math.max(1, Math.floor((area.right - area.left) / 90));
    const whole = ticks(first, last, columns).filter(Number.isInteger);
    const steps = whole.map((value) => {
      const text = value.toLocaleString("en");
      const size = context.measureText(text).width;
      const x = Math.min(this.x(value), area.right - size / 2);
      return { text, at: Math.max(x, area.left - 6 + size / 2), size: size + COLUMN_GAP };
    });
    context.textAlign = "center";
    for (const { text, at } of apart(steps)) context.fillText(text, at, area.bottom + 15);
  }

  drawBand(context) {
    const points = [];
    for (const step of this.steps) {
      const [a, b] = [this.lines[0].value(step), this.lines[1].value(step)];
      if (this.drawable(a) && this.drawable(b)) points.push([this.x(step.outer_step), this.y(a), this.y(b)]);
    }
    if (points.length < 2) return;
    context.beginPath();
    points.forEach(([x, a]) => context.lineTo(x, a));
    points.reverse().forEach(([x, , b]) => context.lineTo(x, b));
    context.globalAlpha = 0.1;
    context.fillStyle = color(this.lines[1].color);
    context.fill();
    context.globalAlpha = 1;
  }

  drawable(value) {
    return known(value) && !(this.log && value <= 0);
  }

  drawLine(context, line) {
    context.strokeStyle = context.fillStyle = color(line.color);
    context.lineJoin = "round";
    if (line.dots) return this.drawDots(context, line);
    const values = this.steps.map((step) => line.value(step));
    if (values.length < DENSE) {
      context.lineWidth = 1.7;
      context.setLineDash(line.dash ?? []);
      this.trace(context, values);
    } else {
      context.lineWidth = 1;
      context.globalAlpha = 0.32;
      this.trace(context, values);
      context.globalAlpha = 1;
      context.lineWidth = 2;
      context.setLineDash(line.dash ?? []);
      this.trace(context, runningMean(values));
    }
    context.setLineDash([]);
  }

  /** Adds one path through the values; an unknown value leaves a gap. */
  trace(context, values) {
    const dense = values.length > 1.5 * this.room;
    context.beginPath();
    let open = false;
    for (let i = 0; i < values.length; i++) {
      if (!this.drawable(values[i])) {
        open = false;
        continue;
      }
      const x = this.x(this.steps[i].outer_step);
      let [low, high] = [values[i], values[i]];
      let end = values[i];
      const near = (next) => this.drawable(values[next]) && this.x(this.steps[next].outer_step) < x + 1;
      while (dense && near(i + 1)) {
        end = values[++i];
        low = Math.min(low, end);
        high = Math.max(high, end);
      }
      if (open) context.lineTo(x, this.y(low));
      else context.moveTo(x, this.y(low));
      if (high > low) context.lineTo(x, this.y(high));
      if (dense) context.lineTo(x, this.y(end));
      else if (!open) context.lineTo(x + 0.01, this.y(end));
      open = true;
    }
    context.stroke();
  }

  /** Draws values that only some steps have, as dots joined by a line. */
  drawDots(context, line) {
    const points = this.steps.filter((step) => this.drawable(line.value(step)));
    const pixels = points.map((step) => [this.x(step.outer_step), this.y(line.value(step))]);
    context.lineWidth = 1.8;
    context.beginPath();
    pixels.forEach(([x, y]) => context.lineTo(x, y));
    context.stroke();
    const gap = Math.max(1, Math.ceil((points.length * 9) / this.room));
    pixels.forEach(([x, y], i) => {
      if ((pixels.length - 1 - i) % gap === 0) dot(context, x, y, 2.6);
    });
  }

  drawCursor(context, area, step) {
    const x = this.x(step.outer_step);
    context.strokeStyle = color("--ink");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, area.top);
    context.lineTo(x, area.bottom);
    context.stroke();
    for (const line of this.lines) {
      const value = line.value(step);
      if (!this.drawable(value)) continue;
      context.fillStyle = color("--surface");
      dot(context, x, this.y(value), 5);
      context.fillStyle = color(line.color);
      dot(context, x, this.y(value), 3.5);
    }
  }

  /** Index of the step under a pixel. */
  stepAt(pixel) {
    let best = null;
    let distance = Infinity;
    this.steps.forEach((step, i) => {
      const away = Math.abs(this.x(step.outer_step) - pixel);
      if (away < distance) [best, distance] = [i, away];
    });
    return best;
  }
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
