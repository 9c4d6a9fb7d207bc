// Signing in and out. A dialog asks for a token; it is tried, and kept for this tab only.

import { me, setToken, token } from "./api.js";
import { announce, byId, setText } from "./dom.js";

export class Account {
  /** `onChange` is called after the user has signed in or out. */
  constructor(onChange) {
    this.onChange = onChange;
    this.dialog = byId("sign-in-dialog");
    this.field = byId("token");
    byId("sign-in").addEventListener("click", () => this.ask());
    byId("sign-out").addEventListener("click", () => this.signOut());
    byId("sign-in-close").addEventListener("click", () => this.dialog.close());
    byId("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.signIn();
    });
    this.dialog.addEventListener("close", () => (this.field.value = ""));
  }

  /** Opens the dialog. */
  ask() {
    this.problem("");
    if (!this.dialog.open) this.dialog.showModal();
    this.field.focus();
  }

  /** Shows the identity that the coordinator reports for this page. */
  show(you, access) {
    const open = access === "open";
    const signedIn = token() !== null;
    const name = you === null ? "Read-only" : open ? "Open to all who reach it" : `${you.name}, ${you.role}`;
    setText(byId("account-name"), name);
    const [enter, leave] = [byId("sign-in"), byId("sign-out")];
    const focused = document.activeElement === enter || document.activeElement === leave;
    enter.hidden = open || signedIn;
    leave.hidden = open || !signedIn;
    if (focused) (signedIn ? leave : enter).focus();
  }

  /** Handles a token that the coordinator no longer accepts. */
  rejected() {
    setToken(null);
    this.show(null, "guarded");
  }

  async signIn() {
    const value = this.field.value.trim();
    if (value === "") return this.problem("paste a token first");
    const button = this.dialog.querySelector('[type="submit"]');
    button.disabled = true;
    try {
      const { name, role } = await me(value);
      setToken(value);
      this.dialog.close();
      this.show({ name, role }, "guarded");
      announce(`Signed in as ${name}, ${role}`);
      this.onChange();
    } catch (error) {
      this.problem(error.status === 401 ? `not signed in: ${error.message}` : error.message);
      this.field.focus();
      this.field.select();
    } finally {
      button.disabled = false;
    }
  }

  signOut() {
    setToken(null);
    this.show(null, "guarded");
    announce("Signed out");
    this.onChange();
  }

  problem(text) {
    const element = byId("sign-in-problem");
    element.hidden = text === "";
    setText(element, text);
  }
}
