// The content in place of a job if none can be displayed.

import { byId, setText } from "./dom.js";

const TEXTS = {
  connecting: { title: "Connecting", text: "The page waits for the coordinator's first word." },
  empty: {
    title: "No jobs yet",
    text: "Submit one from a terminal; it appears here at once, with its curves as they grow.",
    command: "lookbehind submit JOB.toml",
  },
  private: {
    title: "Sign in to see the jobs",
    text: "This coordinator shows its jobs only to people who sign in.",
    button: "Sign in",
  },
  loading: { title: "Loading the job", text: "" },
};

export class Welcome {
  constructor(onSignIn) {
    this.problem = null; // why the chosen job cannot be displayed, or null
    byId("welcome-button").addEventListener("click", onSignIn);
  }

  /** Shows the appropriate text, and returns whether it replaces the job. */
  show({ overview, job, chosen, reason }) {
    const texts = this.texts({ overview, job, chosen, reason });
    byId("welcome").hidden = texts === null;
    if (texts === null) return false;
    setText(byId("welcome-title"), texts.title);
    setText(byId("welcome-text"), texts.text);
    byId("welcome-command").hidden = texts.command === undefined;
    setText(byId("welcome-command").firstChild, texts.command ?? "");
    byId("welcome-button").hidden = texts.button === undefined;
    setText(byId("welcome-button"), texts.button ?? "");
    return true;
  }

  texts({ overview, job, chosen, reason }) {
    if (reason !== null) return TEXTS[reason];
    if (this.problem !== null) return { title: "This job cannot be shown", text: this.problem };
    if (job !== null) return null;
    if (overview === null) return TEXTS.connecting;
    return chosen === null ? TEXTS.empty : TEXTS.loading;
  }
}
