/**
 * One conversation, from the first sight of it in the desktop until its records are filed.
 *
 *     report ──► look, look, … ──► over
 *       ▲          │
 *       └─unknown, or the desktop shows it anew
 *
 * A page that is loaded again looks first: it must not start a conversation again that is over.
 * It asks politely: soon after something happened, then ever more rarely; as `Retry-After` says; rarely in a window
 * that nobody sees.
 *
 * Invariant: one request at a time, one timer at a time, none after `stop()`.
 *
 * @module watch
 */

/** @typedef {import("./gateway.js").Gateway} Gateway */
/** @typedef {import("./gateway.js").View} View */
/** @typedef {import("./gateway.js").Filed} Filed */

/** Milliseconds between two looks: the first, the longest, and while a record waits for a person. */
export const FIRST_PAUSE = 2_000;
export const LONGEST_PAUSE = 60_000;
export const PERSON_PAUSE = 300_000;
const GROWTH = 1.6;

const OVER = ["finished", "expired", "stopped", "refused"];
const FILED = ["delivered", "discarded"];
const FOR_A_PERSON = ["dead", "held"];

/** Reports one conversation and follows it. */
export class Watch {
  /** @type {View | null} */ view = null;
  /** What stands in the way now, for the agent to read. @type {string | null} */ problem = null;
  /** The gateway wants a token. */ unauthorised = false;
  /** When the gateway last answered. @type {Date | null} */ checkedAt = null;
  #gateway;
  #members;
  #reported;
  #looked = false;
  #pause = FIRST_PAUSE;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #busy = false;
  #again = false;
  #stopped = false;
  /** @type {Set<string>} */ #told = new Set();

  /**
   * @param {object} options
   * @param {Gateway} options.gateway
   * @param {string} options.conversationId
   * @param {object} options.members Goes with the report.
   * @param {boolean} options.reported This tab has reported it before.
   * @param {(watch: Watch) => void} options.changed
   * @param {(watch: Watch, records: Filed[]) => void} options.filed Records that were filed since the first look.
   */
  constructor({ gateway, conversationId, members, reported, changed, filed }) {
    this.conversationId = conversationId;
    this.changed = changed;
    this.filed = filed;
    this.#gateway = gateway;
    this.#members = members;
    this.#reported = reported;
  }

  /** Everything is filed and nothing more can come. */
  get over() {
    return this.view !== null && OVER.includes(this.view.state) && records(this.view).every(({ state }) => FILED.includes(state));
  }

  /** Something happened, or somebody wants to know: look now, then again soon. */
  nudge() {
    if (this.#stopped) return;
    this.#pause = FIRST_PAUSE;
    this.#again = this.#busy;
    if (!this.#busy) this.#turn();
  }

  /** The desktop shows the conversation anew (a re-opened e-mail, a second call leg). */
  renew() {
    this.#reported = false;
    this.nudge();
  }

  /** Ends it. */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #turn() {
    clearTimeout(this.#timer);
    this.#busy = true;
    const next = await this.#step();
    this.#busy = false;
    if (this.#stopped) return;
    this.changed(this);
    if (this.#again) {
      this.#again = false;
      this.#turn();
    } else if (next !== null) {
      // A tenth of chance, so that a floor of agents does not ask in step.
      this.#timer = setTimeout(() => this.#turn(), next * (0.9 + Math.random() * 0.2));
    }
  }

  /** @returns {Promise<number | null>} Milliseconds until the next step; `null` when there is none. */
  async #step() {
    let outcome = this.#reported ? await this.#look() : await this.#report();
    if (outcome.kind === "unknown" && this.#reported) outcome = await this.#report();
    // The first look after a report tells what was filed before, so that it is not told again.
    if (outcome.kind === "known" && !this.#looked) outcome = await this.#look();
    this.unauthorised = outcome.kind === "unauthorised";
    if (outcome.kind !== "later") this.checkedAt = new Date();
    switch (outcome.kind) {
      case "known":
        this.problem = null;
        return this.over ? null : this.#rest();
      case "unknown":
        this.problem = "The gateway does not know this conversation";
        return null;
      case "unauthorised":
        this.problem = "The gateway wants an access token";
        return null;
      case "refused":
        this.problem = outcome.detail;
        return null;
      case "later":
        this.problem = outcome.detail;
        return Math.max(outcome.pause ?? 0, this.#rest());
    }
  }

  async #report() {
    const outcome = await this.#gateway.report(this.conversationId, this.#members);
    if (outcome.kind === "known") {
      this.#reported = true;
      // The answer to a report has the state, not the records.
      this.view = { ...outcome.view, records: outcome.view.records ?? this.view?.records ?? [] };
    }
    return outcome;
  }

  async #look() {
    const outcome = await this.#gateway.look(this.conversationId);
    if (outcome.kind !== "known") return outcome;
    this.view = outcome.view;
    const filed = records(this.view).filter(({ recordId, state }) => state === "delivered" && !this.#told.has(recordId));
    for (const { recordId } of filed) this.#told.add(recordId);
    if (this.#looked && filed.length > 0) this.filed(this, filed);
    this.#looked = true;
    return outcome;
  }

  #rest() {
    const person = this.view !== null && OVER.includes(this.view.state) && records(this.view).some(({ state }) => FOR_A_PERSON.includes(state));
    if (person) return PERSON_PAUSE;
    const pause = this.#pause;
    this.#pause = Math.min(pause * GROWTH, LONGEST_PAUSE);
    return document.hidden ? LONGEST_PAUSE : pause;
  }
}

/** @param {View} view @returns {Filed[]} */
function records(view) {
  return Array.isArray(view.records) ? view.records : [];
}
