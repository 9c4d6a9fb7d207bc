// What keeps the coordinator from doing all that it is there for.

import { byId, setText } from "./dom.js";

/** Shows the degraded modes of an overview. */
export function showDegraded(modes) {
  byId("degraded").hidden = modes.length === 0;
  setText(byId("degraded-reason"), modes.map((mode) => `${mode.reason}.`).join(" "));
}
