/** The documents of a namespace: a filter, an order, a page at a time. It asks when it is told to, and never by itself. */

import { fill, h, setAttribute, setText } from "./dom.js";
import { parse } from "./exact_json.js";
import { Refusal, explained, methodPath } from "./gateway.js";
import { showState } from "./parts.js";
import { addressOf } from "./place.js";
import { LIMITS, WrongField, bodiesOf, fieldOf, optionsOf, queryOf } from "./query.js";
import { Table } from "./table.js";
import { brief } from "./values.js";
import * as words from "./words.js";

const COLUMNS_MAX = 8;
const SYSTEM_FIELDS = ["$id", "version", "createdAt", "createdBy", "updatedBy", "updatedAt", "deletedAt", "deletedBy"];

/**
 * @typedef {import("./exact_json.js").Value} Value
 * @typedef {Map<string, Value>} Found
 * @typedef {{place: number, document: Found}} Row a document, and where it stands on its page
 */

export class Documents {
  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {string} namespace
   */
  constructor(gateway, namespace) {
    this.gateway = gateway;
    this.namespace = namespace;
    this.title = namespace;
    /** Where the page before each page began, as far as it was seen. @type {Map<string, string>} */
    this.before = new Map();
    this.query = queryOf({});
    this.asking = new AbortController();

    this.badge = h("span", { class: "badge", hidden: true });
    this.facts = h("p", { class: "facts" });
    this.form = new QueryForm((query) => this.#submit(query));
    this.problem = h("p", { class: "note bad", role: "alert", hidden: true });
    this.told = h("p", { class: "facts", role: "status" });
    this.results = h("div");
    this.first = h("a", { class: "button" }, "First page");
    this.previous = h("a", { class: "button" }, "← Previous");
    this.next = h("a", { class: "button" }, "Next →");
    this.pages = h(
      "nav",
      { class: "pages", "aria-label": "Pages", hidden: true },
      this.first,
      this.previous,
      this.next,
    );
    this.found = h("section", { class: "card", "aria-label": "Documents" }, this.told, this.results, this.pages);
    this.element = h(
      "div",
      { class: "view" },
      h("div", { class: "head" }, h("h1", { class: "name" }, words.name(namespace)), this.badge),
      this.facts,
      this.form.element,
      this.problem,
      this.found,
    );
  }

  /**
   * Whether this can show a place.
   * @param {import("./place.js").Place} place
   */
  shows(place) {
    return place.namespace === this.namespace && place.id === null;
  }

  /**
   * Show a place.
   * @param {import("./place.js").Place} place
   */
  go(place) {
    this.query = queryOf(place.options);
    this.form.show(this.query);
    void this.#ask();
  }

  /** Give up what is being asked. */
  leave() {
    this.asking.abort();
  }

  /**
   * Show what the database says of this namespace.
   * @param {any} data
   */
  update(data) {
    const row = data.namespaces.find((/** @type {any} */ one) => one.name === this.namespace);
    showState(this.badge, row);
    if (row !== undefined) setText(this.facts, [...factsOf(row), ...row.reasons].join("  ·  "));
  }

  /** @param {import("./query.js").Query} query */
  #submit(query) {
    const address = addressOf(this.namespace, null, optionsOf(query));
    if (location.hash === address) {
      this.query = query;
      void this.#ask();
    } else {
      location.hash = address;
    }
  }

