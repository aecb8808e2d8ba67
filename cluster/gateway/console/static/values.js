/** Values of documents, in a few words for a cell of a table, and in full as indented JSON. */

import { Num, beginning, stringify } from "./exact_json.js";
import { h } from "./dom.js";
import { bytes, exactCount } from "./words.js";

const CELL_CHARS_MAX = 120;
const PARTS_MAX = 20_000;
/** Characters of one text, and of a document, that are drawn: a browser takes seconds to lay out a line of millions. */
const TEXT_CHARS_MAX = 4_096;
const CHARS_MAX = 262_144;

/** @typedef {import("./exact_json.js").Value} Value */

/**
 * What types of values that JSON lacks look like: the name of their tag, and how they are worded.
 * @type {Record<string, [string, (value: Value) => string]>}
 */
const TAGS = {
  $date: [
    "date",
    (value) =>
      String(value)
        .replace("T", " ")
        .replace(/(\.\d{3})\d*Z$/, "$1Z")
        .replace(/\.000Z$/, "Z"),
  ],
  $day: ["date", String],
  $numberDecimal: ["number", String],
  $numberDouble: ["number", String],
  $integer: ["number", String],
  $uuid: ["id", String],
  $binary: ["null", (value) => (value instanceof Map ? `binary, ${bytes(sizeOf(value))}` : String(value))],
};

/**
 * Say what a value is, in short.
 * @param {Value | undefined} value
 * @returns {{text: string, kind: string}} with a kind for its colour
 */
export function brief(value) {
  if (value === undefined) return { text: "", kind: "absent" };
  if (typeof value === "string") return { text: cut(value), kind: "string" };
  if (value === null || typeof value === "boolean") return { text: String(value), kind: "null" };
  if (value instanceof Num) return { text: value.text, kind: "number" };
  const tag = tagOf(value);
  if (tag !== null) {
    const [kind, word] = TAGS[tag.name];
    return { text: cut(word(tag.value)), kind };
  }
  return { text: cut(beginning(value, CELL_CHARS_MAX)), kind: "json" };
}

/**
 * Return a value as indented JSON, in colours; of a very large one, and of long texts in it, the beginning.
 * @param {Value} value
 * @returns {HTMLElement}
 */
export function jsonView(value) {
  const writer = new Writer();
  writer.write(value, "");
  const all = h("code", {}, ...writer.parts);
  const note = writer.isCut || writer.isFull ? h("p", { class: "note" }, cutNote(value, writer.chars)) : null;
  return h("div", {}, note, h("pre", { class: "source", tabindex: 0, "aria-label": "JSON" }, all));
}

class Writer {
  constructor() {
    /** @type {(Node | string)[]} */
    this.parts = [];
    /** Characters of the parts. */
    this.chars = 0;
    this.isFull = false;
    this.isCut = false;
  }

  /**
   * @param {Value} value
   * @param {string} margin
   */
  write(value, margin) {
    if (this.parts.length > PARTS_MAX || this.chars > CHARS_MAX) {
      this.isFull = true;
      return;
    }
    if (value instanceof Num) this.#put(value.text, "number");
    else if (typeof value === "string") this.#text(value);
    else if (value === null || typeof value === "boolean") this.#put(String(value), "null");
    else if (Array.isArray(value))
      this.#all(
        "[",
        "]",
        margin,
        value.map((one) => ({ one })),
      );
    else
      this.#all(
        "{",
        "}",
        margin,
        [...value].map(([name, one]) => ({ name, one })),
      );
  }

  /**
   * @param {string} open
   * @param {string} close
   * @param {string} margin
   * @param {{name?: string, one: Value}[]} members
   */
  #all(open, close, margin, members) {
    if (members.length === 0) {
      this.parts.push(open + close);
      return;
    }
    const inner = `${margin}  `;
    this.parts.push(open);
    members.forEach(({ name, one }, place) => {
      if (this.isFull) return;
      this.parts.push(`${place ? "," : ""}\n${inner}`);
      if (name !== undefined) {
        this.#put(JSON.stringify(name.slice(0, TEXT_CHARS_MAX)), "name");
        this.parts.push(": ");
      }
      this.write(one, inner);
    });
    this.parts.push(this.isFull ? "" : `\n${margin}${close}`);
  }

  /** @param {string} text */
  #text(text) {
    this.#put(JSON.stringify(text.slice(0, TEXT_CHARS_MAX)), "string");
    if (text.length <= TEXT_CHARS_MAX) return;
    this.isCut = true;
    this.#put(` … ${exactCount(text.length - TEXT_CHARS_MAX)} more characters`, "null");
  }

  /**
   * @param {string} text
   * @param {string} kind
   */
  #put(text, kind) {
    this.chars += text.length;
    this.parts.push(h("span", { class: kind }, text));
  }
}

/**
 * Say how much of a value is not drawn.
 * @param {Value} value
 * @param {number} drawn characters
 */
function cutNote(value, drawn) {
  const left = Math.max(1, new TextEncoder().encode(stringify(value)).length - drawn);
  return `This is the beginning of a large document, which has ${bytes(left)} more; Copy takes all of it.`;
}

/**
 * @param {Value[] | Map<string, Value>} value
 * @returns {{name: string, value: Value} | null}
 */
function tagOf(value) {
  if (Array.isArray(value) || value.size !== 1) return null;
  const [[name, inner]] = value;
  return Object.hasOwn(TAGS, name) ? { name, value: inner } : null;
}

/** @param {Map<string, Value>} binary */
function sizeOf(binary) {
  const text = String(binary.get("base64") ?? "");
  return Math.floor((text.replace(/=+$/, "").length * 3) / 4);
}

/** @param {string} text */
function cut(text) {
  return text.length > CELL_CHARS_MAX ? `${text.slice(0, CELL_CHARS_MAX - 1)}…` : text;
}
