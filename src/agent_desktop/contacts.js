/**
 * The agent's contacts, made of what the desktop tells of interactions.
 *
 * One contact may be several interactions: a call and its consultations, an e-mail and the reply to it, the same
 * conversation that comes back. What is said here follows from events alone: nothing is asked, shown or sent.
 *
 * | Stage | Meaning |
 * |---|---|
 * | `new`, `ringing`, `dialing` | the agent has not answered, or nobody has |
 * | `live`, `held` | the agent is on it |
 * | `aside` | put into a workbin |
 * | `wrapping` | it is over, and the desktop still shows it: after-call work |
 * | `done` | the desktop has let go of it |
 * | `missed` | it went without having been answered |
 *
 * @module contacts
 */

import { conversationIdIn } from "./settings.js";

/** @typedef {import("./service-client.js").Interaction} Interaction */
/** @typedef {import("./service-client.js").EventData} EventData */
/** @typedef {"new"|"ringing"|"dialing"|"live"|"held"|"aside"|"wrapping"|"done"|"missed"} Stage */
/** @typedef {"new"|"ringing"|"dialing"|"live"|"held"|"aside"|"ended"|"gone"} Phase */
/**
 * @typedef {object} Leg One interaction of the desktop.
 * @property {Interaction} interaction
 * @property {string} media
 * @property {Phase} phase
 * @property {boolean} answered
 * @property {number | null} since When it became live.
 */
/**
 * @typedef {object} Contact
 * @property {number} key
 * @property {Leg[]} legs In the order of arrival; none after a reload of the page, when the desktop has let go of it.
 * @property {string | null} conversationId
 * @property {boolean} counts An event of `report-on` came: it is to be reported.
 * @property {number} round How often it came back after it was over.
 * @property {string} media
 * @property {string} direction `IN`, `OUT` or empty.
 * @property {number | null} startedAt
 * @property {number[]} ends When the agent's part ended, as the desktop told.
 * @property {number | null} missedAt
 * @property {string | null} trouble What the desktop complained about.
 */
/** @typedef {Pick<Contact, "conversationId"|"round"|"media"|"direction"|"startedAt"|"ends"> & {ids: string[]}} Kept What outlives a reload: nothing about the customer. */

/** How many contacts are kept; the oldest that is over goes first. */
export const MAX_CONTACTS = 50;
const MAX_ENDS = 8;

/** @type {Record<string, Phase>} */
const PHASES = {
  RINGING: "ringing", INVITED: "ringing", INVITED_CONFERENCE: "ringing", JOIN_PENDING: "ringing", DIALING: "dialing",
  ESTABLISHED: "live", ACCEPTED: "live", CREATED: "live", PULLED: "live", HELD: "held", IN_WORKBIN: "aside",
  RELEASED: "ended", ENDED: "ended", COMPLETED: "ended", SENT: "ended", CANCELLED: "ended", LEFT_CONFERENCE: "ended",
  TRANSFER_COMPLETED: "ended", REVOKED: "gone", REMOVED: "gone",
};
/** Events that end the agent's part. */
const ENDING = ["RELEASED", "COMPLETED", "ENDED", "REMOVED", "SENT", "LEFT_CONFERENCE", "TRANSFER_COMPLETED"];
/** Any of these in `report-on` also stands for an interaction that was already there when the page was loaded. */
const BEGINNING = ["seen", "ADDED", "RINGING", "INVITED", "DIALING", "CREATED", "ACCEPTED", "ESTABLISHED", "PULLED"];
/** Stages, and phases of legs, in which nobody has answered. @type {readonly string[]} */
export const WAITING = ["new", "ringing", "dialing"];
/** @type {Record<string, string>} */
const TROUBLES = {
  ERROR: "Agent Desktop reports an error with this interaction.",
  JOIN_FAILED: "The chat could not be joined.",
  IN_QUEUE_FAILED: "It could not be put back into the queue.",
  IN_WORKBIN_FAILED: "It could not be put into the workbin.",
  PULL_FAILED: "It could not be taken from the queue.",
  PULL_WORKBIN_FAILED: "It could not be taken from the workbin.",
};

