/**
 * What outlives a reload of the page, in this tab only, and apart for each agent: which conversations were reported,
 * which user of the platform the agent is, and the page's own token. Nothing about customers, and no token that was
 * typed.
 *
 * A browser that keeps nothing for embedded pages costs this: after a reload what goes on is reported again, which
 * files nothing twice, and what is over is no longer shown.
 *
 * @module keep
 */

/**
 * @typedef {object} Remembered
 * @property {import("./contacts.js").Kept[]} contacts
 * @property {Record<string, string>} media
 * @property {[string, string][]} reported Conversation and signature.
 * @property {[string, number][]} identity
 * @property {any} token
 */

let last = "";

/** @param {string} scope @param {Remembered} remembered */
export function keep(scope, remembered) {
  const text = JSON.stringify(remembered);
  if (text === last) return;
  last = text;
  try {
    sessionStorage.setItem(`agent-desktop ${scope}`, text);
  } catch {
    // Full, or withheld.
  }
}

/** @param {string} scope @returns {Remembered} Complete and of the right types, whatever was kept. */
export function kept(scope) {
  let found = null;
  try {
    found = JSON.parse(sessionStorage.getItem(`agent-desktop ${scope}`) ?? "null");
  } catch {
    // Withheld, or not ours.
  }
  const list = (/** @type {unknown} */ value) => (Array.isArray(value) ? value : []);
  return {
    contacts: list(found?.contacts),
    media: found?.media ?? {},
    reported: list(found?.reported).filter((one) => Array.isArray(one) && one.length === 2 && one.every((part) => typeof part === "string")),
    identity: list(found?.identity),
    token: found?.token ?? null,
  };
}
