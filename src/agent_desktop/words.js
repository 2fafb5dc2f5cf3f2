/**
 * What is said of a contact and of what is on record, in plain words.
 *
 * Nothing here asks, waits or touches the page.
 *
 * @module words
 */

import { WAITING } from "./contacts.js";

/** @typedef {import("./contacts.js").Contact} Contact */
/** @typedef {import("./contacts.js").Stage} Stage */
/** @typedef {import("./follow.js").Followed} Followed */
/** @typedef {import("./gateway.js").Filed} Filed */
/** @typedef {import("./gateway.js").View} View */
/** @typedef {import("./whose.js").Whose} Whose */
/** @typedef {"now"|"good"|"wait"|"bad"} Level */
/** @typedef {{word: string, level: Level, now: string}} Status */

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dateAndClock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** @param {string | number | null | undefined} instant @returns {string} The time of day, with the date if it is not today. */
export function timeOf(instant) {
  const date = new Date(instant ?? NaN);
  if (Number.isNaN(date.getTime())) return "";
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : dateAndClock.format(date);
}

/** @param {number} milliseconds @returns {string} For example "3:12" or "1:03:12". */
export function lengthOf(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** @param {string} media */
export function mediaWord(media) {
  const known = { voice: "Call", chat: "Chat", email: "E-mail", callback: "Callback", sms: "Text message" };
  return Object.hasOwn(known, media) ? known[/** @type {keyof typeof known} */ (media)] : media === "" ? "Contact" : media.charAt(0).toUpperCase() + media.slice(1);
}

/** @param {string} media */
function livingOn(media) {
  return media === "voice" ? "You are on the call." : media === "chat" ? "You are in the chat." : media === "email" ? "You are working on the e-mail." : "You are working on it.";
}

const WORDS = /** @type {Record<Stage, [string, Level]>} */ ({
  new: ["New", "now"], ringing: ["Ringing", "now"], dialing: ["Dialling", "now"], live: ["Live", "now"], held: ["On hold", "now"],
  aside: ["Put aside", "wait"], wrapping: ["After-call work", "wait"], done: ["Over", "wait"], missed: ["Missed", "wait"],
});

/**
 * The state in a word, and what is happening in a sentence or two.
 * @param {Contact} contact @param {Stage} stage @param {Followed | null} followed
 * @param {(record: Filed) => Whose} whose Another agent's record says nothing of how this agent's stands.
 * @returns {Status}
 */
export function statusOf(contact, stage, followed, whose) {
  const [word, level] = WORDS[stage];
  const view = followed?.view ?? null;
  const reason = view?.reason?.detail ? ` ${full(view.reason.detail)}` : "";
  if (stage === "missed") {
    return { word: contact.direction === "OUT" ? "No answer" : "Missed", level, now: contact.direction === "OUT" ? "Nobody answered." : "It was not answered here." };
  }
  if (view?.state === "refused") return { word: "Cannot be filed", level: "bad", now: `Genesys Cloud does not let the gateway watch this conversation.${reason}` };
  if (view?.state === "expired") return { word: "Given up", level: "bad", now: `The gateway watched it for too long without hearing of its end.${reason}` };
  if (WAITING.includes(stage) && !contact.counts) {
    return { word, level, now: stage === "dialing" ? "It is reported when somebody answers." : "It is reported when you answer." };
  }
  if (contact.conversationId === null) {
    const now = contact.counts ? "It carries no conversation id of Genesys Cloud, so nothing can be filed for it." : "";
    return { word, level, now: [stage === "live" ? livingOn(contact.media) : "", now].filter(Boolean).join(" ") };
  }
  if (WAITING.includes(stage)) return { word, level, now: "" };
  const all = view?.records ?? [];
  const records = all.filter((record) => whose(record) !== "other");
  const person = records.some(({ state }) => state === "dead" || state === "held");
  const waiting = records.some(({ state }) => state === "queued" || state === "deferred");
  if (stage === "live" || stage === "held") {
    const now = stage === "held" ? "It is on hold." : livingOn(contact.media);
    return { word, level, now: records.length > 0 ? now : `${now} Your wrap-up is filed when you have finished it.` };
  }
  if (person) return { word: "Not filed", level: "bad", now: "The operators of the gateway are told and have to look at it. Nothing is lost, and there is nothing for you to do." };
  if (waiting) return { word: "Being filed", level: "wait", now: "" };
  if (records.length > 0) return { word: "Filed", level: "good", now: "" };
  if (view === null) return { word, level, now: followed?.problem ? "" : contact.counts ? "It is being reported." : "It was not reported: nothing said that you took it." };
  if (view.state === "finished" && all.length > 0) return { word: "Nothing to file", level: "wait", now: "No wrap-up of yours is on record." };
  if (view.state === "finished") return { word: "Nothing to file", level: "good", now: `No after-call work was due.${reason}` };
  if (view.state === "stopped") return { word: "Not watched", level: "wait", now: `Somebody ended the watching of this conversation.${reason}` };
  if (stage === "aside") return { word, level, now: "It waits in a workbin. Its wrap-up is filed when it is finished." };
  return { word: "Waits for you", level: "wait", now: "Finish the after-call work; your wrap-up is then filed by itself." };
}

/**
 * One record in words.
 * @param {Filed} record @param {Whose} whose
 * @returns {{text: string, level: Level}}
 */
export function wordsForRecord({ state, deliveredAt }, whose) {
  const what = whose === "mine" ? "Your wrap-up" : whose === "other" ? "Another agent's wrap-up" : "A wrap-up";
  switch (state) {
    case "delivered":
      return { text: `${what}: filed${deliveredAt ? ` at ${timeOf(deliveredAt)}` : ""}`, level: "good" };
    case "queued":
      return { text: `${what}: being filed`, level: "wait" };
    case "deferred":
      return { text: `${what}: not filed yet, tried again by itself`, level: "wait" };
    case "dead":
      return { text: `${what}: not filed`, level: "bad" };
    case "held":
      return { text: `${what}: held back by the operators of the gateway`, level: "bad" };
    case "discarded":
      return { text: `${what}: discarded by the operators of the gateway`, level: "wait" };
    default:
      return { text: `${what}: ${state}`, level: "wait" };
  }
}

/** @param {string} text */
export function full(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
