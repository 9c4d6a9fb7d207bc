// Draws lanes and bars into a canvas. Each part of the time has its own colour and texture.

import { color, prepare, scale, ticks } from "./canvas.js";
import { span } from "./format.js";
import { COORDINATOR, gone } from "./timeline_layout.js";

const HEAD = 20; // step numbers
const FOOT = 20; // times
const ROW = 20;
const GAP = 8;
const NAME = 15; // height of a lane's name, which is above the lane if the canvas is narrow

/** The positions of lanes and axes for a canvas of this width. */
export function geometry(layout, width) {
  const narrow = width < 560;
  const left = narrow ? 0 : Math.min(150, Math.max(84, width * 0.14));
  let y = HEAD;
  const lanes = new Map();
  for (const lane of layout.lanes) {
    const row = lane.rows > 4 ? ROW / 2 : ROW;
    if (narrow) y += NAME;
    lanes.set(lane.name, { top: y, row, height: lane.rows * row, lossy: lane.lossy });
    y += lane.rows * row + GAP;
  }
  return { narrow, left, lanes, height: y + FOOT - GAP, x: scale(0, layout.total || 1, left, width - 1) };
}

/** The rectangle of a bar in pixels. */
export function box(bar, { lanes, x }) {
  const lane = lanes.get(bar.lane);
  const alone = bar.kind === "waiting";
  const top = lane.top + (alone ? 0 : (bar.row ?? 0) * lane.row);
  const left = x(bar.from);
  return { left, top: top + 1, width: Math.max(1.5, x(bar.to) - left), height: (alone ? lane.height : lane.row) - 2 };
}

/** Draws everything; `chosen` is the selected bar; `present` holds the workers that are still registered. */
export function draw(canvas, layout, chosen, present) {
  const surface = prepare(canvas);
  if (surface === null) return;
  const { context, width } = surface;
  const place = geometry(layout, width);
  drawFrame(context, layout, place, width, present);
  for (const bar of layout.bars) if (bar.kind === "waiting") drawWaiting(context, box(bar, place));
  for (const bar of layout.bars) {
    if (bar.kind === "optimizer") fill(context, box(bar, place), "optimizer");
    if (bar.kind === "part") drawPart(context, bar, place);
  }
  if (chosen !== null) {
    const { left, top, width: wide, height } = box(chosen, place);
    context.strokeStyle = color("--ink");
    context.lineWidth = 2;
    context.strokeRect(left - 1, top - 1, wide + 2, height + 2);
  }
}

function drawFrame(context, layout, place, width, present) {
  context.lineWidth = 1;
  context.textBaseline = "middle";
  for (const [name, lane] of place.lanes) {
    const away = name !== COORDINATOR && !present.has(name);
    context.fillStyle = color(lane.lossy ? "--bad" : away ? "--soft" : "--ink");
    context.textAlign = "left";
    const y = place.narrow ? lane.top - NAME / 2 : lane.top + lane.height / 2;
    const room = place.narrow ? width : place.left - 10;
    context.fillText(shorten(context, lane.lossy ? `✕ ${name}` : name, room), 0, y);
    context.fillStyle = color("--sunken");
    context.fillRect(place.left, lane.top, width - place.left, lane.height);
  }
  const bottom = place.height - FOOT;
  layout.steps.forEach((step, i) => {
    const x = Math.round(place.x(step.from)) + 0.5;
    context.strokeStyle = color("--edge");
    context.beginPath();
    context.moveTo(x, HEAD - 6);
    context.lineTo(x, bottom);
    context.stroke();
    context.fillStyle = color(step.lossy ? "--bad" : "--soft");
    const short = layout.steps.length > 3 && i > 0;
    const text = `${step.lossy ? "✕ " : ""}${short ? "" : "step "}${step.outerStep.toLocaleString("en")}`;
    if (context.measureText(text).width < place.x(step.to) - x - 4) context.fillText(text, x + 4, HEAD / 2 - 2);
  });
  context.textBaseline = "alphabetic";
  const columns = Math.max(2, Math.floor((width - place.left) / 110));
  for (const time of ticks(0, layout.total, columns)) {
    const text = span(time);
    const half = context.measureText(text).width / 2;
    const x = Math.max(place.left + half, Math.min(place.x(time), width - half));
    context.textAlign = "center";
    context.fillStyle = color("--soft");
    context.fillText(text, x, place.height - 5);
  }
  context.textAlign = "left";
}

