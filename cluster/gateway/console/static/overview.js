/** The database at a glance: how it is, what goes on, and what stands out. */

import { Chart } from "./chart.js";
import { fill, h, setAttribute, setText } from "./dom.js";
import { section, stateOf, toneOf } from "./parts.js";
import { addressOf } from "./place.js";
import { Table } from "./table.js";
import * as words from "./words.js";

/** @type {Record<string, string>} */
const STATUS_WORDS = { healthy: "Healthy", degraded: "Degraded", unhealthy: "Unhealthy" };

const UNLISTED = "The store has not said yet which namespaces there are.";

const TILES = /** @type {[string, string, (data: any) => string][]} */ ([
  [
    "Namespaces",
    "awake of all",
    (data) => `${words.exactCount(data.awake)} / ${words.exactCount(data.namespaces_total)}`,
  ],
  ["Reads", "a second", (data) => words.rate(data.totals.reads_per_s)],
  ["Writes", "a second", (data) => words.rate(data.totals.writes_per_s)],
  ["p50", "half are quicker", (data) => words.duration(data.totals.p50_s)],
  ["p99", "of 100, one is slower", (data) => words.duration(data.totals.p99_s)],
  ["Errors", "of all operations", (data) => words.percent(data.totals.error_rate)],
]);

const CHARTS = [
  {
    title: "Operations a second",
    lines: [
      { key: "reads_per_s", label: "reads" },
      { key: "writes_per_s", label: "writes" },
    ],
    word: words.rate,
    least: 10,
  },
  {
    title: "Latency",
    lines: [
      { key: "p99_s", label: "p99" },
      { key: "p50_s", label: "p50" },
    ],
    word: words.duration,
    step: words.clockStep,
    least: 0.001,
  },
  { title: "Error rate", lines: [{ key: "error_rate", label: "errors" }], word: words.percent, least: 0.01 },
  {
    title: "Lag",
    lines: [
      { key: "flush_lag_s", label: "flush" },
      { key: "commit_lag_s", label: "commit" },
    ],
    word: words.duration,
    step: words.clockStep,
    least: 1,
  },
];

export class Overview {
  constructor() {
    this.title = "Overview";
    this.status = h("span", { class: "badge" }, words.UNKNOWN);
    this.note = h("p", { class: "note", hidden: true });
    this.tiles = TILES.map(([name, meaning]) => ({
      value: h("dd", {}, words.UNKNOWN),
      name: h("dt", {}, name, h("small", {}, meaning)),
    }));
    this.charts = CHARTS.map((about) => new Chart(about));
    this.namespaces = namespaceTable();
    this.more = h("p", { class: "more", hidden: true });
    this.open = openBox();
    this.circuits = new Circuits();
    this.slowest = slowTable();
    this.errors = errorTable();
    this.element = h(
      "div",
      { class: "view" },
      h("div", { class: "head" }, h("h1", {}, "Database"), this.status),
      this.note,
      h("dl", { class: "tiles" }, ...this.tiles.map(({ name, value }) => h("div", { class: "card" }, name, value))),
      h("div", { class: "charts" }, ...this.charts.map((chart) => chart.element)),
      section("Namespaces", this.open, this.namespaces.element, this.more),
      section("Recent errors", h("small", {}, "last hour, alike ones together"), this.errors.element),
      h(
        "div",
        { class: "halves" },
        section("Slowest operations", h("small", {}, "last 10 to 20 minutes"), this.slowest.element),
        this.circuits.element,
      ),
    );
  }