  async #ask() {
    this.asking.abort();
    const asking = (this.asking = new AbortController());
    const query = this.query;
    this.#complain(null, "");
    this.found.hidden = false;
    setText(this.told, "Asking …");
    setAttribute(this.results, "aria-busy", "true");
    try {
      const bodies = bodiesOf(query);
      const text = await this.gateway.ask(methodPath(this.namespace, "find"), {
        body: bodies.find,
        signal: asking.signal,
      });
      const page = /** @type {Map<string, Value>} */ (/** @type {any} */ (parse(text)).get("value"));
      this.#show(
        query,
        /** @type {Found[]} */ (page.get("items")),
        /** @type {string | null} */ (page.get("next_cursor")),
      );
      await this.#count(bodies.count, asking.signal);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#refused(error);
    }
  }

  /**
   * @param {string} body
   * @param {AbortSignal} signal
   */
  async #count(body, signal) {
    try {
      const text = await this.gateway.ask(methodPath(this.namespace, "count"), { body, signal });
      if (this.told.textContent) setText(this.told, `${this.told.textContent} of ${words.exactCount(JSON.parse(text).value)}`);
    } catch (error) {
      // The page is there; how many there are in all is an extra, which takes longer and its own permission.
      if (signal.aborted) throw error;
    }
  }

  /** @param {unknown} error */
  #refused(error) {
    this.results.removeAttribute("aria-busy");
    this.found.hidden = true;
    const field = error instanceof WrongField ? error.field : error instanceof Refusal ? fieldOf(error) : null;
    this.#complain(field, explained(error));
  }

  /**
   * @param {string | null} field
   * @param {string} message
   */
  #complain(field, message) {
    const isShown = this.form.complain(field, message);
    this.problem.hidden = isShown || message === "";
    setText(this.problem, isShown ? "" : message);
  }

  /**
   * @param {import("./query.js").Query} query
   * @param {Found[]} items
   * @param {string | null} cursor
   */
  #show(query, items, cursor) {
    this.results.removeAttribute("aria-busy");
    const columns = columnsOf(items);
    const table = new Table({
      label: "Documents",
      empty: query.filter ? "No document matches this filter." : "There are no documents here.",
      keyOf: (/** @type {Row} */ { place }) => String(place),
      columns: columns.map((name) => this.#column(name)),
    });
    fill(this.results, table.element);
    table.update(items.map((document, place) => ({ place, document })));
    setText(this.told, items.length ? words.number(items.length, "document") : "");
    this.#link(query, cursor);
  }

  /**
   * @param {string} name
   * @returns {import("./table.js").Column<Row>}
   */
  #column(name) {
    if (name === "$id") {
      return {
        title: "id",
        text: ({ document }) => words.name(bareId(this.namespace, document)),
        address: ({ document }) => addressOf(this.namespace, bareId(this.namespace, document)),
      };
    }
    return {
      title: name,
      text: ({ document }) => brief(document.get(name)).text,
      tone: ({ document }) => `value is-${brief(document.get(name)).kind}`,
    };
  }

  /**
   * @param {import("./query.js").Query} query
   * @param {string | null} cursor
   */
  #link(query, cursor) {
    if (cursor !== null) this.before.set(cursor, query.cursor);
    const previous = query.cursor ? this.before.get(query.cursor) : undefined;
    /** @param {string} to */
    const at = (to) => addressOf(this.namespace, null, optionsOf({ ...query, cursor: to }));
    link(this.next, cursor === null ? null : at(cursor));
    link(this.previous, previous === undefined ? null : at(previous));
    link(this.first, query.cursor ? at("") : null);
    this.pages.hidden = cursor === null && !query.cursor;
  }
}

/** The form: what is asked, and at each field what is wrong with it. */
class QueryForm {
  /** @param {(query: import("./query.js").Query) => void} onSubmit */
  constructor(onSubmit) {
    this.filter = field("filter", "Filter", "textarea", '{"views": {"$gte": 10}}');
    this.sort = field("sort", "Sort", "input", "-views, title");
    this.fields = field("fields", "Fields", "input", "all");
    const limits = LIMITS.map((limit) => h("option", { value: limit }, limit));
    this.limit = /** @type {HTMLSelectElement} */ (h("select", { id: "limit" }, ...limits));
    this.deleted = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", id: "deleted" }));
    const submit = () => onSubmit(this.#query());
    this.filter.input.addEventListener("keydown", (/** @type {any} */ event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        submit();
      }
    });
    this.filter.input.addEventListener("input", () => this.#grow());
    this.element = h(
      "form",
      {
        class: "card query",
        role: "search",
        "aria-label": "Find documents",
        submit: (event) => {
          event.preventDefault();
          submit();
        },
      },
      this.filter.element,
      this.sort.element,
      this.fields.element,
      h("div", { class: "field narrow" }, h("label", { for: "limit" }, "Per page"), this.limit),
      h("label", { class: "check" }, this.deleted, "Deleted too"),
      h("button", { type: "submit" }, "Find"),
    );
  }

  /** @param {import("./query.js").Query} query */
  show(query) {
    this.filter.input.value = query.filter;
    this.sort.input.value = query.sort;
    this.fields.input.value = query.fields;
    this.limit.value = query.limit;
    this.deleted.checked = query.deleted;
    this.#grow();
  }

  /**
   * Say at a field what is wrong with it, and at the others nothing.
   * @param {string | null} name
   * @param {string} message
   * @returns {boolean} whether there is such a field
   */
  complain(name, message) {
    const all = { filter: this.filter, sort: this.sort, fields: this.fields };
    for (const [each, { input, error }] of Object.entries(all)) {
      const isWrong = each === name && message !== "";
      setText(error, isWrong ? message : "");
      error.hidden = !isWrong;
      setAttribute(input, "aria-invalid", isWrong ? "true" : null);
      if (isWrong) input.focus();
    }
    return name !== null && Object.hasOwn(all, name);
  }

  #grow() {
    const lines = this.filter.input.value.split("\n").length;
    setAttribute(this.filter.input, "rows", String(Math.min(12, Math.max(1, lines))));
  }

