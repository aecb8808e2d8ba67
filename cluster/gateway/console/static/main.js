/** The console: it polls the gateway, and shows the place that the address names. */

import { fill, h, setAttribute, setText } from "./dom.js";
import { DocumentView } from "./document.js";
import { Documents } from "./documents.js";
import { Gateway, Proof, Refusal, explained } from "./gateway.js";
import { Overview } from "./overview.js";
import { addressOf, readPlace } from "./place.js";
import { Poll } from "./poll.js";
import { SignIn } from "./sign_in.js";
import { Timeline } from "./timeline.js";
import * as words from "./words.js";

/** @typedef {Overview | Documents | DocumentView} View */

class Console {
  /** @param {Document} page */
  constructor(page) {
    const found = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.skip = found("skip");
    this.main = found("main");
    this.trail = found("trail");
    this.state = found("state");
    this.asOf = found("as-of");
    this.sign = found("sign");
    this.banner = h("div", { class: "banner", role: "alert", hidden: true });
    this.main.before(this.banner);

    this.proof = new Proof();
    this.gateway = new Gateway(this.proof);
    this.timeline = new Timeline();
    /** The latest answer, for a view that is opened between two. @type {any} */
    this.data = null;
    this.isKnown = true;
    this.overview = new Overview();
    /** @type {View | null} */
    this.view = null;
    this.signIn = new SignIn((proof) => this.#prove(proof));
    page.body.append(this.signIn.element);
    this.poll = new Poll(this.gateway, {
      onData: (data) => this.#show(data),
      onStanding: (standing, error) => this.#stand(standing, error),
    });
  }

  start() {
    this.gateway.onUnknown = (refusal) => {
      const isFirst = this.proof.get() === null;
      this.isKnown = false;
      this.proof.set(null);
      this.#showSign();
      this.signIn.ask(isFirst ? null : explained(refusal));
    };
    // Its address would be taken for a place.
    this.skip.addEventListener("click", (event) => {
      event.preventDefault();
      this.main.focus();
    });
    this.sign.addEventListener("click", () => this.#signInOrOut());
    addEventListener("hashchange", () => this.#go());
    this.#showSign();
    this.#stand("first", null);
    this.#go();
    this.poll.start();
  }

  #go() {
    const place = readPlace(location.hash);
    if (this.view === null || !this.#stays(place)) {
      if (this.view !== null && "leave" in this.view) this.view.leave();
      const isFirst = this.view === null;
      this.view = this.#made(place);
      fill(this.main, this.view.element);
      if (!isFirst) {
        this.main.focus({ preventScroll: true });
        scrollTo(0, 0);
      }
    }
    document.title = `${this.view.title} · ParqueDB`;
    fill(this.trail, ...crumbs(place));
    if ("go" in this.view) this.view.go(place);
    if (this.data !== null) this.view.update(this.data, this.timeline);
  }

  /** @param {import("./place.js").Place} place */
  #stays(place) {
    return this.view instanceof Overview ? place.namespace === null : (this.view?.shows(place) ?? false);
  }

  /**
   * @param {import("./place.js").Place} place
   * @returns {View}
   */
  #made({ namespace, id }) {
    if (namespace === null) return this.overview;
    return id === null ? new Documents(this.gateway, namespace) : new DocumentView(this.gateway, namespace, id);
  }

  /** @param {any} data */
  #show(data) {
    this.data = data;
    setText(this.asOf, words.when(data.time_s).slice(-8));
    setAttribute(this.asOf, "datetime", new Date(data.time_s * 1000).toISOString());
    this.timeline.add(data);
    this.view?.update(data, this.timeline);
    if (!this.isKnown) {
      // Whoever has just proved who he is wants to see what he was refused before.
      this.isKnown = true;
      this.#go();
    }
  }

  /**
   * @param {import("./poll.js").Standing} standing
   * @param {Error | null} error
   */
  #stand(standing, error) {
    const names = { first: "Connecting", live: "Live", lost: "No answer", unknown: "Signed out", refused: "Refused" };
    setText(this.state, names[standing]);
    setAttribute(this.state, "class", `state ${standing}`);
    const isTold = standing === "lost" || standing === "refused";
    setAttribute(this.main, "class", isTold && this.data !== null ? "stale" : null);
    if (this.banner.hidden === isTold) this.banner.hidden = !isTold;
    if (isTold) {
      const since = this.data === null ? "" : ` What you see is from ${words.when(this.data.time_s).slice(-8)}.`;
      const reason = error === null ? "" : explained(error);
      const what = error instanceof Refusal ? "The gateway cannot answer" : "No answer";
      setText(
        this.banner,
        standing === "refused" ? reason : `${what}: ${reason}.${since} The page tries again by itself.`,
      );
    }
  }

  /** @param {string} proof */
  #prove(proof) {
    this.proof.set(proof);
    this.#showSign();
    this.poll.now();
  }

  #signInOrOut() {
    if (this.proof.get() === null) {
      this.signIn.ask(null);
    } else {
      this.proof.set(null);
      // Nothing that this proof has shown stays behind.
      location.reload();
    }
  }

  #showSign() {
    this.sign.hidden = this.proof.get() === null && this.isKnown;
    setText(this.sign, this.proof.get() === null ? "Sign in" : "Sign out");
  }
}

/** @param {import("./place.js").Place} place */
function crumbs({ namespace, id }) {
  const all = /** @type {[string | null, string][]} */ ([
    [namespace, addressOf(namespace)],
    [id, addressOf(namespace, id)],
  ]).filter(([name]) => name !== null);
  return all.map(([name, address], place) =>
    h("span", {}, h("a", { href: address, "aria-current": place === all.length - 1 ? "page" : null }, words.name(name ?? ""))),
  );
}

new Console(document).start();
