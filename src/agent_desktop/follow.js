/**
 * What the gateway knows of the agent's conversations: has each reported, and hears what becomes of it.
 *
 * Among the panels of one agent one leads: it alone reports and listens, and tells the others. All news come over
 * one request that the gateway holds until there is something to tell.
 *
 * A page that is loaded again follows what it reported before without reporting it again: a conversation that is
 * over must not be started anew.
 *
 * Invariant: one report per conversation and one request for news at a time.
 *
 * @module follow
 */

/** @typedef {import("./gateway.js").Gateway} Gateway */
/** @typedef {import("./gateway.js").View} View */
/** @typedef {import("./gateway.js").Failure} Failure */
/**
 * @typedef {object} Followed
 * @property {View | null} view
 * @property {string | null} problem What stands in the way of this one, for the agent to read.
 * @property {string | null} reported The signature of what was last reported.
 * @property {string[]} agents Who reported it, as far as was looked.
 * @property {string | null} since When it was first reported, if that was by this page: what came later is news.
 */
/**
 * @typedef {object} Report
 * @property {string} conversationId
 * @property {string} signature What is reported anew if it differs: the round, a colon, and a digest.
 * @property {object} body
 */
/** @typedef {Followed & {wanted: Report | null, busy: boolean, pause: number, timer: ReturnType<typeof setTimeout> | undefined, lost: boolean}} Entry */

/** Pauses after a failure, in milliseconds. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;
/** How many conversations one request for news may name. */
const MAX_IDS = 50;
/** How many are remembered. */
const MAX_ENTRIES = 100;
/** So that several new conversations start one request. */
const GATHER = 50;

/** Reports and follows. */
export class Follow {
  /** What stands in the way of all, for the agent to read. @type {string | null} */ problem = null;
  /** @type {Map<string, Entry>} */ #entries = new Map();
  #gateway;
  #leading = false;
  /** @type {string | null} */ #cursor = null;
  /** Those that the last answer was about, and those that the present request names. @type {Set<string>} */ #asked = new Set();
  /** @type {string[]} */ #asking = [];
  /** @type {AbortController | null} */ #listening = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #gathering;
  #failures = 0;

  /**
   * @param {Gateway} gateway
   * @param {{changed: (conversationId: string) => void, tell: (message: any) => void}} to `tell` reaches the other panels.
   */
  constructor(gateway, { changed, tell }) {
    this.#gateway = gateway;
    this.changed = changed;
    this.tell = tell;
  }

  /** @param {string} conversationId @returns {Followed | null} */
  of(conversationId) {
    return this.#entries.get(conversationId) ?? null;
  }

