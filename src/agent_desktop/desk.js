/**
 * The desktop, as the page finds it: who the agent is, what is there, what this page may do.
 *
 * Each thing that the desktop refuses is missed by itself, and said once; the rest goes on. A refusal is not asked
 * for again and again: a desktop counts requests, and one that refuses may be keeping this page in quarantine.
 *
 * A desktop that stops answering is looked for ever more rarely. When it is back this page subscribes anew, for it
 * may have been forgotten, and reads what is there.
 *
 * @module desk
 */

import { listIn } from "./service-client.js";

/** @typedef {import("./service-client.js").ServiceClient} ServiceClient */
/** @typedef {import("./service-client.js").Agent} Agent */
/** @typedef {import("./service-client.js").Interaction} Interaction */
/** @typedef {import("./service-client.js").EventData} EventData */
/** @typedef {"good"|"wait"|"bad"} Level */

/** Pauses before a desktop that does not answer, or refuses everything, is tried again, in milliseconds. */
const FIRST_PAUSE = 15_000;
const LONGEST_PAUSE = 300_000;
/** Pauses before something that was refused is asked for once more; then never. */
const REFUSED_PAUSES = [60_000, 300_000];
/** How often the page makes sure that the desktop is still there. */
const PROBE = 120_000;
/** A window that comes to the front makes sure too, but not more often than this. */
const PROBE_AT_LEAST = 30_000;
const SLOW_DOWN = /rate|limit|quarantine|too many/i;

/** Connects and stays connected. */
export class Desk {
  /** @type {Agent | null} */ agent = null;
  /** @type {Level} */ level = "wait";
  text = "Looking for Agent Desktop…";
  #client;
  /** What the page may call; `null` where the desktop does not say. @type {string[] | null} */ #allowed = null;
  /** How often each optional step was refused. @type {Map<string, number>} */ #refused = new Map();
  /** @type {Set<string>} */ #done = new Set();
  #subscribed = false;
  #away = false;
  #pause = FIRST_PAUSE;
  #probedAt = 0;
  #probing = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {ServiceClient} client
   * @param {object} to
   * @param {() => void} to.changed
   * @param {(agent: Agent | null) => void} to.known The agent, before anything is told of interactions.
   * @param {(list: Interaction[]) => boolean} to.present Says whether there was something unheard of.
   * @param {(data: EventData) => void} to.event
   */
  constructor(client, { changed, known, present, event }) {
    this.#client = client;
    this.changed = changed;
    this.known = known;
    this.present = present;
    this.event = event;
  }

