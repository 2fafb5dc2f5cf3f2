/**
 * Numbers, times and states in words that a tired person reads once.
 *
 * @module words
 */

const number = new Intl.NumberFormat("en-GB");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dateAndClock = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @param {unknown} value @returns {string} A count; a dash where there is none. */
export function count(value) {
  return typeof value === "number" && Number.isFinite(value) ? number.format(value) : "–";
}

/**
 * Text of others: what controls, turns or cannot be seen is escaped, as the command line does it.
 * @param {unknown} text @returns {string}
 */
export function shown(text) {
  const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu;
  return String(text).replace(hidden, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}

/** @param {unknown} seconds @returns {string} For example `42 s`, `5 min`, `3 h 20 min`, `2 d 4 h`. */
export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return hours % 24 === 0 ? `${hours / 24} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** @param {unknown} instant @returns {string} The time of day, with the day if it is not today. */
export function time(instant) {
  const date = instant instanceof Date ? instant : new Date(typeof instant === "string" ? instant : NaN);
  if (Number.isNaN(date.getTime())) return "–";
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : dateAndClock.format(date);
}

/** @param {number} n @param {string} one @param {string} [many] */
export function counted(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** The states of a channel, with how much they should worry. @type {Record<string, [string, string]>} */
export const CHANNEL = {
  live: ["live", "ok"],
  connecting: ["connecting", "warn"],
  creating: ["being created", "warn"],
  handover: ["handing over", "ok"],
  retiring: ["retiring", "ok"],
  lost: ["lost", "bad"],
};

/** The states of the history manager. @type {Record<string, [string, string]>} */
export const HISTORY = {
  untried: ["not tried yet", "ok"],
  open: ["takes records", "ok"],
  opening: ["is back", "ok"],
  failing: ["does not take them", "warn"],
  down: ["does not answer", "warn"],
  closed: ["refuses us", "bad"],
  held: ["asked us to wait", "warn"],
};