  /** From now on this panel reports and listens for all. */
  lead() {
    this.#leading = true;
    this.tell({ kind: "who" });
    for (const entry of this.#entries.values()) this.#report(entry);
    this.#listen();
  }

  /** What an earlier page reported. @param {string} conversationId @param {string} signature */
  resume(conversationId, signature) {
    const entry = this.#entry(conversationId);
    entry.reported ??= signature;
    this.#share(conversationId);
  }

  /**
   * Has it reported, unless just this was reported already.
   * @param {Report} report
   */
  report(report) {
    const entry = this.#entry(report.conversationId);
    const before = entry.wanted?.signature ?? entry.reported;
    entry.wanted = report;
    if (before === report.signature) return;
    // What comes to be known after the end starts nothing again; a contact that is back does.
    if (before !== null && over(entry.view) && roundOf(before) === roundOf(report.signature)) return;
    entry.pause = FIRST_PAUSE;
    this.#share(report.conversationId);
    this.#report(entry);
  }

  /** Nobody wants to know any more. @param {string} conversationId */
  forget(conversationId) {
    const entry = this.#entries.get(conversationId);
    if (!entry) return;
    clearTimeout(entry.timer);
    this.#entries.delete(conversationId);
  }

  /** A token was given, or somebody pressed "try again": no more waiting. */
  retry() {
    this.#failures = 0;
    for (const entry of this.#entries.values()) {
      entry.pause = FIRST_PAUSE;
      this.#report(entry);
    }
    this.#listen(true);
  }

  /** What another panel tells. @param {any} message */
  hear(message) {
    const id = String(message?.conversationId ?? "");
    if (message?.kind === "who") {
      for (const [key, entry] of this.#entries) {
        if (this.#leading) this.#told(entry, key);
        else this.#share(key);
      }
    }
    if (message?.kind === "follow") {
      if (!this.#leading) return;
      const entry = this.#entry(id);
      if (message.reported !== null) entry.reported ??= message.reported;
      if (entry.view) this.#told(entry, id);
      if (message.report) this.report(message.report);
      this.#listen();
    }
    if (message?.kind === "view" && !this.#leading) {
      const entry = this.#entry(id);
      Object.assign(entry, { view: message.view, problem: message.problem, reported: message.reported ?? entry.reported, agents: message.agents });
      this.changed(id);
    }
    if (message?.kind === "problem" && !this.#leading) this.#complain(message.problem);
  }

  /** @param {string} conversationId @returns {Entry} */
  #entry(conversationId) {
    let entry = this.#entries.get(conversationId);
    if (!entry) {
      entry = { view: null, problem: null, reported: null, agents: [], since: null, wanted: null, busy: false, pause: FIRST_PAUSE, timer: undefined, lost: false };
      this.#entries.set(conversationId, entry);
      if (this.#entries.size > MAX_ENTRIES) this.forget([...this.#entries.keys()][0]);
    }
    return entry;
  }

  /** Tells the leader what this panel follows. @param {string} conversationId */
  #share(conversationId) {
    if (this.#leading) return this.#listen();
    const entry = this.#entry(conversationId);
    this.tell({ kind: "follow", conversationId, reported: entry.reported, report: entry.wanted });
  }

  /** @param {Entry} entry */
  async #report(entry) {
    const { wanted } = entry;
    if (!this.#leading || entry.busy || wanted === null || wanted.signature === entry.reported) return;
    clearTimeout(entry.timer);
    entry.busy = true;
    const outcome = await this.#gateway.report(wanted.body);
    entry.busy = false;
    const id = wanted.conversationId;
    if (!this.#entries.has(id)) return;
    if (outcome.kind === "known") {
      entry.reported = wanted.signature;
      if (outcome.created) entry.since = outcome.view.acceptedAt ?? null;
      entry.problem = null;
      entry.lost = false;
      entry.pause = FIRST_PAUSE;
      this.#complain(null);
      // The answer to a report has the state, not the records.
      entry.view = { ...outcome.view, records: outcome.view.records ?? entry.view?.records };
      this.#told(entry, id);
      this.#listen();
      if (entry.wanted !== null && entry.wanted.signature !== entry.reported) this.#report(entry);
      return;
    }
    entry.problem = sentenceFor(outcome);
    if (outcome.kind === "later" || outcome.kind === "unauthorised") {
      const told = outcome.kind === "later" ? (outcome.pause ?? 0) : 0;
      entry.timer = setTimeout(() => this.#report(entry), Math.max(told, jittered(entry.pause)));
      entry.pause = Math.min(entry.pause * 2, LONGEST_PAUSE);
    } else if (entry.wanted !== wanted) {
      this.#report(entry);
    }
    this.#told(entry, id);
  }

  /** Looks at one by itself, for what news do not tell: who reported it. @param {string} conversationId */
  async #look(conversationId) {
    const entry = this.#entries.get(conversationId);
    if (!entry || !this.#leading) return;
    const outcome = await this.#gateway.look(conversationId);
    const reports = outcome.kind === "known" ? outcome.view.interaction?.agentDesktop : undefined;
    if (reports !== null && typeof reports === "object") entry.agents = Object.keys(reports);
  }

  /** Starts the request for news anew, soon, if it does not name all by now. @param {boolean} [anyhow] */
  #listen(anyhow = false) {
    if (!this.#leading) return;
    clearTimeout(this.#gathering);
    this.#gathering = setTimeout(() => {
      if (!anyhow && this.#listening !== null && this.#ids().every((id) => this.#asking.includes(id))) return;
      this.#listening?.abort();
      this.#listening = new AbortController();
      this.#turn(this.#listening.signal);
    }, GATHER);
  }

  /** @param {AbortSignal} signal */
  async #turn(signal) {
    while (!signal.aborted) {
      const ids = this.#ids();
      if (ids.length === 0) break;
      // A cursor says nothing about those that were not asked for with it.
      const since = ids.every((id) => this.#asked.has(id)) ? this.#cursor : null;
      this.#asking = ids;
      const outcome = await this.#gateway.news(ids, since, signal);
      if (signal.aborted) return;
      if (outcome.kind === "news") {
        this.#failures = 0;
        this.#complain(null);
        this.#cursor = outcome.news.cursor || null;
        this.#asked = new Set(ids);
        for (const view of outcome.news.conversations) await this.#news(view);
        // An answer without a cursor, or at once and without news, must not become a storm of questions.
        const pause = outcome.news.pauseMs || (this.#cursor === null ? 2_000 : 0);
        if (pause > 0) await sleep(jittered(pause), signal);
      } else {
        this.#failures += 1;
        if (outcome.kind === "refused" || outcome.kind === "unknown") this.#cursor = null;
        if (this.#failures > 1 || outcome.kind === "later") this.#complain(sentenceFor(outcome));
        const pause = Math.min(FIRST_PAUSE * 2 ** (this.#failures - 1), LONGEST_PAUSE);
        await sleep(Math.max(outcome.kind === "later" ? (outcome.pause ?? 0) : 0, jittered(pause)), signal);
      }
    }
    if (!signal.aborted) this.#listening = null;
  }

  #ids() {
    return [...this.#entries].filter(([, { view, reported, lost }]) => reported !== null && !lost && !settled(view)).map(([id]) => id).slice(-MAX_IDS);
  }

  /** @param {View} view */
  async #news(view) {
    const id = view.conversationId;
    const entry = this.#entries.get(id);
    if (!entry) return;
    if (view.state === "unknown") {
      // The gateway has lost it, or gives this page no right to it. What is not over is reported again.
      entry.lost = true;
      entry.reported = null;
      // What is over is not begun again: its last record may still be on its way.
      if (entry.wanted !== null && !over(entry.view)) this.#report(entry);
      else entry.problem = "This page can no longer see what becomes of it.";
      return this.#told(entry, id);
    }
    const before = entry.view?.records?.length ?? 0;
    entry.view = { ...view, records: view.records ?? entry.view?.records };
    entry.problem = null;
    // Whose a new record is may depend on who else has reported meanwhile.
    if ((view.records?.length ?? 0) > before) await this.#look(id);
    this.#told(entry, id);
  }

  /** @param {Entry} entry @param {string} conversationId */
  #told({ view, problem, reported, agents }, conversationId) {
    this.tell({ kind: "view", conversationId, view, problem, reported, agents });
    this.changed(conversationId);
  }

  /** @param {string | null} problem */
  #complain(problem) {
    if (this.problem === problem) return;
    this.problem = problem;
    if (this.#leading) this.tell({ kind: "problem", problem });
    this.changed("");
  }
}

const OVER = ["finished", "expired", "stopped", "refused"];

/** Nothing more can come, unless it is reported again. @param {View | null} view */
export function over(view) {
  return view !== null && OVER.includes(view.state);
}

/** Nothing at all can change any more. @param {View | null} view */
function settled(view) {
  return over(view) && (view?.records ?? []).every(({ state }) => state === "delivered" || state === "discarded");
}

/** @param {string} signature */
function roundOf(signature) {
  return signature.split(":", 1)[0];
}

/** @param {Failure} failure */
function sentenceFor(failure) {
  if (failure.kind === "unauthorised") return "The gateway gives this page no access.";
  if (failure.kind === "unknown") return "The gateway does not know this conversation.";
  return /[.!?]$/.test(failure.detail) ? failure.detail : `${failure.detail}.`;
}

/** A tenth of chance, so that a floor of agents does not ask in step. @param {number} pause */
function jittered(pause) {
  return pause * (0.9 + Math.random() * 0.2);
}

/** @param {number} pause @param {AbortSignal} signal @returns {Promise<void>} */
function sleep(pause, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, pause);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