  /** @param {string} method Whether the desktop lets this page call it, as far as is known. */
  may(method) {
    if (this.#allowed === null) return true;
    return this.#allowed.includes(method) || this.#allowed.includes("*") || this.#allowed.includes(`${method.split(".")[0]}.*`);
  }

  /** Whether the desktop said what this page may do. */
  get sure() {
    return this.#allowed !== null;
  }

  /** Whether an optional step was refused. @param {string} method */
  lacks(method) {
    return !this.may(method) || (this.#refused.get(method) ?? 0) > 0;
  }

  /** Finds the desktop. */
  async connect() {
    clearTimeout(this.#timer);
    try {
      if (this.#allowed === null) {
        const services = await this.#step("system.getAllowedServices", () => this.#client.system.getAllowedServices());
        const names = listIn(services, "services").map((entry) => (typeof entry === "string" ? entry : entry?.name)).filter((name) => typeof name === "string");
        if (names.length > 0) this.#allowed = names;
      }
      if (!this.#subscribed) await this.#client.subscribe("interaction", (data) => this.#hear(data));
      else if (this.#away) await this.#client.renew();
      this.#subscribed = true;
      this.#away = false;
      const agent = await this.#step("agent.get", () => this.#client.agent.get());
      if (agent !== undefined || this.agent === null) {
        this.agent = agent ? { ...(agent.agent ?? agent) } : null;
        this.known(this.agent);
      }
      const list = await this.#step("interaction.getInteractions", () => this.#client.interaction.getInteractions());
      if (list !== undefined) this.present(listIn(list, "interactions"));
      this.#pause = FIRST_PAUSE;
      const name = [this.agent?.firstname, this.agent?.lastname].filter(Boolean).join(" ") || this.agent?.username;
      this.#say("good", name ? `Connected as ${name}` : "Connected to Agent Desktop");
      this.#later();
    } catch (reason) {
      this.#failed(reason);
    }
  }

  /** The window came to the front. */
  wake() {
    if (this.#away) this.connect();
    else if (this.#subscribed && Date.now() - this.#probedAt > PROBE_AT_LEAST) this.#probe();
  }

  /** @param {any} reason */
  #failed(reason) {
    const final = ["no-desktop", "foreign-desktop", "unloaded"].includes(reason?.kind);
    if (reason?.kind === "no-desktop") this.#say("bad", "This page belongs into Agent Desktop. Open it from there.");
    else if (reason?.kind === "foreign-desktop") this.#say("bad", `${sentence(reason)} The gateway's configuration names the desktops that may embed it.`);
    else if (reason?.kind === "refused") this.#say("bad", `Agent Desktop refuses this page (${String(reason.message).slice(0, 120)}). It is asked again ${inWords(this.#pause)}.`);
    else this.#say("bad", `Agent Desktop does not answer. It is asked again ${inWords(this.#pause)}.`);
    if (final) return;
    this.#away = this.#subscribed;
    this.#timer = setTimeout(() => this.connect(), this.#pause * (0.9 + Math.random() * 0.2));
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
  }

  /** @param {EventData} data */
  #hear(data) {
    // It is back without having been asked.
    if (this.#away) this.connect();
    this.event(data);
  }

  /**
   * Something that the page can do without.
   * @param {string} method @param {() => Promise<any>} act
   * @returns {Promise<any>} Nothing where it is not to be had.
   */
  async #step(method, act) {
    const tries = this.#refused.get(method) ?? 0;
    if (!this.may(method) || tries > REFUSED_PAUSES.length) return undefined;
    try {
      const answer = await act();
      this.#refused.delete(method);
      this.#done.add(method);
      return answer;
    } catch (reason) {
      const error = /** @type {any} */ (reason);
      if (error?.kind !== "refused") throw reason;
      // Too many requests say nothing about this one; but they are a reason to ask less.
      if (!SLOW_DOWN.test(String(error.message)) || tries < REFUSED_PAUSES.length) this.#refused.set(method, tries + 1);
      return undefined;
    }
  }

  /** The next thing that is due: what was refused once more, else a sign of life. */
  #later() {
    clearTimeout(this.#timer);
    const counts = [...this.#refused].filter(([method, count]) => this.may(method) && count <= REFUSED_PAUSES.length).map(([, count]) => count);
    if (counts.length > 0) this.#timer = setTimeout(() => this.connect(), REFUSED_PAUSES[Math.min(...counts) - 1]);
    else this.#timer = setTimeout(() => this.#probe(), PROBE * (0.9 + Math.random() * 0.2));
  }

  async #probe() {
    if (this.#probing) return;
    this.#probing = true;
    this.#probedAt = Date.now();
    try {
      if (this.#done.has("interaction.getInteractions")) {
        const list = async () => listIn(await this.#client.interaction.getInteractions(), "interactions");
        if (this.present(await list())) {
          await this.#client.renew();
          // What happened until the events flow again is told by nothing else.
          this.present(await list());
        }
      } else if (this.#done.has("agent.get")) await this.#client.agent.get();
      this.#later();
    } catch (reason) {
      const error = /** @type {any} */ (reason);
      // A refusal is an answer: it is there. Asked too often, it is asked less.
      if (error?.kind === "refused") this.#later();
      else this.#failed(reason);
    } finally {
      this.#probing = false;
    }
  }

  /** @param {Level} level @param {string} text */
  #say(level, text) {
    this.level = level;
    this.text = text;
    this.changed();
  }
}

/** @param {any} error */
export function sentence(error) {
  const text = String(error?.message ?? error).slice(0, 200);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** @param {number} pause In milliseconds. */
function inWords(pause) {
  return pause < 90_000 ? `in ${Math.round(pause / 1000)} seconds` : `in ${Math.round(pause / 60_000)} minutes`;
}