  /** @returns {import("./query.js").Query} */
  #query() {
    return {
      filter: this.filter.input.value.trim(),
      sort: this.sort.input.value.trim(),
      fields: this.fields.input.value.trim(),
      limit: this.limit.value,
      deleted: this.deleted.checked,
      cursor: "",
    };
  }
}

/**
 * @param {string} name
 * @param {string} label
 * @param {"input" | "textarea"} tag
 * @param {string} placeholder
 */
function field(name, label, tag, placeholder) {
  const attributes = {
    id: name,
    placeholder,
    spellcheck: "false",
    autocomplete: "off",
    autocapitalize: "off",
    "aria-describedby": `${name}-error`,
  };
  const input = /** @type {HTMLInputElement | HTMLTextAreaElement} */ (
    h(tag, tag === "input" ? { ...attributes, type: "text" } : { ...attributes, rows: 1 })
  );
  const error = h("p", { class: "wrong", id: `${name}-error`, role: "alert", hidden: true });
  return {
    input,
    error,
    element: h("div", { class: `field ${name}` }, h("label", { for: name }, label), input, error),
  };
}

/**
 * Say of a namespace what is known of it.
 * @param {any} row of the data
 * @returns {string[]}
 */
function factsOf(row) {
  const known = /** @type {[any, (value: any) => string][]} */ ([
    [row.documents, (value) => words.number(value, "document")],
    [row.bytes, words.bytes],
    [row.reads_per_s, (value) => `${words.rate(value)} reads/s`],
    [row.writes_per_s, (value) => `${words.rate(value)} writes/s`],
    [row.p99_s, (value) => `p99 ${words.duration(value)}`],
    [row.commit_lag_s, (value) => `commit lag ${words.duration(value)}`],
    [row.flush_lag_s, (value) => `flush lag ${words.duration(value)}`],
  ]);
  return known.filter(([value]) => value !== null && value !== undefined).map(([value, word]) => word(value));
}

/**
 * Return the fields that most documents of a page have, those of the database's own last.
 * @param {Found[]} items
 * @returns {string[]}
 */
function columnsOf(items) {
  /** @type {Map<string, number>} */
  const times = new Map();
  for (const document of items) for (const name of document.keys()) times.set(name, (times.get(name) ?? 0) + 1);
  const own = [...times.keys()].filter((name) => !SYSTEM_FIELDS.includes(name));
  own.sort((one, other) => (times.get(other) ?? 0) - (times.get(one) ?? 0));
  const last = ["version", "updatedAt", "deletedAt"].filter((name) => times.has(name));
  return [...(times.has("$id") ? ["$id"] : []), ...own.slice(0, COLUMNS_MAX), ...last];
}

/**
 * @param {string} namespace
 * @param {Found} document
 */
function bareId(namespace, document) {
  const id = String(document.get("$id") ?? "");
  return id.startsWith(`${namespace}/`) ? id.slice(namespace.length + 1) : id;
}

/**
 * @param {Element} element
 * @param {string | null} address
 */
function link(element, address) {
  setAttribute(element, "href", address);
  setAttribute(element, "aria-disabled", address === null ? "true" : null);
}
