/**
 * Where the page is: the part of its address behind the #, so that a view can be shared, and left by the back button.
 *
 *     #/                                            the database
 *     #/posts?filter=...&sort=-views&cursor=...     documents of a namespace
 *     #/posts/hello?seq=12                          a document, as of a change
 */

/**
 * @typedef {object} Place
 * @property {string | null} namespace
 * @property {string | null} id of a document
 * @property {Record<string, string>} options
 */

/**
 * Read an address.
 * @param {string} hash
 * @returns {Place}
 */
export function readPlace(hash) {
  const [path, query] = halves(hash.replace(/^#?\/?/, ""), "?");
  const [namespace, id] = path.split("/", 2).map(decoded);
  /** @type {Record<string, string>} */
  const options = Object.create(null);
  for (const [name, value] of new URLSearchParams(query)) options[name] = value;
  return { namespace: namespace || null, id: id || null, options };
}

/**
 * Return the address of a place; options without a value are left out.
 * @param {string | null} [namespace]
 * @param {string | null} [id]
 * @param {Record<string, string | null | undefined>} [options]
 * @returns {string}
 */
export function addressOf(namespace = null, id = null, options = {}) {
  const path = [namespace, id].filter((part) => part !== null && part !== undefined).map(encodeURIComponent);
  const given = Object.entries(options).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(/** @type {[string, string][]} */ (given)).toString();
  return `#/${path.join("/")}${query ? `?${query}` : ""}`;
}

/**
 * @param {string} text
 * @param {string} sign
 * @returns {[string, string]}
 */
function halves(text, sign) {
  const at = text.indexOf(sign);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
