/** Asking the gateway, with the proof of who is asking; reading only. */

const PROOF = "parquedb.console.proof";
const TIMEOUT_MS = 35_000;

/**
 * A refusal of the gateway, or of something in front of it.
 */
export class Refusal extends Error {
  /**
   * @param {number} status of HTTP
   * @param {any} problem problem details (RFC 9457), as far as there are any
   * @param {number | null} retryS seconds to wait, where the answer says so
   */
  constructor(status, problem, retryS) {
    super(String(problem?.detail ?? `the gateway answered with status ${status}`));
    this.status = status;
    this.code = String(problem?.code ?? "");
    this.isPermission = Boolean(problem?.error?.context?.operation);
    this.field = problem?.error?.context?.field ? String(problem.error.context.field) : null;
    this.requestId = problem?.request_id ? String(problem.request_id) : null;
    this.retryS = retryS;
  }
}

/** There was no answer. */
export class NoAnswer extends Error {}

/**
 * The proof of who is asking: kept for this tab alone, until it is closed. It is never part of an address.
 */
export class Proof {
  /** @returns {string | null} */
  get() {
    try {
      return sessionStorage.getItem(PROOF);
    } catch {
      return this.kept ?? null;
    }
  }

  /** @param {string | null} proof */
  set(proof) {
    this.kept = proof;
    try {
      if (proof === null) sessionStorage.removeItem(PROOF);
      else sessionStorage.setItem(PROOF, proof);
    } catch {
      // Where the browser keeps nothing, it lasts until the page is left.
    }
  }
}

export class Gateway {
  /** @param {Proof} proof */
  constructor(proof) {
    this.proof = proof;
    /** Called when who is asking has to be proved first. @type {(refusal: Refusal) => void} */
    this.onUnknown = () => {};
  }

  /**
   * Ask for something by its path, which is relative to where the console is.
   * @param {string} path
   * @param {object} [options]
   * @param {unknown} [options.body] what is sent as JSON; without one it is a GET
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<string>} the text of the answer
   * @throws {Refusal | NoAnswer | DOMException} the latter when it was given up
   */
  async ask(path, { body, signal } = {}) {
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    const { answer, text } = await this.#sent(path, body, signal ? AbortSignal.any([signal, limit]) : limit, signal);
    if (answer.ok) return text;
    const refusal = new Refusal(answer.status, plain(text), seconds(answer.headers.get("Retry-After")));
    if (refusal.status === 401) this.onUnknown(refusal);
    throw refusal;
  }

  /**
   * @param {string} path
   * @param {unknown} body
   * @param {AbortSignal} until
   * @param {AbortSignal | undefined} given
   */
  async #sent(path, body, until, given) {
    const proof = this.proof.get();
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (proof !== null) headers.Authorization = `Bearer ${proof}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      const answer = await fetch(path, {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: typeof body === "string" || body === undefined ? body : JSON.stringify(body),
        signal: until,
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
      return { answer, text: await answer.text() };
    } catch (error) {
      given?.throwIfAborted();
      throw new NoAnswer("the gateway does not answer", { cause: error });
    }
  }
}

/**
 * Return the path of a method of a namespace.
 * @param {string} namespace
 * @param {string} method
 */
export function methodPath(namespace, method) {
  return `v1/${encodeURIComponent(namespace)}/${method}`;
}

/**
 * Say what a refusal means to who sees it.
 * @param {unknown} error
 * @returns {string}
 */
export function explained(error) {
  if (!(error instanceof Refusal)) return error instanceof Error ? error.message : String(error);
  const id = error.requestId === null ? "" : ` (request ${error.requestId})`;
  switch (error.status) {
    case 401:
      return `Sign in to see this: ${error.message}.`;
    case 403:
      return error.isPermission
        ? `Your token or key does not allow this: ${error.message}. Whoever issued it can add the permission.`
        : `Not allowed: ${error.message}.`;
    case 429:
      return `Too many requests: ${error.message}. It goes on by itself.`;
    default:
      return error.status >= 500 ? `${error.code || error.status}: ${error.message}${id}` : error.message;
  }
}

/** @param {string} text */
function plain(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {string | null} text */
function seconds(text) {
  const found = Number(text);
  return text !== null && Number.isFinite(found) ? found : null;
}
