/**
 * What the card of a contact shows: who it is, what may be done, which ids it has.
 *
 * @module face
 */

import { WAITING, actingLeg, consultations, mainLegs, stageOf } from "./contacts.js";
import { textIn, valueAt } from "./settings.js";
import { full, lengthOf, mediaWord, statusOf, timeOf, wordsForRecord } from "./words.js";

/** @typedef {import("./contacts.js").Contact} Contact */
/** @typedef {import("./contacts.js").Leg} Leg */
/** @typedef {import("./cards.js").Face} Face */
/** @typedef {import("./cards.js").Recording} Recording */
/** @typedef {import("./follow.js").Followed} Followed */
/** @typedef {import("./gateway.js").Filed} Filed */
/** @typedef {import("./settings.js").Settings} Settings */
/**
 * @typedef {object} Surroundings What a face needs besides its contact.
 * @property {Settings} settings
 * @property {(method: string) => boolean} may
 * @property {string | null} selectedCase
 * @property {Followed | null} followed
 * @property {(record: Filed) => import("./whose.js").Whose} whose
 * @property {import("./effects.js").Written | undefined} written
 * @property {boolean} writes
 * @property {string} said What came of the agent's last act on this card.
 * @property {number} at Milliseconds since 1970.
 */

/** How much of an error is shown; the operators have the rest. */
const MAX_ERROR = 160;
const MAX_NUMBERS = 4;
/** How a number that can be dialled looks in text: it says where it begins. */
const NUMBER = /(?:\+|\b00?|\(0)[\d\s()./-]{7,20}\d/g;
const DATE = /^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}/;

/** @param {Contact} contact @param {Settings} settings */
export function titleOf(contact, { titleKeys }) {
  const legs = mainLegs(contact);
  const named = legs.map(({ interaction }) => textIn(interaction.userData, titleKeys)).find((text) => text !== "");
  const party = legs.flatMap(({ interaction }) => interaction.parties ?? []).map((one) => String(one?.name ?? "").trim()).find((text) => text !== "");
  return (named ?? party ?? partyNumber(contact)) || mediaWord(contact.media);
}

/** The number of the other side, as the desktop tells it. @param {Contact} contact */
function partyNumber(contact) {
  const leg = mainLegs(contact)[0];
  if (!leg) return "";
  const { ani, dnis } = leg.interaction;
  return String((contact.direction === "OUT" ? dnis : ani) ?? "").trim();
}

/**
 * A number as a desktop dials it; empty for what is none. An extension is left out, since it cannot be dialled with
 * the number, and so is the (0) that is not dialled after a country's code.
 * @param {string} text
 */
function dialable(text) {
  const [number, ...parameters] = text.replace(/^\s*(tel|sips?):/i, "").split(/[;?]/);
  // An address of somebody within a host is no telephone number.
  if (/[a-z@]/i.test(number) || parameters.some((one) => one.includes("@"))) return "";
  return number.replace(/^(\s*(?:\+|00)[\d\s./-]*)\(0\)/, "$1").replace(/(?!^\+)\D/g, "");
}

/** @param {Contact} contact @param {Settings} settings @returns {string[]} */
export function numbersIn(contact, { forwardKeys }) {
  const legs = mainLegs(contact);
  const texts = legs.flatMap(({ interaction }) => forwardKeys.map((key) => valueAt(interaction.userData, key)));
  const found = texts.filter((text) => typeof text === "string").flatMap((text) => text.match(NUMBER) ?? []).filter((text) => !DATE.test(text));
  const numbers = [partyNumber(contact), ...found].map(dialable);
  return [...new Set(numbers)].filter((number) => /^\+?\d{3,17}$/.test(number)).slice(0, MAX_NUMBERS);
}