  /**
   * Show an answer.
   * @param {any} data
   * @param {import("./timeline.js").Timeline} timeline
   */
  update(data, timeline) {
    setText(this.status, STATUS_WORDS[data.status] ?? data.status);
    setAttribute(this.status, "class", `badge ${data.status}`);
    this.note.hidden = !data.problem;
    setText(this.note, problemWords(data));
    setAttribute(this.note, "class", data.status === "unhealthy" ? "note bad" : "note");
    const unasked = data.problem && data.awake === 0 ? "Not known: no owner could be asked." : undefined;
    TILES.forEach(([, , text], place) => setText(this.tiles[place].value, text(data)));
    this.charts.forEach((chart) => chart.update(timeline.points));
    this.namespaces.update(data.namespaces, data.listed ? unasked : UNLISTED);
    const left = data.namespaces_total - data.namespaces.length;
    this.more.hidden = data.namespaces.length === 0 || (left <= 0 && data.listed);
    setText(this.more, moreWords(data, left));
    this.circuits.update(data, unasked);
    this.slowest.update(data.slowest, unasked);
    this.errors.update(
      data.errors.map((/** @type {any} */ one) => ({ ...one, now: data.time_s })),
      unasked,
    );
  }
}

/** @param {any} data */
function problemWords({ problem, awake }) {
  if (!problem) return "";
  return awake
    ? `The owners could not be listed: ${problem}. Shown are those that this gateway knows.`
    : `The owners cannot be asked: ${problem}`;
}

/**
 * @param {any} data
 * @param {number} left
 */
function moreWords(data, left) {
  if (!data.listed) return `${UNLISTED} These are the ones in use.`;
  const [shown, total] = [data.namespaces.length, data.namespaces_total].map(words.exactCount);
  return left > 0
    ? `Shown are ${shown} of ${total}: those in trouble, then the busiest, then the largest. Open any other by its name.`
    : "";
}

function openBox() {
  const input = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "text",
      placeholder: "Open by name",
      "aria-label": "Open a namespace by its name",
      spellcheck: "false",
      autocomplete: "off",
      maxlength: 255,
    })
  );
  return h(
    "form",
    {
      class: "inline",
      submit: (event) => {
        event.preventDefault();
        if (input.value.trim()) location.hash = addressOf(input.value.trim());
      },
    },
    input,
    h("button", { type: "submit", class: "quiet" }, "Open"),
  );
}

function namespaceTable() {
  const number = true;
  return new Table({
    label: "Namespaces",
    tone: "tall",
    empty: "No namespaces yet, or none that you may read. The first document that is written makes one.",
    keyOf: (/** @type {any} */ row) => row.name,
    columns: [
      { title: "Namespace", text: (row) => words.name(row.name), address: (row) => addressOf(row.name) },
      {
        title: "State",
        text: stateOf,
        tone: toneOf,
        hint: (row) => row.reasons.join("\n"),
      },
      { title: "Documents", number, text: (row) => words.exactCount(row.documents) },
      { title: "Size", number, text: (row) => words.bytes(row.bytes), hint: (row) => files(row) },
      { title: "Reads/s", number, text: (row) => words.rate(row.reads_per_s) },
      { title: "Writes/s", number, text: (row) => words.rate(row.writes_per_s) },
      { title: "p99", number, text: (row) => words.duration(row.p99_s) },
      {
        title: "Errors",
        number,
        text: (row) => words.percent(row.error_rate),
        tone: (row) => (row.error_rate > 0 ? "bad" : ""),
      },
      { title: "Commit lag", number, text: (row) => words.duration(row.commit_lag_s) },
      { title: "Flush lag", number, text: (row) => words.duration(row.flush_lag_s) },
      {
        title: "Owner",
        text: (row) => (row.host ? `${row.host} · ${row.pid}` : words.UNKNOWN),
        hint: (row) => owner(row),
      },
    ],
  });
}

/** @param {any} row */
function files(row) {
  return row.files === undefined
    ? ""
    : `${words.exactCount(row.files)} data files; change ${words.exactCount(row.seq)} is the last`;
}

/** @param {any} row */
function owner(row) {
  return row.host
    ? `process ${row.pid} on ${row.host}, for ${words.duration(row.age_s)}${row.node ? `\nRay node ${row.node}` : ""}`
    : "";
}

