/** What the page remembers: the numbers of the last fifteen minutes, one point for each answer. */

export const SPAN_S = 15 * 60;
const POINTS_MAX = 1000;
/** Seconds that clocks of several processes are apart at the most. */
const CLOCK_S = 60;

/**
 * @typedef {object} Point
 * @property {number} time Unix seconds
 * @property {Record<string, number | null>} values by name; null where there was nothing to measure
 */

export class Timeline {
  constructor() {
    /** @type {Point[]} */
    this.points = [];
  }

  /**
   * Add what an answer says.
   * @param {any} data
   */
  add(data) {
    const { totals } = data;
    const last = this.points.at(-1);
    if (last !== undefined && data.time_s <= last.time) {
      // Another process of the gateway with a slow clock, or the same look again.
      if (last.time - data.time_s < CLOCK_S) return;
      // The clock has been set back.
      this.points = [];
    }
    this.points.push({ time: data.time_s, values: { ...totals } });
    while (this.points.length > POINTS_MAX || this.points[0].time < data.time_s - SPAN_S) this.points.shift();
  }
}
