/** Asking for the state of the database every two seconds, less often while nobody looks or nothing answers. */

import { NoAnswer, Refusal } from "./gateway.js";

export const EVERY_S = 2;
const HIDDEN_S = 15;
const PAUSE_MAX_S = 10;

/**
 * @typedef {"first" | "live" | "lost" | "unknown" | "refused"} Standing
 *   how it stands: no answer yet; the last one came; none comes; who is asking has to be proved; it was refused.
 */

export class Poll {
  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {object} told
   * @param {(data: any) => void} told.onData
   * @param {(standing: Standing, error: Error | null) => void} told.onStanding
   */
  constructor(gateway, { onData, onStanding }) {
    this.gateway = gateway;
    this.onData = onData;
    this.onStanding = onStanding;
    this.failures = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.asking = false;
  }

  /** Begin, and ask at once whenever there is a reason to. */
  start() {
    document.addEventListener("visibilitychange", () => document.hidden || this.now());
    addEventListener("online", () => this.now());
    this.now();
  }

  /** Ask now. */
  now() {
    clearTimeout(this.timer);
    if (!this.asking) void this.#ask();
  }

  async #ask() {
    this.asking = true;
    let pauseS = document.hidden ? HIDDEN_S : EVERY_S;
    let data = null;
    try {
      data = read(await this.gateway.ask("console/data"));
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      pauseS = Math.max(pauseS, Math.min(PAUSE_MAX_S, EVERY_S * 2 ** (this.failures - 2)));
      if (error instanceof Refusal && error.retryS !== null) pauseS = Math.max(pauseS, error.retryS);
      // Nothing changes until somebody proves who he is, and that asks at once.
      if (error instanceof Refusal && error.status === 401) pauseS = Infinity;
      this.onStanding(standingOf(error), /** @type {Error} */ (error));
    }
    this.asking = false;
    if (Number.isFinite(pauseS)) this.timer = setTimeout(() => this.now(), pauseS * 1000);
    if (data === null) return;
    this.onStanding("live", null);
    this.onData(data);
  }
}

/**
 * @param {string} text
 * @returns {any}
 */
function read(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new NoAnswer("what answers at this address is not the gateway", { cause: error });
  }
}

/**
 * @param {unknown} error
 * @returns {Standing}
 */
function standingOf(error) {
  if (error instanceof Refusal) return error.status === 401 ? "unknown" : error.status < 500 ? "refused" : "lost";
  return "lost";
}
