/**
 * The token that goes with the page's calls.
 *
 * With `access = "page"` the page asks the gateway for a token of its own, renews it before it ends, and shows the
 * one before it, so that the gateway lets it read what it reported earlier. With `access = "token"` the agent types
 * one; it is kept in memory only.
 *
 * Invariant: one request for a token at a time, however many calls wait for it.
 *
 * @module access
 */

/** How long the gateway may take to answer, in milliseconds. */
const TIMEOUT = 15_000;
/** A token is renewed when this part of its life is over. */
const RENEW_AT = 0.8;
/** Pauses between two refused requests for a token, in milliseconds. */
const FIRST_PAUSE = 2_000;
const LONGEST_PAUSE = 60_000;

/** @typedef {{token: string, until: number, renewAt: number}} Held Instants in milliseconds since 1970. */
/** @typedef {{getItem: (key: string) => string | null, setItem: (key: string, value: string) => void}} Keep */

/** Gives the token, and says in words why there is none. */
export class Access {
  /** What stands in the way, for the agent to read. @type {string | null} */ problem = null;
  /** The agent has to type a token. */ wanted = false;
  #way;
  #url;
  /** @type {Held | null} */ #held = null;
  /** @type {string | null} */ #typed = null;
  /** @type {Promise<string | null> | null} */ #asking = null;
  #pause = FIRST_PAUSE;
  /** Tokens that were refused since something was accepted. */ #refusals = 0;
  #notBefore = 0;

  /**
   * @param {"page"|"token"} way
   * @param {URL} url Where a token is asked for.
   */
  constructor(way, url) {
    this.#way = way;
    this.#url = url;
    /** Told whenever a new token is held, so that other panels may have it. @type {(held: Held) => void} */
    this.renewed = () => {};
    /** Told whenever `problem` or `wanted` changed. */
    this.changed = () => {};
  }

  /** The page's token, to be handed to the panels beside this one and over a reload. @returns {Held | null} */
  get held() {
    return this.#held;
  }

  /** Takes over a token that this page, or a panel beside it, was given. @param {any} held */
  adopt(held) {
    if (this.#way !== "page" || typeof held?.token !== "string" || !Number.isFinite(held.until)) return;
    if (this.#held === null || held.until > this.#held.until) this.#held = { token: held.token, until: held.until, renewAt: Number(held.renewAt) || 0 };
  }

  /** The agent typed one. @param {string} token @returns {boolean} Whether it may be one. */
  type(token) {
    // What cannot stand in a header is no token: a piece of a mail, or a character of another keyboard.
    if (!/^[\x21-\x7e]+$/.test(token)) {
      this.#say("No token looks like this: it has neither spaces nor special letters.", true);
      return false;
    }
    this.#typed = token;
    this.#say(null, false);
    return true;
  }

  /** @returns {Promise<string | null>} The token to send; `null` to go without. */
  async token() {
    if (this.#way === "token") return this.#typed;
    if (this.#held !== null && Date.now() < this.#held.renewAt) return this.#held.token;
    if (Date.now() < this.#notBefore) return this.#held?.token ?? null;
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  /**
   * The gateway did not accept this token.
   * @param {string | null} token
   * @returns {boolean} Whether it is worth trying once more at once.
   */
  refused(token) {
    if (this.#way === "token") {
      const text = token === null ? "This gateway asks for an access token." : "The gateway does not accept this token: it is wrong, or it is no longer valid.";
      if (token === this.#typed) this.#say(text, true);
      return token !== this.#typed;
    }
    if (this.#held?.token !== token) return true;
    // Expired while the computer slept, or signed before the gateway was started again. A gateway that refuses what
    // it has just given is not asked for more at once.
    this.#held = { ...this.#held, renewAt: 0 };
    this.#refusals += 1;
    if (this.#refusals > 1) this.#wait(undefined);
    return Date.now() >= this.#notBefore;
  }

  /** Something was accepted. */
  accepted() {
    this.#refusals = 0;
    this.#pause = FIRST_PAUSE;
    if (this.problem !== null) this.#say(null, false);
  }

  /** @returns {Promise<string | null>} */
  async #ask() {
    const before = this.#held;
    try {
      let response = await this.#post(before?.token ?? null);
      // A predecessor that is too old or not the gateway's: a fresh start is better than none.
      if (before !== null && (response.status === 401 || response.status === 403)) response = await this.#post(null);
      const body = await response.json().catch(() => null);
      if (response.ok && typeof body?.token === "string") {
        const seconds = Number(body.expiresInSeconds) > 0 ? Number(body.expiresInSeconds) : 60;
        const now = Date.now();
        this.#held = { token: body.token, until: now + seconds * 1000, renewAt: now + seconds * 1000 * RENEW_AT };
        this.renewed(this.#held);
        return this.#held.token;
      }
      const after = Number(response.headers.get("Retry-After"));
      this.#wait(after > 0 ? Math.min(after * 1000, LONGEST_PAUSE) : undefined);
      if (response.status === 404) this.#say("The gateway gives this page no token; it may want one that is typed. Tell whoever runs it.", false);
      else if (response.status === 503) this.#say("Too many pages ask the gateway for access just now. This page tries again by itself.", false);
      else this.#say(`The gateway gives this page no access: ${body?.detail ?? body?.title ?? `it answered ${response.status}`}`, false);
    } catch {
      this.#wait(undefined);
    }
    return before?.token ?? null;
  }

  /** @param {string | null} before */
  #post(before) {
    const headers = new Headers({ Accept: "application/json" });
    if (before !== null) headers.set("Authorization", `Bearer ${before}`);
    return fetch(this.#url, { method: "POST", headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(TIMEOUT) });
  }

  /** @param {number | undefined} pause In milliseconds; else ever longer. */
  #wait(pause) {
    this.#notBefore = Date.now() + (pause ?? this.#pause);
    if (pause === undefined) this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
  }

  /** @param {string | null} problem @param {boolean} wanted */
  #say(problem, wanted) {
    if (this.problem === problem && this.wanted === wanted) return;
    this.problem = problem;
    this.wanted = wanted;
    this.changed();
  }
}
