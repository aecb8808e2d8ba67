/** Numbers as people read them: few digits, and a unit. What is not known is a dash. */

export const UNKNOWN = "–";

const SECOND_UNITS = /** @type {[number, string][]} */ ([
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
]);

const CLOCK_STEPS = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

/**
 * Word a count: 950, 1.53k, 2.1M.
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function count(value) {
  if (value === null || value === undefined) return UNKNOWN;
  for (const [size, letter] of /** @type {[number, string][]} */ ([
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ])) {
    if (value >= size) return `${significant(value / (letter === "k" ? 1e3 : size))}${letter}`;
  }
  return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/**
 * Word a count with all its digits.
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function exactCount(value) {
  return value === null || value === undefined ? UNKNOWN : value.toLocaleString("en-US");
}

/**
 * Word how many there are of something in a second.
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function rate(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value === 0 ? "0" : value < 10 ? significant(value, 2) : count(value);
}

/**
 * Word a part of a whole.
 * @param {number | null | undefined} value 0 to 1
 * @returns {string}
 */
export function percent(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value === 0 ? "0 %" : `${significant(100 * value, 2)} %`;
}

/**
 * Word a size.
 * @param {number | null | undefined} value bytes
 * @returns {string}
 */
export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) {
    value /= 1024;
    place += 1;
  }
  return `${place === 0 ? value : significant(value)} ${units[place]}`;
}

/**
 * Word a duration.
 * @param {number | null | undefined} value seconds
 * @returns {string}
 */
export function duration(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value === 0) return "0 s";
  if (value < 1e-3) return `${significant(value * 1e6)} µs`;
  if (value < 1) return `${significant(value * 1e3)} ms`;
  for (const [size, unit] of SECOND_UNITS) {
    if (value >= size) return `${significant(value / size)} ${unit}`;
  }
  return `${significant(value)} s`;
}

/**
 * Word how long ago something was.
 * @param {number} then Unix seconds
 * @param {number} now Unix seconds
 * @returns {string}
 */
export function ago(then, now) {
  const seconds = Math.max(0, now - then);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  const [size, unit] = SECOND_UNITS.find(([each]) => seconds >= each) ?? [60, "min"];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

/**
 * Word a moment, to the second, in the reader's time zone.
 * @param {string | number} moment ISO 8601, or Unix seconds
 * @returns {string}
 */
export function when(moment) {
  const date = new Date(typeof moment === "number" ? moment * 1000 : moment);
  if (Number.isNaN(date.getTime())) return String(moment);
  const day = `${date.getFullYear()}-${padded(date.getMonth() + 1)}-${padded(date.getDate())}`;
  return `${day} ${padded(date.getHours())}:${padded(date.getMinutes())}:${padded(date.getSeconds())}`;
}

/**
 * Return the least round number that is not below another.
 * @param {number} value above 0
 * @returns {number}
 */
export function roundStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 2.5, 5].find((each) => each * power >= value * 0.999) ?? 10) * power;
}

/**
 * Return the same of seconds, round as on a clock: 15 min, and not 16.7.
 * @param {number} value above 0
 * @returns {number}
 */
export function clockStep(value) {
  if (value <= 5) return roundStep(value);
  return CLOCK_STEPS.find((each) => each >= value * 0.999) ?? 86_400 * roundStep(value / 86_400);
}

/**
 * Word a name, so that it looks like no other: marks that turn the direction of writing are shown, not followed.
 * @param {string} text
 * @returns {string}
 */
export function name(text) {
  return text.replace(
    /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * Word how many of something there are.
 * @param {number} value
 * @param {string} one such as `document`
 * @returns {string}
 */
export function number(value, one) {
  return `${exactCount(value)} ${one}${value === 1 ? "" : "s"}`;
}

/** @param {number} value */
function padded(value) {
  return String(value).padStart(2, "0");
}

/**
 * @param {number} value
 * @param {number} digits
 */
function significant(value, digits = 3) {
  // More digits than that before the point are all told.
  if (value >= 10 ** digits) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  return String(Number(value.toPrecision(digits)));
}