/** All contacts of one agent. */
export class Contacts {
  /** Newest first. @type {Contact[]} */ all = [];
  /** The case that the agent looks at. @type {string | null} */ selectedCase = null;
  /** @type {Map<string, Leg>} By interaction id. */ #legs = new Map();
  /** Media of interactions, over a reload. @type {Record<string, string>} */ #media = {};
  /** Interactions that this page knew before it was loaded again. @type {Set<string>} */ #before = new Set();
  #idKeys;
  #reportOn;
  #now;
  #nextKey = 1;

  /** @param {{conversationIdKeys: string[], reportOn: string[]}} settings @param {() => number} [now] */
  constructor({ conversationIdKeys, reportOn }, now = Date.now) {
    this.#idKeys = conversationIdKeys;
    this.#reportOn = reportOn;
    this.#now = now;
  }

  /** Takes an event of the desktop. @param {EventData} data */
  event(data) {
    const type = String(data?.eventType ?? "");
    if (type === "CASE_SELECTED") this.selectedCase = String(data.selectedCaseId ?? "");
    const { interaction } = data ?? {};
    if (!interaction?.interactionId) return;
    const leg = this.#take(interaction, data.media ?? "");
    const contact = this.#contactOf(leg);
    const before = leg.phase;
    const phase = Object.hasOwn(PHASES, type) ? PHASES[type] : undefined;
    // What is over does not ring again by a late event, unless it is brought anew.
    if (phase !== undefined && !(WAITING.includes(phase) && ["live", "held"].includes(before))) leg.phase = phase;
    else if (before === "gone" && type === "ADDED") leg.phase = "new";
    if (phase === "live" || phase === "held") leg.answered = true;
    if (leg.phase === "live") leg.since ??= this.#now();
    if (before === "gone" && leg.phase !== "gone") this.#returned(contact, leg);
    if (ENDING.includes(type) && before !== "gone" && !leg.interaction.isConsultation) contact.ends = [...contact.ends, this.#now()].slice(-MAX_ENDS);
    if (Object.hasOwn(TROUBLES, type)) contact.trouble = TROUBLES[type];
    else if (phase === "live") contact.trouble = null;
    if (this.#reportOn.includes(type) || this.#reportOn.includes("seen")) contact.counts = true;
    this.#settle(contact);
  }

  /**
   * Takes what the desktop says is there.
   * @param {Interaction[]} list
   * @returns {boolean} Whether there was one that no event had told of.
   */
  present(list) {
    const known = new Set(this.#legs.keys());
    const there = new Set();
    let unheard = false;
    for (const interaction of list) {
      if (!interaction?.interactionId) continue;
      const id = String(interaction.interactionId);
      there.add(id);
      const before = this.#legs.get(id)?.phase;
      const said = stateIn(this.#legs.get(id)?.interaction);
      if (!known.has(id) || before === "gone") unheard = true;
      const leg = this.#take(interaction, "");
      const contact = this.#contactOf(leg);
      if (before === undefined || before === "gone") {
        leg.phase = phaseOf(interaction.state);
        leg.answered = !WAITING.includes(leg.phase);
        if (leg.phase === "live") leg.since = null;
        if (before === "gone") this.#returned(contact, leg);
        const state = stateIn(interaction);
        if (this.#reportOn.includes("seen") || this.#reportOn.includes(state)) contact.counts = true;
        if (leg.answered && this.#reportOn.some((type) => BEGINNING.includes(type))) contact.counts = true;
      } else if (stateIn(interaction) !== said) this.#caughtUp(contact, leg, stateIn(interaction));
      if (interaction.isCaseSelected && interaction.caseId) this.selectedCase = interaction.caseId;
      this.#settle(contact);
    }
    for (const [id, leg] of this.#legs) if (!there.has(id)) leg.phase = "gone";
    for (const contact of this.all) this.#settle(contact);
    return unheard;
  }

  /** Takes a contact out. @param {Contact} contact */
  drop(contact) {
    this.all = this.all.filter((one) => one !== contact);
    for (const { interaction } of contact.legs) this.#legs.delete(String(interaction.interactionId));
  }

  /** What outlives a reload. @returns {{contacts: Kept[], media: Record<string, string>}} */
  keep() {
    const contacts = this.all.filter(({ conversationId, counts }) => counts && conversationId !== null);
    const media = Object.fromEntries([...this.#legs].filter(([, leg]) => leg.media !== "").slice(-MAX_CONTACTS).map(([id, leg]) => [id, leg.media]));
    return {
      contacts: contacts.map((contact) => {
        const { conversationId, round, direction, startedAt, ends } = contact;
        return { conversationId, round, media: mediaOf(contact), direction, startedAt, ends, ids: contact.legs.map(({ interaction }) => String(interaction.interactionId)) };
      }),
      media,
    };
  }

  /** Takes what `keep` gave, before anything else. @param {any} kept */
  restore(kept) {
    this.#media = kept?.media !== null && typeof kept?.media === "object" ? kept.media : {};
    for (const one of Array.isArray(kept?.contacts) ? [...kept.contacts].reverse() : []) {
      if (typeof one?.conversationId !== "string" || this.all.some(({ conversationId }) => conversationId === one.conversationId)) continue;
      for (const id of Array.isArray(one.ids) ? one.ids : []) this.#before.add(String(id));
      Object.assign(this.#add(), {
        conversationId: one.conversationId,
        counts: true,
        round: Number(one.round) || 0,
        media: String(one.media ?? ""),
        direction: String(one.direction ?? ""),
        startedAt: Number.isFinite(one.startedAt) ? one.startedAt : null,
        ends: Array.isArray(one.ends) ? one.ends.filter(Number.isFinite).slice(-MAX_ENDS) : [],
      });
    }
  }

  /** @param {Interaction} interaction @param {string} media @returns {Leg} */
  #take(interaction, media) {
    const id = String(interaction.interactionId);
    let leg = this.#legs.get(id);
    if (!leg) {
      leg = { interaction: { ...interaction }, media: "", phase: "new", answered: false, since: null };
      this.#legs.set(id, leg);
    }
    // A later message may leave members out; attached data is always told as a whole.
    leg.interaction = { ...leg.interaction, ...interaction };
    leg.media = String(media || leg.media || (Object.hasOwn(this.#media, id) ? this.#media[id] : "")).toLowerCase();
    return leg;
  }

  /** The contact that this interaction belongs to, as far as is known by now. @param {Leg} leg @returns {Contact} */
  #contactOf(leg) {
    const present = this.all.find(({ legs }) => legs.includes(leg));
    const { parentInteractionId, caseId, isConsultation, userData } = leg.interaction;
    const id = conversationIdIn(userData, this.#idKeys);
    const others = this.all.filter((one) => one !== present);
    const holding = (/** @type {(leg: Leg) => boolean} */ test) => others.find(({ legs }) => legs.some((one) => one !== leg && test(one)));
    const main =
      (parentInteractionId ? holding((one) => String(one.interaction.interactionId) === String(parentInteractionId)) : undefined) ??
      (isConsultation && caseId ? holding((one) => one.interaction.caseId === caseId && !one.interaction.isConsultation) : undefined) ??
      (id !== null ? others.find(({ conversationId }) => conversationId === id) : undefined);
    if (present && !main) return present;
    const contact = main ?? this.#add();
    if (present && main) {
      main.legs.push(...present.legs);
      main.counts ||= present.counts;
      main.ends = [...present.ends, ...main.ends].sort((a, b) => a - b).slice(-MAX_ENDS);
      this.all = others;
      return main;
    }
    const over = main !== undefined && ["done", "missed", "wrapping"].includes(stageOf(contact));
    contact.legs.push(leg);
    if (over && !isConsultation && !this.#before.has(String(leg.interaction.interactionId))) this.#returned(contact, leg);
    return contact;
  }

  /** It was over, and is back: a re-opened e-mail, the same caller again. @param {Contact} contact @param {Leg} leg */
  #returned(contact, leg) {
    leg.since = leg.phase === "live" ? this.#now() : null;
    leg.answered = ["live", "held"].includes(leg.phase);
    contact.round += 1;
    contact.missedAt = null;
  }

  /**
   * The list is ahead of the events: one was missed. It only ever leads forward, and a state that is none says nothing.
   * When an end that nobody told of was is not known, so it is not among the ends that records are compared with.
   * @param {Contact} contact @param {Leg} leg @param {string} state
   */
  #caughtUp(contact, leg, state) {
    if (["", "UNKNOWN"].includes(state)) return;
    const phase = phaseOf(state);
    const waited = WAITING.includes(leg.phase);
    if (phase === "live" || phase === "held") {
      if (!waited) return;
      leg.answered = true;
      if (phase === "live") leg.since ??= this.#now();
      if (this.#reportOn.some((type) => BEGINNING.includes(type))) contact.counts = true;
    } else if (phase !== "ended" || !(waited || ["live", "held"].includes(leg.phase))) return;
    leg.phase = phase;
    if (this.#reportOn.includes(state)) contact.counts = true;
  }

  /** @param {Contact} contact */
  #settle(contact) {
    const mains = mainLegs(contact);
    const [first] = mains;
    if (first) {
      contact.media = mediaOf(contact);
      const direction = mains.map(({ interaction }) => String(interaction.direction ?? "").toUpperCase()).find((it) => it === "IN" || it === "OUT");
      contact.direction = direction ?? contact.direction;
      const started = Number(first.interaction.startDate);
      contact.startedAt ??= Number.isFinite(started) && started > 0 ? started : this.#now();
      const id = [...mains, ...contact.legs].map(({ interaction }) => conversationIdIn(interaction.userData, this.#idKeys)).find((it) => it !== null);
      contact.conversationId = id ?? contact.conversationId;
    }
    const missed = stageOf(contact) === "missed";
    contact.missedAt = missed ? (contact.missedAt ?? this.#now()) : null;
  }

  /** @returns {Contact} */
  #add() {
    /** @type {Contact} */
    const contact = {
      key: this.#nextKey++, legs: [], conversationId: null, counts: false, round: 0, media: "", direction: "",
      startedAt: null, ends: [], missedAt: null, trouble: null,
    };
    this.all.unshift(contact);
    if (this.all.length > MAX_CONTACTS) {
      const ended = this.all.findLast((one) => one !== contact && ["done", "missed"].includes(stageOf(one)));
      this.drop(ended ?? this.all[this.all.length - 1]);
    }
    return contact;
  }
}

/** Those that are not consultations, unless there is nothing else. @param {Contact} contact @returns {Leg[]} */
export function mainLegs({ legs }) {
  const mains = legs.filter(({ interaction }) => !interaction.isConsultation);
  return mains.length > 0 ? mains : legs;
}

/** The consultations beside the main interaction. @param {Contact} contact @returns {Leg[]} */
export function consultations(contact) {
  const mains = mainLegs(contact);
  return contact.legs.filter((leg) => !mains.includes(leg));
}

/** The interaction that acts apply to: the latest that the desktop still has. @param {Contact} contact @returns {Leg | null} */
export function actingLeg(contact) {
  const mains = mainLegs(contact);
  return mains.findLast(({ phase }) => ["live", "held"].includes(phase)) ?? mains.findLast(({ phase }) => phase !== "gone") ?? null;
}

/** @param {Contact} contact @returns {Stage} */
export function stageOf(contact) {
  const legs = mainLegs(contact);
  const has = (/** @type {Phase} */ phase) => legs.some((leg) => leg.phase === phase);
  if (has("live")) return "live";
  if (has("held")) return "held";
  for (const phase of /** @type {const} */ (["ringing", "dialing", "new"])) if (has(phase)) return phase;
  const answered = legs.length === 0 || legs.some((leg) => leg.answered);
  if (!answered) return "missed";
  if (has("ended")) return "wrapping";
  return has("aside") ? "aside" : "done";
}

/** @param {Contact} contact */
export function mediaOf(contact) {
  const legs = mainLegs(contact);
  const told = legs.find(({ media }) => media !== "")?.media ?? contact.media;
  return told !== "" ? told : legs.some(({ interaction }) => interaction.callUuid) ? "voice" : "";
}

/** @param {Interaction | undefined} interaction */
function stateIn(interaction) {
  return String(interaction?.state ?? "").toUpperCase();
}

/** @param {unknown} state @returns {Phase} */
function phaseOf(state) {
  const text = String(state ?? "").toUpperCase();
  if (/RING|INVIT|PENDING/.test(text)) return "ringing";
  if (text.includes("DIAL")) return "dialing";
  if (/HELD|HOLD/.test(text)) return "held";
  if (text.includes("WORKBIN")) return "aside";
  return /RELEASE|ENDED|COMPLETED|SENT|IDLE/.test(text) ? "ended" : "live";
}