/** @param {Contact} contact @param {Surroundings} around @returns {Face} */
export function faceOf(contact, around) {
  const { settings, may, followed, written } = around;
  const stage = stageOf(contact);
  const status = statusOf(contact, stage, followed, around.whose);
  const leg = actingLeg(contact);
  const live = stage === "live" || stage === "held";
  // Where somebody is to answer, a button beside "answer" that calls the same person is a trap.
  const dials = settings.dial && may("voice.dial") && !WAITING.includes(stage);
  const recording = settings.recording && contact.media === "voice" && live && leg ? recordingOf(leg) : null;
  const acts = recordingActs(recording).filter((act) => may(METHODS[act]));
  const problem = [contact.trouble, followed?.problem, around.said].filter(Boolean).map((text) => full(String(text))).join(" ");
  return {
    title: titleOf(contact, settings),
    word: status.word,
    level: status.level,
    now: status.now,
    meta: metaOf(contact, leg, around.at),
    problem,
    stage,
    state: followed?.view?.state ?? "none",
    current: leg?.interaction.caseId !== undefined && leg.interaction.caseId === around.selectedCase,
    consultations: consultations(contact).map(consultationWords),
    records: (followed?.view?.records ?? []).map((record) => {
      const whose = around.whose(record);
      const ended = timeOf(record.eventTime ?? record.receivedAt);
      const took = Number.isFinite(record.wrapupDurationMs) ? `took ${lengthOf(Number(record.wrapupDurationMs))}` : "";
      return { ...wordsForRecord(record, whose), small: [ended && `finished ${ended}`, took].filter(Boolean).join(", "), state: record.state, whose };
    }),
    write: { state: written?.state ?? "", text: written?.text ?? writeWords(contact, around) },
    recording: acts.length > 0 ? recording : null,
    recordingActs: acts,
    numbers: dials ? numbersIn(contact, settings) : [],
    selectable: leg?.interaction.caseId !== undefined && may("interaction.selectCaseByCaseId"),
    details: detailsOf(contact, followed),
  };
}

/** Which method each button of recording calls. @type {Record<string, string>} */
export const METHODS = {
  "record-start": "voice.startCallRecording",
  "record-pause": "voice.pauseCallRecording",
  "record-resume": "voice.resumeCallRecording",
  "record-stop": "voice.stopCallRecording",
};

/** @param {Leg} leg @returns {Recording} */
function recordingOf({ interaction }) {
  const state = String(interaction.recordingState ?? "").toUpperCase();
  return state === "RECORDING" || state === "PAUSED" ? state : "STOPPED";
}

/** @param {Recording | null} recording */
function recordingActs(recording) {
  if (recording === null) return [];
  return { STOPPED: ["record-start"], RECORDING: ["record-pause", "record-stop"], PAUSED: ["record-resume", "record-stop"] }[recording];
}

/** For example "Call, inbound, since 15:35 (3:12)". @param {Contact} contact @param {Leg | null} leg @param {number} at */
function metaOf(contact, leg, at) {
  const direction = contact.direction === "IN" ? "inbound" : contact.direction === "OUT" ? "outbound" : "";
  const alone = mainLegs(contact).some(({ interaction }) => interaction.isConsultation);
  const length = leg?.since && ["live", "held"].includes(leg.phase) ? lengthOf(at - leg.since) : "";
  return [mediaWord(contact.media), alone ? "consultation" : "", direction, timeOf(contact.startedAt), length].filter(Boolean).join(" · ");
}

/** @param {Leg} leg */
function consultationWords({ interaction, phase }) {
  const name = interaction.parties?.map((one) => one?.name).find(Boolean) ?? interaction.dnis ?? "";
  const words = { new: "begins", ringing: "is ringing", dialing: "is ringing", live: "is going on", held: "is on hold", aside: "is put aside", ended: "is over", gone: "is over" };
  return `Consultation${name ? ` with ${name}` : ""} ${words[phase]}`;
}

/** What will be written, before it is. @param {Contact} contact @param {Surroundings} around */
function writeWords(contact, { writes, settings, followed }) {
  if (!writes || !contact.counts || contact.conversationId === null || actingLeg(contact) === null) return "";
  if ((followed?.view?.records ?? []).some(({ state }) => state === "delivered")) return "";
  return `Once filed, the interaction gets the attached data “${settings.writeBackKey}”: that it is filed, when, and the record's number.`;
}

/** @param {Contact} contact @param {Followed | null} followed @returns {[string, string][]} */
function detailsOf(contact, followed) {
  const { legs, conversationId } = contact;
  const told = (/** @type {"interactionId"|"caseId"|"callUuid"} */ name) => [...new Set(legs.map(({ interaction }) => interaction[name]).filter(Boolean))];
  /** @type {[string, string][]} */
  const details = conversationId === null ? [] : [["Conversation", conversationId]];
  for (const id of told("interactionId")) details.push(["Interaction", String(id)]);
  for (const id of told("caseId")) details.push(["Case", String(id)]);
  for (const id of told("callUuid")) details.push(["Call", String(id)]);
  for (const { recordId, wrapupCode, lastError, state } of followed?.view?.records ?? []) {
    details.push(["Record", recordId]);
    if (wrapupCode) details.push(["Wrap-up code", String(wrapupCode)]);
    if (lastError && state !== "delivered") details.push(["Last error", String(lastError).slice(0, MAX_ERROR)]);
  }
  return details;
}
