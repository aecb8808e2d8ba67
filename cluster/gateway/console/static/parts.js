/** What several views have in common: sections with a heading, and how the state of a namespace is worded. */

import { h, setAttribute, setText } from "./dom.js";

/**
 * Return a part of a page: a heading, what is beside it, and what it is about.
 * @param {string} title
 * @param {Node | null} aside
 * @param {...Node} content
 */
export function section(title, aside, ...content) {
  const id = `about-${title.toLowerCase().replaceAll(" ", "-")}`;
  return h(
    "section",
    { class: "card", "aria-labelledby": id },
    h("div", { class: "head" }, h("h2", { id }, title), aside),
    ...content,
  );
}

/**
 * Say how a namespace is.
 * @param {any} row of the data, about one
 * @returns {string}
 */
export function stateOf(row) {
  return row.status === "healthy" ? row.state : `${row.status}, ${row.state}`;
}

/**
 * Return the classes that give this its colour: what sleeps is well, and quiet.
 * @param {any} row
 * @returns {string}
 */
export function toneOf(row) {
  return `badge ${row.status === "healthy" && row.state !== "open" ? "asleep" : row.status}`;
}

/**
 * Show in a badge how a namespace is.
 * @param {HTMLElement} badge
 * @param {any} row undefined where nothing is known of it
 */
export function showState(badge, row) {
  badge.hidden = row === undefined;
  if (row === undefined) return;
  setText(badge, stateOf(row));
  setAttribute(badge, "class", toneOf(row));
}