function slowTable() {
  return new Table({
    label: "Slowest operations",
    empty: "Nothing has been asked for some minutes.",
    keyOf: (/** @type {any} */ one) => `${one.time_s} ${one.namespace} ${one.duration_s}`,
    columns: [
      { title: "Took", text: (one) => words.duration(one.duration_s) },
      {
        title: "Operation",
        text: (one) => (one.count > 1 ? `${one.operation} × ${words.exactCount(one.count)}` : one.operation),
      },
      { title: "Namespace", text: (one) => words.name(one.namespace), address: (one) => addressOf(one.namespace) },
      { title: "When", text: (one) => words.when(one.time_s).slice(-8) },
      { title: "Request", text: (one) => one.request_id ?? words.UNKNOWN, tone: () => "id" },
      { title: "Trace", text: (one) => one.trace_id ?? words.UNKNOWN, tone: () => "id" },
    ],
  });
}

function errorTable() {
  return new Table({
    label: "Recent errors",
    empty: "Nothing has failed within the last hour.",
    keyOf: (/** @type {any} */ one) => `${one.seen_by} ${one.namespace} ${one.operation} ${one.code}`,
    columns: [
      { title: "Error", text: (one) => one.code, tone: () => "code" },
      { title: "Times", number: true, text: (one) => words.exactCount(one.count) },
      { title: "Last", text: (one) => words.ago(one.time_s, one.now), hint: (one) => words.when(one.time_s) },
      { title: "Where", text: (one) => [one.operation, words.name(one.namespace)].filter(Boolean).join(" · ") },
      {
        title: "Message",
        text: (one) => one.message ?? "(needs the permission find)",
        tone: () => "message",
        hint: (one) => one.message ?? "",
      },
      { title: "Request", text: (one) => one.request_id ?? words.UNKNOWN, tone: () => "id" },
      { title: "Seen by", text: (one) => one.seen_by },
    ],
  });
}

/** The circuits to the store: how many are closed, those that are not, and what changed. */
class Circuits {
  constructor() {
    this.counts = h("small");
    this.troubled = new Table({
      label: "Circuits that are not closed",
      empty: "All circuits to the store are closed: calls go through.",
      keyOf: (/** @type {any} */ one) => `${one.namespace} ${one.circuit}`,
      columns: [
        { title: "Circuit", text: (one) => words.name(one.circuit) },
        {
          title: "State",
          text: (one) => stateWords(one.state),
          tone: (one) => `badge ${one.state === "open" ? "unhealthy" : "degraded"}`,
        },
        { title: "Failures", number: true, text: (one) => words.exactCount(one.failures) },
        { title: "Success", number: true, text: (one) => words.percent(one.success_rate) },
        { title: "Refused", number: true, text: (one) => words.exactCount(one.rejected) },
        { title: "Tries again in", number: true, text: (one) => words.duration(one.retry_after_s) },
      ],
    });
    this.changes = h("ul", { class: "changes" });
    this.told = "";
    this.element = section("Circuits", this.counts, this.troubled.element, this.changes);
  }

  /**
   * @param {any} data
   * @param {string | undefined} unasked
   */
  update({ circuits }, unasked) {
    const { closed, half_open: half, open } = circuits.counts;
    setText(
      this.counts,
      `${words.exactCount(closed)} closed, ${words.exactCount(half)} half open, ${words.exactCount(open)} open`,
    );
    this.troubled.update(circuits.troubled, unasked ?? (closed ? undefined : "No circuits that you may see."));
    const told = JSON.stringify(circuits.changes);
    if (told === this.told) return;
    this.told = told;
    fill(
      this.changes,
      ...circuits.changes.map((/** @type {any} */ one) =>
        h(
          "li",
          {},
          h("time", {}, words.when(one.time_s)),
          ` ${words.name(one.circuit)}: ${stateWords(one.before)} → `,
          h("b", {}, stateWords(one.after)),
          h("span", {}, one.reason),
        ),
      ),
    );
  }
}

/** @param {string} state of a circuit */
function stateWords(state) {
  return state.replace("_", " ");
}
