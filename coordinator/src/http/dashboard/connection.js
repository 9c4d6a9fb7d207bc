// Shows whether the page is live, and when it will reconnect.

import { byId, setAttribute, setText } from "./dom.js";
import { moment, rough } from "./format.js";

const WORDS = {
  connecting: "Connecting", open: "Live", waiting: "Disconnected", refused: "Not connected", asleep: "Asleep",
};

export class Connection {
  /** `onButton` is called when the user asks to reconnect at once. */
  constructor(onButton) {
    this.heard = null;
    this.banner = byId("banner");
    byId("banner-button").addEventListener("click", onButton);
    setInterval(() => this.countDown(), 500);
  }

  /** Notes that the coordinator has sent something now. */
  alive() {
    this.heard = Date.now();
  }

  /** Shows the phase of the overview's stream. */
  show(phase) {
    const again = phase.name === "connecting" && phase.failures > 0;
    if (!again) {
      setAttribute(byId("live"), "data-phase", phase.name);
      setText(byId("live-text"), WORDS[phase.name]);
    }
    this.phase = phase;
    if (phase.name === "waiting") {
      const since = this.heard === null ? "" : ` What you see is from ${moment(this.heard)}.`;
      this.tell("alarm", "Disconnected:", `${phase.reason}.${since}`, "Try now");
    } else if (phase.name === "refused" && phase.error.status === 401) {
      setText(byId("live-text"), "Not signed in");
      this.banner.hidden = true;
    } else if (phase.name === "refused") {
      this.tell("alarm", "Not connected:", `${phase.error.message}.`, "Try again");
    } else if (phase.name === "open") {
      this.banner.hidden = true;
    }
    this.countDown();
  }

  tell(kind, title, text, button) {
    this.banner.dataset.kind = kind;
    setText(byId("banner-title"), title);
    setText(byId("banner-reason"), text);
    setText(byId("banner-button"), button);
    this.banner.hidden = false;
  }

  countDown() {
    const { name, until } = this.phase ?? {};
    const seconds = Math.ceil((until - Date.now()) / 1000);
    const next = name === "waiting" && seconds > 0 ? `Next try in ${rough(seconds)}.` : "";
    setText(byId("banner-countdown"), name === "connecting" ? "Trying now." : next);
  }
}