function drawPart(context, bar, place) {
  const whole = box(bar, place);
  if (gone(bar.part)) return drawGone(context, whole);
  if (bar.segments.length === 0) fill(context, whole, "communication");
  for (const segment of bar.segments) {
    const left = place.x(segment.from);
    fill(context, { ...whole, left, width: Math.max(0.5, place.x(segment.to) - left) }, segment.name);
  }
  if (bar.part.outcome === "duplicate") {
    context.fillStyle = color("--surface");
    context.globalAlpha = 0.55;
    context.fillRect(whole.left, whole.top, whole.width, whole.height);
    context.globalAlpha = 1;
    outline(context, whole, "--edge", [2, 2]);
  }
  const compute = bar.segments.find((segment) => segment.name === "compute");
  if (compute === undefined || whole.height < 14) return;
  const from = place.x(compute.from);
  const { first_shard: first, end_shard: end } = bar.part;
  const range = end - first === 1 ? String(first) : `${first}–${end - 1}`;
  const fits = (label) => context.measureText(label).width + 6 <= place.x(compute.to) - from;
  const text = (bar.request.kind === "test" ? [`test ${range}`, "test"] : [range]).find(fits);
  if (text === undefined) return;
  context.fillStyle = color(bar.part.outcome === "duplicate" ? "--ink" : "--on-bar");
  context.textBaseline = "middle";
  context.textAlign = "center";
  context.fillText(text, (from + place.x(compute.to)) / 2, whole.top + whole.height / 2 + 0.5);
}

function drawGone(context, whole) {
  context.fillStyle = color("--bad-surface");
  context.fillRect(whole.left, whole.top, whole.width, whole.height);
  outline(context, whole, "--bad", [4, 2]);
  context.fillStyle = color("--bad");
  context.textBaseline = "middle";
  context.textAlign = "center";
  context.font = `bold 13px ${color("--sans")}`;
  context.fillText("✕", whole.left + whole.width / 2, whole.top + whole.height / 2 + 0.5);
  context.font = `12px ${color("--sans")}`;
}

function outline(context, { left, top, width, height }, name, dash) {
  context.strokeStyle = color(name);
  context.lineWidth = 1.5;
  context.setLineDash(dash);
  context.strokeRect(left + 0.75, top + 0.75, Math.max(0.5, width - 1.5), height - 1.5);
  context.setLineDash([]);
}

function drawWaiting(context, { left, top, width, height }) {
  context.fillStyle = texture(context, "waiting");
  context.fillRect(left, top, width, height);
  if (width > 4) outline(context, { left, top, width, height }, "--waiting", []);
}

function fill(context, { left, top, width, height }, part) {
  context.fillStyle = texture(context, part);
  context.fillRect(left, top, width, height);
}

const textures = new Map();

/** Solid for compute and optimizer, stripes for communication, lines for data, dots for waiting. */
function texture(context, part) {
  const ink = color(`--${part}`);
  if (part === "compute" || part === "optimizer") return ink;
  const key = `${part} ${ink} ${color("--surface")} ${window.devicePixelRatio}`;
  if (!textures.has(key)) textures.set(key, tile(context, part, ink));
  return textures.get(key);
}

function tile(context, part, ink) {
  const size = part === "communication" ? 6 : 4;
  const ratio = Math.max(1, Math.round(window.devicePixelRatio || 1));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size * ratio;
  const brush = canvas.getContext("2d");
  brush.scale(ratio, ratio);
  brush.fillStyle = brush.strokeStyle = ink;
  if (part === "waiting") {
    brush.fillRect(1, 1, 1.4, 1.4);
  } else {
    brush.globalAlpha = 0.5;
    brush.fillRect(0, 0, size, size);
    brush.globalAlpha = 1;
    if (part === "data") brush.fillRect(0, 0, size, 2);
    else {
      brush.lineWidth = 2.2;
      brush.beginPath();
      for (const shift of [-size, 0, size]) {
        brush.moveTo(shift - 1, size + 1);
        brush.lineTo(shift + size + 1, -1);
      }
      brush.stroke();
    }
  }
  const pattern = context.createPattern(canvas, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern;
}

function shorten(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}
