/**
 * JSON without loss: `JSON.parse` makes 9007199254740993 an even number and 1.0 an int, and a document shall be shown
 * as it is. Objects become Maps in the order of the text, numbers keep their digits.
 */

const DEPTH_MAX = 250;
const SPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

/** @type {Record<string, boolean | null>} */
const WORDS = { true: true, false: false, null: null };

/** A number as it was written. */
export class Num {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

/**
 * @typedef {string | boolean | null | Num | any[] | Map<string, any>} Value whose parts are such values, too
 */

/** What is wrong with a text that should be JSON, and where. */
export class NotJson extends Error {
  /**
   * @param {string} expected
   * @param {string} text
   * @param {number} at
   */
  constructor(expected, text, at) {
    const found = at >= text.length ? "the end" : JSON.stringify([...text.slice(at, at + 20)].slice(0, 12).join(""));
    super(`not JSON: expected ${expected} at character ${at + 1}, got ${found}`);
    this.at = at;
  }
}

/**
 * Return the value of a JSON text.
 * @param {string} text
 * @returns {Value}
 * @throws {NotJson}
 */
export function parse(text) {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

/**
 * Return a value as JSON text.
 * @param {Value} value
 * @param {number} [indent] spaces for each level; 0 is one line
 * @param {string} [margin] what lines begin with
 * @returns {string}
 */
export function stringify(value, indent = 0, margin = "") {
  if (value instanceof Num) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const inner = indent ? `${margin}${" ".repeat(indent)}` : "";
  const parts = Array.isArray(value)
    ? value.map((one) => stringify(one, indent, inner))
    : [...value].map(([name, one]) => `${JSON.stringify(name)}:${indent ? " " : ""}${stringify(one, indent, inner)}`);
  if (parts.length === 0) return open + close;
  return indent ? `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${margin}${close}` : open + parts.join(",") + close;
}

/**
 * Return the beginning of a value's JSON text on one line, at no more cost than its length.
 * @param {Value} value
 * @param {number} charsMax
 * @returns {string} a little longer than that at most
 */
export function beginning(value, charsMax) {
  if (value === null || typeof value !== "object" || value instanceof Num) {
    return typeof value === "string" ? JSON.stringify(value.slice(0, charsMax)) : stringify(value);
  }
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  let text = open;
  for (const one of value) {
    if (text.length > charsMax) return text;
    const [name, inner] = Array.isArray(value) ? [null, one] : one;
    text += `${text === open ? "" : ","}${name === null ? "" : `${JSON.stringify(name)}:`}`;
    text += beginning(inner, charsMax - text.length);
  }
  return text + close;
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  /**
   * @param {number} depth
   * @returns {Value}
   */
  value(depth) {
    if (depth > DEPTH_MAX) throw new NotJson(`at most ${DEPTH_MAX} levels`, this.text, this.at);
    this.space();
    const sign = this.text[this.at];
    if (sign === "{") return this.object(depth);
    if (sign === "[") return this.array(depth);
    if (sign === '"') return this.string("a closed string");
    const word = this.take(WORD);
    if (word !== null) return WORDS[word];
    const number = this.take(NUMBER);
    if (number !== null) return new Num(number);
    throw new NotJson("a value", this.text, this.at);
  }

  /**
   * @param {number} depth
   * @returns {Map<string, Value>}
   */
  object(depth) {
    const found = new Map();
    this.at += 1;
    if (this.skip("}")) return found;
    for (;;) {
      this.space();
      const name = this.string("a name in double quotes");
      if (!this.skip(":")) throw new NotJson("a colon", this.text, this.at);
      found.set(name, this.value(depth + 1));
      if (this.skip("}")) return found;
      if (!this.skip(",")) throw new NotJson('"," or "}"', this.text, this.at);
    }
  }

  /**
   * @param {number} depth
   * @returns {Value[]}
   */
  array(depth) {
    /** @type {Value[]} */
    const found = [];
    this.at += 1;
    if (this.skip("]")) return found;
    for (;;) {
      found.push(this.value(depth + 1));
      if (this.skip("]")) return found;
      if (!this.skip(",")) throw new NotJson('"," or "]"', this.text, this.at);
    }
  }

  /**
   * @param {string} expected
   * @returns {string}
   */
  string(expected) {
    // By hand: a pattern for a text of millions of characters exhausts the stack of the browser's matcher.
    let end = this.text[this.at] === '"' ? this.at : -1;
    do end = end < 0 ? -1 : this.text.indexOf('"', end + 1);
    while (end > 0 && this.isEscaped(end));
    if (end < 0) throw new NotJson(expected, this.text, this.at);
    try {
      const found = JSON.parse(this.text.slice(this.at, end + 1));
      this.at = end + 1;
      return found;
    } catch {
      throw new NotJson(expected, this.text, this.at);
    }
  }

  /**
   * Whether a quote belongs to the text that it stands in.
   * @param {number} quote
   * @returns {boolean}
   */
  isEscaped(quote) {
    let before = quote;
    while (this.text[before - 1] === "\\") before -= 1;
    return (quote - before) % 2 === 1;
  }

  end() {
    this.space();
    if (this.at < this.text.length) throw new NotJson("the end", this.text, this.at);
  }

  space() {
    this.take(SPACE);
  }

  /**
   * @param {string} sign
   * @returns {boolean}
   */
  skip(sign) {
    this.space();
    if (this.text[this.at] !== sign) return false;
    this.at += 1;
    return true;
  }

  /**
   * @param {RegExp} pattern
   * @returns {string | null}
   */
  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found === null) return null;
    this.at = pattern.lastIndex;
    return found[0];
  }
}
