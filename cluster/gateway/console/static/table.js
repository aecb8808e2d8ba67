/** A table whose rows change in place: what has the focus keeps it, and what is selected stays selected. */

import { h, setAttribute, setText } from "./dom.js";
import * as words from "./words.js";

/**
 * @template Row
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: Row) => string} text
 * @property {boolean} [number] whether it is aligned to the right
 * @property {(row: Row) => string} [address] where it leads
 * @property {(row: Row) => string} [tone] a class of the cell
 * @property {(row: Row) => string} [hint] more about it, shown on demand
 */

/**
 * @template Row
 */
export class Table {
  /**
   * @param {object} about
   * @param {string} about.label what it is a table of
   * @param {Column<Row>[]} about.columns the first is the head of its row
   * @param {(row: Row) => string} about.keyOf no two rows have the same
   * @param {string} about.empty what is said where there are no rows
   * @param {string} [about.tone] a class of all of it
   */
  constructor({ label, columns, keyOf, empty, tone = "" }) {
    this.columns = columns;
    this.keyOf = keyOf;
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.body = h("tbody");
    this.nothing = empty;
    this.empty = h("p", { class: "empty" }, words.UNKNOWN);
    const heads = columns.map(({ title, number }) => h("th", { scope: "col", class: number ? "number" : null }, title));
    // Nothing is known yet; that there is nothing would be a claim.
    this.table = h("table", { "aria-label": label, hidden: true }, h("thead", {}, h("tr", {}, ...heads)), this.body);
    this.element = h(
      "div",
      { class: `wide ${tone}`.trim(), role: "region", "aria-label": label },
      this.table,
      this.empty,
    );
  }

  /**
   * Show these rows, in this order.
   * @param {Row[]} rows
   * @param {string} [empty] said instead of the usual where there are none
   */
  update(rows, empty) {
    const focused = /** @type {HTMLElement | null} */ (this.element.ownerDocument.activeElement);
    const kept = new Map(rows.map((row) => [this.keyOf(row), this.rows.get(this.keyOf(row)) ?? this.#made(row)]));
    for (const [key, element] of this.rows) if (!kept.has(key)) element.remove();
    this.rows = kept;
    rows.forEach((row, place) => {
      const element = /** @type {HTMLElement} */ (kept.get(this.keyOf(row)));
      this.#change(element, row);
      if (this.body.children[place] !== element) this.body.insertBefore(element, this.body.children[place] ?? null);
    });
    // Who is moved loses the focus.
    if (focused !== this.element.ownerDocument.activeElement && this.body.contains(focused))
      focused?.focus({ preventScroll: true });
    setText(this.empty, empty ?? this.nothing);
    this.table.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
    // What cannot be scrolled need not be reached by the keyboard.
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = this.element;
    const isScrolled = scrollWidth > clientWidth || scrollHeight > clientHeight;
    setAttribute(this.element, "tabindex", isScrolled ? "0" : null);
  }

  /** @param {Row} row */
  #made(row) {
    const cells = this.columns.map((column, place) => {
      const content = column.address ? h("a", {}) : h("span", {});
      const tag = place === 0 ? "th" : "td";
      return h(tag, { scope: place === 0 ? "row" : null, class: column.number ? "number" : null }, content);
    });
    return h("tr", {}, ...cells);
  }

  /**
   * @param {HTMLElement} element
   * @param {Row} row
   */
  #change(element, row) {
    this.columns.forEach((column, place) => {
      const content = /** @type {HTMLElement} */ (element.children[place].firstElementChild);
      setText(content, column.text(row));
      if (column.address) setAttribute(content, "href", column.address(row));
      if (column.tone) setAttribute(content, "class", column.tone(row) || null);
      if (column.hint) setAttribute(content, "title", column.hint(row) || null);
    });
  }
}
