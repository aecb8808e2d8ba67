/** Asking for a token or an API key, when the gateway wants to know who is asking. */

import { h, setText } from "./dom.js";

export class SignIn {
  /** @param {(proof: string) => void} onProof */
  constructor(onProof) {
    this.input = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "password",
        id: "proof",
        autocomplete: "off",
        spellcheck: "false",
        required: true,
        "aria-describedby": "proof-error proof-note",
      })
    );
    this.error = h("p", { class: "wrong", id: "proof-error", role: "alert", hidden: true });
    this.element = /** @type {HTMLDialogElement} */ (
      h(
        "dialog",
        { "aria-labelledby": "about-sign-in" },
        h(
          "form",
          {
            submit: (event) => {
              event.preventDefault();
              const proof = this.input.value.trim();
              this.input.value = "";
              this.element.close();
              if (proof) onProof(proof);
            },
          },
          h("h2", { id: "about-sign-in" }, "Who is asking?"),
          h(
            "p",
            {},
            "This gateway shows its data to callers that it knows. Paste a token (JWT), or an API key as ",
            h("code", {}, "parquedb keys issue"),
            " prints it.",
          ),
          h("label", { for: "proof" }, "Token or API key"),
          this.input,
          this.error,
          h(
            "p",
            { class: "quiet", id: "proof-note" },
            "It is kept for this tab only, until you close it, and is sent to this gateway alone. What you see is what it may read.",
          ),
          h("div", { class: "buttons" }, h("button", { type: "submit" }, "Sign in")),
        ),
      )
    );
  }

  /**
   * Ask; what was said already stays, if there is nothing new to say.
   * @param {string | null} problem what was wrong with the last one
   */
  ask(problem) {
    if (this.element.open && problem === null) return;
    this.error.hidden = problem === null;
    setText(this.error, problem ?? "");
    if (!this.element.open) this.element.showModal();
    this.input.focus();
  }
}
