/** One document: its JSON, now or after any of its changes, and what each change did. */

import { fill, h, setAttribute, setText } from "./dom.js";
import { parse, stringify } from "./exact_json.js";
import { explained, methodPath } from "./gateway.js";
import { addressOf } from "./place.js";
import { jsonView } from "./values.js";
import * as words from "./words.js";

/** Changes that are asked for at once; each brings the whole document. */
const PAGE = 25;
/** Characters that these should not exceed by far: of large documents fewer changes are asked for. */
const PAGE_CHARS = 4 << 20;
const FIELDS_MAX = 4;
/** Fields that every change changes. */
const ALWAYS = new Set(["version", "updatedAt", "updatedBy"]);

/**
 * @typedef {import("./exact_json.js").Value} Value
 * @typedef {object} Change
 * @property {number} seq
 * @property {string} time
 * @property {string} action
 * @property {Map<string, Value> | null} document as it was after it
 * @property {string} what it did, in words
 */

export class DocumentView {
  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {string} namespace
   * @param {string} id
   */
  constructor(gateway, namespace, id) {
    this.gateway = gateway;
    this.namespace = namespace;
    this.id = id;
    this.title = `${namespace}/${id}`;
    this.asking = new AbortController();
    /** @type {Map<string, Value> | null} */
    this.current = null;
    /** @type {Change[]} */
    this.changes = [];
    this.seq = "";
    this.limit = PAGE;

    this.problem = h("p", { class: "note bad", role: "alert", hidden: true });
    this.shown = h("h2", {}, "Document");
    this.copy = h("button", { type: "button", class: "quiet", click: () => void this.#copy() }, "Copy");
    this.content = h("div", { "aria-busy": "true" }, h("p", { class: "empty" }, "Asking …"));
    this.list = h("ol", { class: "history" });
    this.note = h("p", { class: "more", hidden: true });
    this.more = h(
      "button",
      { type: "button", class: "quiet", hidden: true, click: () => void this.#askHistory() },
      "Later changes",
    );
    const body = h(
      "section",
      { class: "card", "aria-label": "Document" },
      h("div", { class: "head" }, this.shown, this.copy),
      this.content,
    );
    const aside = h(
      "section",
      { class: "card", "aria-labelledby": "about-history" },
      h("h2", { id: "about-history" }, "History"),
      this.list,
      this.note,
    );
    this.element = h(
      "div",
      { class: "view" },
      h("div", { class: "head" }, h("h1", { class: "name" }, words.name(id))),
      this.problem,
      h("div", { class: "document" }, body, aside),
    );
    this.copy.hidden = true;
  }

  /**
   * Whether this can show a place.
   * @param {import("./place.js").Place} place
   */
  shows(place) {
    return place.namespace === this.namespace && place.id === this.id;
  }

  /**
   * Show a place.
   * @param {import("./place.js").Place} place
   */
  go(place) {
    const isFirst = this.changes.length === 0;
    this.seq = place.options.seq ?? "";
    if (isFirst) void this.#ask();
    else this.#show();
  }

  /** Give up what is being asked. */
  leave() {
    this.asking.abort();
  }

  update() {
    // What is shown is the document as it was asked for: it must not change under the reader's eyes.
  }

  async #ask() {
    this.asking.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    this.problem.hidden = true;
    this.changes = [];
    const asked = { id: this.id, include_deleted: true };
    try {
      const text = await this.gateway.ask(methodPath(this.namespace, "get"), { body: asked, signal });
      this.limit = Math.min(PAGE, Math.max(1, Math.floor(PAGE_CHARS / text.length)));
      await this.#askHistory();
      this.current = /** @type {any} */ (parse(text)).get("value");
      this.#show();
    } catch (error) {
      if (signal.aborted) return;
      this.content.removeAttribute("aria-busy");
      fill(this.content);
      this.#complain(error);
    }
  }

  async #askHistory() {
    const after = this.changes.at(-1)?.seq ?? 0;
    const query = new URLSearchParams({ id: this.id, after: String(after), limit: String(this.limit) });
    const { signal } = this.asking;
    // Asked twice, a page would be shown twice.
    setAttribute(this.more, "disabled", "");
    try {
      const text = await this.gateway.ask(`${methodPath(this.namespace, "history")}?${query}`, { signal });
      const page = /** @type {Map<string, any>} */ (/** @type {any} */ (parse(text)));
      this.changes.push(...changesOf(page.get("changes"), this.changes.at(-1)?.document ?? null));
      this.more.hidden = !page.get("has_more");
      this.note.hidden = !page.get("truncated");
      setText(this.note, `Changes before number ${page.get("oldest_seq")} are not kept any more.`);
      this.#list();
    } catch (error) {
      if (!signal.aborted) this.#complain(error);
    } finally {
      setAttribute(this.more, "disabled", null);
    }
  }

  /** @param {unknown} error */
  #complain(error) {
    this.problem.hidden = false;
    setText(this.problem, explained(error));
  }

