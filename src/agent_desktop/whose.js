/**
 * Whose record it is.
 *
 * The gateway does not know the desktop's agent, and the desktop does not know the platform's user. What ties them
 * together is time: a record whose after-call work began when this desktop's part of the contact ended is this
 * agent's. From such records the page learns which user of the platform the agent is.
 *
 * Where nothing is known for certain the page says so by saying less: "a wrap-up", never "yours".
 *
 * @module whose
 */

/** @typedef {import("./gateway.js").Filed} Filed */
/** @typedef {"mine"|"other"|"open"} Whose `open`: nothing is known for certain. */

/** How far the two clocks may be apart for a record to be this agent's, in milliseconds. */
const NEAR = 5_000;
/** From here on no clock explains it. */
const FAR = 60_000;
/** How many users are counted. */
const MAX_USERS = 20;

/** What was learned about who the agent is on the platform. */
export class Identity {
  /** How often a record of this user fitted. @type {Map<string, number>} */ #fits = new Map();
  /** Records that were counted. @type {Set<string>} */ #counted = new Set();

  /** The platform's user that the agent is, as far as one stands out. @returns {string | null} */
  get userId() {
    const [first, second] = [...this.#fits].sort(([, a], [, b]) => b - a);
    return first && (!second || first[1] > second[1]) ? first[0] : null;
  }

  /** @returns {[string, number][]} */
  keep() {
    return [...this.#fits];
  }

  /** @param {any} kept What `keep` gave. */
  restore(kept) {
    for (const [user, count] of Array.isArray(kept) ? kept : []) if (typeof user === "string" && count > 0) this.#fits.set(user, Number(count));
  }

  /**
   * @param {Filed} record
   * @param {{records: Filed[], ends: number[], live: boolean, agents: string[]}} facts All records of the conversation;
   *   when this agent's part ended; whether it goes on; who reported the conversation.
   * @returns {Whose}
   */
  whose(record, { records, ends, live, agents }) {
    const near = (/** @type {Filed} */ one) => distance(one, ends) <= NEAR;
    const rivals = records.filter((one) => one.recordId !== record.recordId && near(one) && one.userId !== record.userId);
    const fits = near(record) && rivals.length === 0;
    if (fits && record.userId) this.#learn(record.recordId, record.userId);
    const { userId } = this;
    if (userId !== null && record.userId) return record.userId === userId ? "mine" : "other";
    if (fits) return "mine";
    if (agents.length > 1 && ends.length === 0 && live) return "other";
    return agents.length > 1 && distance(record, ends) > FAR && Number.isFinite(distance(record, ends)) ? "other" : "open";
  }

  /** @param {string} recordId @param {string} userId */
  #learn(recordId, userId) {
    if (this.#counted.has(recordId)) return;
    this.#counted.add(recordId);
    this.#fits.set(userId, (this.#fits.get(userId) ?? 0) + 1);
    if (this.#fits.size > MAX_USERS) this.#fits.delete([...this.#fits].sort(([, a], [, b]) => a - b)[0][0]);
  }
}

/** How far the begin of the after-call work is from the nearest of these. @param {Filed} record @param {number[]} ends */
function distance({ eventTime, wrapupDurationMs }, ends) {
  const began = Date.parse(String(eventTime)) - Number(wrapupDurationMs ?? NaN);
  return Math.min(Infinity, ...ends.map((end) => Math.abs(began - end)).filter(Number.isFinite));
}
