/** A chart of one or two lines over the last fifteen minutes, drawn as SVG; where there was no answer, there is a gap. */

import { fill, h, setAttribute, setText, svg } from "./dom.js";
import { SPAN_S } from "./timeline.js";
import { UNKNOWN, roundStep } from "./words.js";

const HEIGHT = 150;
const MARGIN = { top: 8, right: 8, bottom: 20, left: 52 };
const LINES_MAX = 4;
const GAP_S = 40;
const LABELS = [15, 10, 5, 0];

/**
 * @typedef {import("./timeline.js").Point} Point
 * @typedef {object} Line
 * @property {string} key of the value
 * @property {string} label
 */

export class Chart {
  /**
   * @param {object} about
   * @param {string} about.title
   * @param {Line[]} about.lines at most two; drawn in the first and the second colour
   * @param {(value: number | null | undefined) => string} about.word words a value
   * @param {number} about.least the smallest top of the scale
   * @param {(value: number) => number} [about.step] rounds the distance of two lines of the scale up
   */
  constructor({ title, lines, word, least, step = roundStep }) {
    this.title = title;
    this.lines = lines;
    this.word = word;
    this.least = least;
    this.step = step;
    /** @type {Point[]} */
    this.points = [];
    this.width = 480;
    /** Place of the pointer, as a time; null where there is none. @type {number | null} */
    this.pointed = null;

    this.now = lines.map(() => h("b", {}, UNKNOWN));
    this.grid = svg("g", { class: "grid" });
    this.areas = lines.map((_, place) => svg("path", { class: `area line-${place}` }));
    this.paths = lines.map((_, place) => svg("path", { class: `path line-${place}` }));
    this.cross = svg("line", { class: "cross", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" });
    this.dots = lines.map((_, place) => svg("circle", { class: `dot line-${place}`, r: 3.5, visibility: "hidden" }));
    this.picture = svg("svg", { role: "img", height: HEIGHT, "aria-label": title });
    this.picture.append(this.grid, ...this.areas.slice(0, 1), ...this.paths, this.cross, ...this.dots);
    this.picture.addEventListener("pointermove", (event) => this.#point(/** @type {PointerEvent} */ (event)));
    this.picture.addEventListener("pointerleave", () => this.#leave());
    this.at = h("span", { class: "at" });

    const legend = lines.map(({ label }, place) =>
      h("span", { class: "key" }, h("i", { class: `swatch line-${place}` }), label, " ", this.now[place]),
    );
    const head = h(
      "figcaption",
      {},
      h("span", { class: "title" }, title),
      this.at,
      h("span", { class: "legend" }, ...legend),
    );
    this.element = h("figure", { class: "chart card" }, head, this.picture);
    new ResizeObserver(() => this.#resize()).observe(this.element);
  }

  /**
   * Show these points.
   * @param {Point[]} points oldest first
   */
  update(points) {
    this.points = points;
    this.#draw();
  }

  #resize() {
    const width = Math.round(this.picture.getBoundingClientRect().width);
    if (width > 0 && width !== this.width) {
      this.width = width;
      this.#draw();
    }
  }

  #draw() {
    setAttribute(this.picture, "viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const end = this.points.at(-1)?.time ?? 0;
    const { top, step } = this.#range();
    /** @param {number} time */
    const x = (time) => MARGIN.left + ((time - end + SPAN_S) / SPAN_S) * (this.width - MARGIN.left - MARGIN.right);
    /** @param {number} value */
    const y = (value) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    this.scale = { x, y, end };
    fill(this.grid, ...this.#gridLines(top, step, x, y, end));
    this.lines.forEach(({ key }, place) => {
      const runs = this.#runs(key);
      // A line of one point is a dot.
      const drawn = runs.map(
        (run) => `M${run.map((one) => `${fixed(x(one.time))} ${fixed(y(one.value))}`).join("L")}${run[1] ? "" : "h0"}`,
      );
      setAttribute(this.paths[place], "d", drawn.join(""));
      const closed = runs.map((run, number) => {
        const [first, last] = [run[0], run[run.length - 1]];
        return `${drawn[number]}L${fixed(x(last.time))} ${fixed(y(0))}L${fixed(x(first.time))} ${fixed(y(0))}Z`;
      });
      setAttribute(this.areas[place], "d", closed.join(""));
    });
    this.#tell();
  }

  /** Say what the lines are at: where the pointer is, or now. */
  #tell() {
    const point = this.pointed === null ? this.points.at(-1) : nearest(this.points, this.pointed);
    const told = this.lines.map(({ key }) => this.word(point?.values[key]));
    told.forEach((text, place) => setText(this.now[place], text));
    const isPointing = this.pointed !== null && point !== undefined && this.scale !== undefined;
    setText(this.at, isPointing ? new Date(point.time * 1000).toLocaleTimeString() : "");
    if (this.pointed === null) {
      const words = this.lines.map(({ label }, place) => `${label} ${told[place]}`).join(", ");
      setAttribute(this.picture, "aria-label", `${this.title}, last 15 minutes; now: ${words}`);
    }
    const shown = isPointing ? "visible" : "hidden";
    setAttribute(this.cross, "visibility", shown);
    this.dots.forEach((dot, place) => {
      const value = point?.values[this.lines[place].key];
      setAttribute(dot, "visibility", value === null || value === undefined ? "hidden" : shown);
      if (!isPointing || value === null || value === undefined || this.scale === undefined) return;
      setAttribute(dot, "cx", fixed(this.scale.x(point.time)));
      setAttribute(dot, "cy", fixed(this.scale.y(value)));
    });
    if (isPointing && this.scale !== undefined) {
      const place = fixed(this.scale.x(point.time));
      setAttribute(this.cross, "x1", place);
      setAttribute(this.cross, "x2", place);
    }
  }

  /** Return the top of the scale and how far its lines are apart: round numbers. */
  #range() {
    const values = this.points.flatMap((point) => this.lines.map(({ key }) => point.values[key] ?? 0));
    const most = Math.max(this.least, ...values);
    const step = this.step(most / LINES_MAX);
    return { top: Math.ceil((most / step) * 0.999) * step, step };
  }

  /**
   * @param {number} top
   * @param {number} step
   * @param {(time: number) => number} x
   * @param {(value: number) => number} y
   * @param {number} end
   */
  #gridLines(top, step, x, y, end) {
    const across = Array.from({ length: Math.round(top / step) + 1 }, (_, line) => {
      const [value, height] = [step * line, fixed(y(step * line))];
      return [
        svg("line", { x1: MARGIN.left, x2: this.width - MARGIN.right, y1: height, y2: height }),
        svg("text", { x: MARGIN.left - 8, y: Number(height) + 4, "text-anchor": "end" }, this.word(value)),
      ];
    });
    const times = LABELS.map((minutes) => {
      const anchor = minutes === 0 ? "end" : minutes === LABELS[0] ? "start" : "middle";
      const text = minutes === 0 ? "now" : `−${minutes} min`;
      return svg("text", { x: fixed(x(end - minutes * 60)), y: HEIGHT - 4, "text-anchor": anchor }, text);
    });
    return [...across.flat(), ...times];
  }

  /**
   * Return the parts of a line that hang together.
   * @param {string} key
   * @returns {{time: number, value: number}[][]}
   */
  #runs(key) {
    /** @type {{time: number, value: number}[][]} */
    const runs = [];
    let before = -Infinity;
    for (const { time, values } of this.points) {
      const value = values[key];
      if (value === null || value === undefined) {
        before = -Infinity;
        continue;
      }
      if (time - before > GAP_S) runs.push([]);
      runs[runs.length - 1].push({ time, value });
      before = time;
    }
    return runs;
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const box = this.picture.getBoundingClientRect();
    const part = (event.clientX - box.left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    this.pointed = (this.points.at(-1)?.time ?? 0) - SPAN_S * (1 - part);
    this.#tell();
  }

  #leave() {
    this.pointed = null;
    this.#tell();
  }
}

/**
 * @param {Point[]} points
 * @param {number} time
 * @returns {Point | undefined}
 */
function nearest(points, time) {
  let [found, distance] = /** @type {[Point | undefined, number]} */ ([undefined, Infinity]);
  for (const point of points) {
    if (Math.abs(point.time - time) < distance) [found, distance] = [point, Math.abs(point.time - time)];
  }
  return found;
}

/** @param {number} value */
function fixed(value) {
  return value.toFixed(1);
}
