// Shared by all canvases of the page: sharp pixels, the page's colours, scales and their ticks.

let colors = new Map();
const watchers = new Set();
for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
  matchMedia(query).addEventListener("change", () => {
    colors = new Map();
    for (const redraw of watchers) redraw();
  });
}

/** The value of a custom property such as "--ink" in the present colour scheme. */
export function color(name) {
  if (!colors.has(name)) colors.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colors.get(name);
}

/** Calls `redraw` when the size of the canvas or the colours of the page change. */
export function watchCanvas(canvas, redraw) {
  new ResizeObserver(redraw).observe(canvas);
  watchers.add(redraw);
}

/** Fits the canvas to the screen's pixels; returns { context, width, height } in CSS pixels, or null if hidden. */
export function prepare(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (width === 0 || height === 0) return null;
  const ratio = window.devicePixelRatio || 1;
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0]) canvas.width = pixels[0];
  if (canvas.height !== pixels[1]) canvas.height = pixels[1];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `12px ${color("--sans")}`;
  return { context, width, height };
}

/** A linear or logarithmic map from values to pixels. */
export function scale(from, to, start, end, log = false) {
  const map = log ? Math.log10 : (value) => value;
  const factor = (end - start) / (map(to) - map(from) || 1);
  return (value) => start + (map(value) - map(from)) * factor;
}

/** Round values between `from` and `to`, about `wanted` of them and at least two. */
export function ticks(from, to, wanted) {
  const raw = (to - from) / Math.max(1, wanted);
  if (!(raw > 0)) return [from];
  const power = 10 ** Math.floor(Math.log10(raw));
  const steps = [10, 5, 2, 1, 0.5, 0.2].map((round) => round * power);
  let found = [];
  for (const step of steps.slice(steps.findLastIndex((round) => round >= raw * 0.999))) {
    found = [];
    for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) found.push(i * step + 0); // no -0
    if (found.length > 1) break;
  }
  return found;
}

/** Powers of ten between two positive values; if they are few, also their multiples by 2 and 5. */
export function logTicks(from, to, wanted) {
  const low = Math.floor(Math.log10(from));
  const high = Math.ceil(Math.log10(to));
  const every = Math.max(1, Math.ceil((high - low) / wanted));
  const between = high - low <= 2 ? [1, 2, 5] : [1];
  const found = [];
  for (let power = low; power <= high; power += every) {
    for (const round of between) found.push(round * 10 ** power);
  }
  return found.filter((value) => value >= from * 0.999 && value <= to * 1.001);
}

/**
 * Those of the marks that do not run into the kept one before them. A mark is { at, size }: its middle, and its extent
 * with the room that it needs.
 */
export function apart(marks) {
  const kept = [];
  for (const mark of marks) {
    const before = kept.at(-1);
    if (before === undefined || mark.at - before.at >= (mark.size + before.size) / 2) kept.push(mark);
  }
  return kept;
}

/** The text of a tick at distance `step` from its neighbours, with enough digits to distinguish them. */
export function tickText(value, step) {
  const size = Math.abs(value);
  const digits = size === 0 ? 1 : Math.max(1, Math.ceil(Math.log10(size / step) - 1e-9) + 1);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    return value.toExponential(Math.min(digits - 1, 6)).replace("e+", "e");
  }
  if (size >= 1000) return value.toLocaleString("en");
  return String(Number(value.toPrecision(Math.min(digits, 12))));
}