  #show() {
    this.content.removeAttribute("aria-busy");
    const change = this.changes.find(({ seq }) => String(seq) === this.seq);
    if (this.seq && change === undefined) {
      this.copy.hidden = true;
      setText(this.shown, `After change ${this.seq}`);
      fill(this.content, h("p", { class: "empty" }, "This document has no such change, or it is not kept any more."));
    } else {
      const document = change === undefined ? this.current : change.document;
      this.copy.hidden = !navigator.clipboard || document === null;
      const version = document?.get("version");
      const what = change === undefined ? "Now" : `After change ${change.seq}`;
      setText(this.shown, version === undefined ? what : `${what}, version ${version}`);
      fill(this.content, document === null ? this.#nothing(change) : jsonView(document));
    }
    this.#list();
  }

  /** @param {Change | undefined} change */
  #nothing(change) {
    return h(
      "p",
      { class: "empty" },
      change === undefined ? "There is no such document now." : "The document was removed for good.",
    );
  }

  #list() {
    const chosen = this.seq;
    const now = item(
      addressOf(this.namespace, this.id),
      !chosen,
      h("b", {}, "Now"),
      h("small", {}, "as it was read a moment ago"),
    );
    const items = this.changes.toReversed().map(({ seq, time, action, document, what }) => {
      const version = document?.get("version");
      const head = h("b", {}, action, version === undefined ? "" : ` · version ${version}`);
      const by = document?.get("updatedBy") ?? document?.get("createdBy");
      const facts = h(
        "small",
        {},
        h("time", { datetime: time }, words.when(time)),
        ` · change ${seq}`,
        by ? ` · by ${by}` : "",
      );
      return item(
        addressOf(this.namespace, this.id, { seq: String(seq) }),
        chosen === String(seq),
        head,
        facts,
        what ? h("span", {}, what) : null,
      );
    });
    // Between now and the last change that is shown there are others.
    fill(this.list, now, this.more.hidden ? null : h("li", { class: "between" }, this.more), ...items);
  }

  async #copy() {
    const document = this.changes.find(({ seq }) => String(seq) === this.seq)?.document ?? this.current;
    if (document === null) return;
    try {
      await navigator.clipboard.writeText(stringify(document, 2));
      setText(this.copy, "Copied");
    } catch {
      setText(this.copy, "The browser does not allow it");
    }
    setTimeout(() => setText(this.copy, "Copy"), 2000);
  }
}

/**
 * @param {string} address
 * @param {boolean} isChosen
 * @param {...(Node | null)} content
 */
function item(address, isChosen, ...content) {
  const link = h("a", { href: address }, ...content);
  setAttribute(link, "aria-current", isChosen ? "true" : null);
  return h("li", {}, link);
}

/**
 * @param {Map<string, any>[]} told
 * @param {Map<string, Value> | null} before the document before the first of them
 * @returns {Change[]}
 */
function changesOf(told, before) {
  return told.map((one) => {
    const document = one.get("document");
    const what = difference(before, document);
    before = document;
    return { seq: Number(one.get("seq").text), time: one.get("time"), action: one.get("action"), document, what };
  });
}

/**
 * Say in which fields a document differs from what it was.
 * @param {Map<string, Value> | null} before
 * @param {Map<string, Value> | null} now
 */
function difference(before, now) {
  if (before === null || now === null) return "";
  const added = [...now.keys()].filter((name) => !before.has(name) && !ALWAYS.has(name));
  const removed = [...before.keys()].filter((name) => !now.has(name));
  const changed = [...now.keys()].filter(
    (name) =>
      before.has(name) && !ALWAYS.has(name) && stringify(before.get(name) ?? null) !== stringify(now.get(name) ?? null),
  );
  return [listed("changed", changed), listed("added", added), listed("removed", removed)].filter(Boolean).join("; ");
}

/**
 * @param {string} verb
 * @param {string[]} names
 */
function listed(verb, names) {
  if (names.length === 0) return "";
  const more = names.length - FIELDS_MAX;
  return `${verb} ${names.slice(0, FIELDS_MAX).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
