/**
 * The gateway, as the page calls it: report an interaction, look at it.
 *
 * Nothing here retries or waits; every answer becomes one of a few outcomes, and `watch.js` decides.
 *
 * @module gateway
 */

/** How long the gateway may take to answer, in milliseconds. */
const TIMEOUT = 15_000;
/** The longest pause that a `Retry-After` may ask for, in milliseconds. */
const LONGEST_PAUSE = 300_000;

/**
 * @typedef {object} Filed
 * @property {string} recordId
 * @property {string} [source]
 * @property {string} [eventTime]
 * @property {string} [receivedAt]
 * @property {string} state
 * @property {number} [attempts]
 * @property {string} [deliveredAt]
 * @property {string} [lastError]
 */
/**
 * @typedef {object} View
 * @property {string} conversationId
 * @property {string} state
 * @property {string} [acceptedAt]
 * @property {string} [finishedAt]
 * @property {{code?: string, detail?: string}} [reason]
 * @property {Filed[]} [records]
 */
/**
 * @typedef {{kind: "known", view: View} | {kind: "unknown"} | {kind: "unauthorised"}
 *   | {kind: "refused", detail: string} | {kind: "later", detail: string, pause: number | null}} Outcome
 */

/** The two calls, and the token that goes with them. */
export class Gateway {
  /** @param {URL} base The address of the `supportInteraction` collection. */
  constructor(base) {
    this.base = base;
    /** A bearer token, for a gateway that asks for one; kept in memory only. @type {string | null} */
    this.token = null;
  }

  /**
   * @param {string} conversationId
   * @param {object} members
   * @returns {Promise<Outcome>}
   */
  report(conversationId, members) {
    const body = JSON.stringify({ conversationId, ...members });
    return this.#fetch(this.base, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  }

  /** @param {string} conversationId @returns {Promise<Outcome>} */
  look(conversationId) {
    return this.#fetch(new URL(`${this.base.pathname}/${conversationId}`, this.base), {});
  }

  /** @param {URL} url @param {RequestInit} init @returns {Promise<Outcome>} */
  async #fetch(url, init) {
    const headers = new Headers(init.headers);
    headers.set("Accept", "application/json");
    if (this.token !== null) headers.set("Authorization", `Bearer ${this.token}`);
    try {
      const response = await fetch(url, {
        ...init,
        headers,
        cache: "no-store",
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT),
      });
      const body = await response.json().catch(() => null);
      return outcomeOf(response.status, body, response.headers.get("Retry-After"));
    } catch (error) {
      const slow = error instanceof DOMException && error.name === "TimeoutError";
      return { kind: "later", detail: slow ? "The gateway does not answer" : "The gateway cannot be reached", pause: null };
    }
  }
}

/**
 * @param {number} status
 * @param {any} body
 * @param {string | null} retryAfter
 * @returns {Outcome}
 */
export function outcomeOf(status, body, retryAfter) {
  const detail = body?.detail ?? body?.title ?? `The gateway answered ${status}`;
  if (status === 401) return { kind: "unauthorised" };
  if (status === 404) return { kind: "unknown" };
  if (status >= 200 && status < 300) {
    // A proxy's page with status 200 is not an answer of the gateway.
    if (typeof body?.state === "string") return { kind: "known", view: body };
    return { kind: "later", detail: "The answer is not the gateway's", pause: null };
  }
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    const seconds = retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null;
    return { kind: "later", detail, pause: seconds === null ? null : Math.min(seconds * 1000, LONGEST_PAUSE) };
  }
  return { kind: "refused", detail };
}
