/** A table whose rows change in place: what has the focus keeps it, and what is selected stays selected. */

import { h, setAttribute, setText } from "./dom.js";

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
   */
  constructor({ label, columns, keyOf, empty }) {
    this.columns = columns;
    this.keyOf = keyOf;
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.body = h("tbody");
    this.empty = h("p", { class: "empty" }, empty);
    const heads = columns.map(({ title, number }) => h("th", { scope: "col", class: number ? "number" : null }, title));
    this.table = h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, ...heads)), this.body);
    this.element = h(
      "div",
      { class: "wide", tabindex: 0, role: "region", "aria-label": label },
      this.table,
      this.empty,
    );
  }

  /**
   * Show these rows, in this order.
   * @param {Row[]} rows
   */
  update(rows) {
    const kept = new Map();
    rows.forEach((row, place) => {
      const key = this.keyOf(row);
      const element = this.rows.get(key) ?? this.#made(row);
      kept.set(key, element);
      this.#change(element, row);
      // Only what is elsewhere moves: moving takes the focus away.
      if (this.body.children[place] !== element) this.body.insertBefore(element, this.body.children[place] ?? null);
    });
    for (const [key, element] of this.rows) if (!kept.has(key)) element.remove();
    this.rows = kept;
    this.table.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
    // What cannot be scrolled need not be reached by the keyboard.
    setAttribute(this.element, "tabindex", this.element.scrollWidth > this.element.clientWidth ? "0" : null);
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
