// Small helpers for the page's elements. Data from the coordinator becomes text only, never markup.

/** The element with this id. All ids in use exist in index.html. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A new element. Attributes that are null or false are left out; `text` becomes its text; strings among the children
 * become text nodes.
 */
export function create(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of the sprite in index.html. It is decoration: a text always says the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  svg.append(document.createElementNS(SVG, "use"));
  setIcon(svg, name);
  return svg;
}

/** Makes an icon show another symbol. */
export function setIcon(svg, name) {
  setAttribute(svg.firstChild, "href", `#icon-${name}`);
}

/** A sample of a curve's line for legends: { color, dash, dots }. */
export function lineSample({ color, dash = [], dots = false }) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 22 10");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", "M1 5h20");
  path.style.stroke = `var(${color})`;
  if (dash.length > 0) path.setAttribute("stroke-dasharray", dash.join(" "));
  svg.append(path);
  if (dots) {
    const dot = document.createElementNS(SVG, "circle");
    for (const [name, value] of [["cx", 11], ["cy", 5], ["r", 3.4]]) dot.setAttribute(name, value);
    dot.style.fill = `var(${color})`;
    svg.append(dot);
  }
  return svg;
}

/** Changes a text only if it differs, so that selections and screen readers are not disturbed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Changes an attribute only if it differs; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Makes the children of `parent` show `items` in their order. The element of a key is reused, so that it keeps the
 * focus.
 */
export function showList(parent, items, key, build, update) {
  const before = new Map();
  for (const child of parent.children) before.set(child.dataset.key, child);
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = before.get(name);
    if (child === undefined) {
      child = build(item);
      child.dataset.key = name;
    }
    before.delete(name);
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of before.values()) child.remove();
}

/** Shows a table of strings; the columns in `words` are aligned to the left. */
export function showTable(table, caption, heads, rows, words = []) {
  const side = (column) => (words.includes(column) ? { class: "words" } : {});
  const head = create("tr", {}, ...heads.map((text, i) => create("th", { scope: "col", text, ...side(i) })));
  const body = rows.map((row) => create("tr", {}, ...row.map((text, i) => create("td", { text, ...side(i) }))));
  table.replaceChildren(
    create("caption", { class: "sr-only", text: caption }),
    create("thead", {}, head),
    create("tbody", {}, ...body),
  );
}

/** Announces a text to screen readers without interrupting them. */
export function announce(text) {
  const announcer = byId("announcer");
  announcer.textContent = "";
  announcer.textContent = text;
}

/**
 * A function that calls `task` at the next animation frame, at most once per `pause` milliseconds. Calls in between
 * are merged into one.
 */
export function paced(task, pause) {
  let due = false;
  let last = -Infinity;
  const run = () => {
    due = false;
    last = performance.now();
    task();
  };
  return () => {
    if (due) return;
    due = true;
    const wait = last + pause - performance.now();
    if (wait <= 0) requestAnimationFrame(run);
    else setTimeout(() => requestAnimationFrame(run), wait);
  };
}
