/** What is asked of a namespace: the fields of the form, the address, and the request that they stand for. */

import { parse } from "./exact_json.js";

export const LIMITS = ["25", "50", "100"];

/**
 * @typedef {object} Query
 * @property {string} filter JSON text; empty matches everything
 * @property {string} sort such as `-views, title`, or JSON
 * @property {string} fields such as `title, views`, or JSON
 * @property {string} limit documents of a page
 * @property {boolean} deleted whether deleted documents are shown too
 * @property {string} cursor where the page begins; empty for the first
 */

/** What is wrong with a field of the form. */
export class WrongField extends Error {
  /**
   * @param {string} field
   * @param {string} message
   */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/**
 * Read a query from the options of an address.
 * @param {Record<string, string>} options
 * @returns {Query}
 */
export function queryOf(options) {
  return {
    filter: options.filter ?? "",
    sort: options.sort ?? "",
    fields: options.fields ?? "",
    limit: LIMITS.includes(options.limit) ? options.limit : LIMITS[0],
    deleted: options.deleted === "1",
    cursor: options.cursor ?? "",
  };
}

/**
 * Return the options of an address that stand for a query.
 * @param {Query} query
 * @returns {Record<string, string | null>}
 */
export function optionsOf({ filter, sort, fields, limit, deleted, cursor }) {
  return { filter, sort, fields, limit: limit === LIMITS[0] ? null : limit, deleted: deleted ? "1" : null, cursor };
}

/**
 * Return the bodies of the requests for a page and for the number of all that match. What was typed goes out as it is,
 * so that a number keeps its digits.
 * @param {Query} query
 * @returns {{find: string, count: string}}
 * @throws {WrongField}
 */
export function bodiesOf(query) {
  const filter = checked("filter", query.filter.trim());
  const matching = [filter && `"filter": ${filter}`, query.deleted && `"include_deleted": true`].filter(Boolean);
  const sort = list("sort", query.sort.trim());
  const fields = list("fields", query.fields.trim());
  const page = [
    ...matching,
    sort && `"sort": ${sort}`,
    fields && `"fields": ${fields}`,
    query.cursor && `"cursor": ${JSON.stringify(query.cursor)}`,
    `"limit": ${query.limit}`,
  ].filter(Boolean);
  return { find: `{${page.join(", ")}}`, count: `{${matching.join(", ")}}` };
}

/**
 * Return the field of the form that a refusal is about.
 * @param {import("./gateway.js").Refusal} refusal
 * @returns {string | null}
 */
export function fieldOf(refusal) {
  if (refusal.status !== 400) return null;
  const byCode = { INVALID_FILTER: "filter", INVALID_SORT: "sort", INVALID_PROJECTION: "fields" };
  const found = byCode[/** @type {keyof typeof byCode} */ (refusal.code)] ?? refusal.field;
  if (found !== null) return found;
  return refusal.message.startsWith("not extended JSON") ? "filter" : null;
}

/**
 * @param {string} field
 * @param {string} text
 */
function checked(field, text) {
  if (!text) return "";
  try {
    parse(text);
  } catch (error) {
    throw new WrongField(field, /** @type {Error} */ (error).message);
  }
  return text;
}

/**
 * Return a list of names as JSON, or JSON as it is.
 * @param {string} field
 * @param {string} text
 */
function list(field, text) {
  if (/^[[{"]/.test(text)) return checked(field, text);
  const names = text.split(",").map((name) => name.trim());
  return text ? JSON.stringify(names.filter(Boolean)) : "";
}
