/**
 * What the page may be told, and by whom.
 *
 * `config.json` beside the page comes from the gateway and is the only source of the desktop's origins: the
 * address of the page is chosen by whoever opens it, so it must not name whom to trust. The query may set the rest:
 *
 * | `config.json` | Query | Default | Meaning |
 * |---|---|---|---|
 * | `desktopOrigins` | | `[]` | origins of the desktops that may embed the page and talk to it |
 * | `conversationIdKey` | `conversation-id-key` | `conversationId` | key of the attached data that holds the Genesys Cloud conversation id; dots lead into nested objects; letter case does not count |
 * | `writeBack` | `write-back` | `toast` | `toast`, `attached-data`, `both` or `none`: how the desktop learns what was filed |
 * | `writeBackKey` | `write-back-key` | `communicationRecord` | key of the attached data that the result is written to |
 * | `forwardKeys` | | `[]` | keys of the attached data that are reported with the interaction |
 * | `timeoutMs` | | `10000` | how long the desktop may take to answer |
 *
 * Invariant: whatever comes in, what goes out is complete and has the right types.
 *
 * @module settings
 */

/**
 * @typedef {object} Settings
 * @property {string[]} desktopOrigins
 * @property {string} conversationIdKey
 * @property {"toast"|"attached-data"|"both"|"none"} writeBack
 * @property {string} writeBackKey
 * @property {string[]} forwardKeys
 * @property {number} timeoutMs
 */

/** @type {Settings} */
const DEFAULTS = {
  desktopOrigins: [],
  conversationIdKey: "conversationId",
  writeBack: "toast",
  writeBackKey: "communicationRecord",
  forwardKeys: [],
  timeoutMs: 10_000,
};
/** @type {Settings["writeBack"][]} */
const WRITE_BACK = ["toast", "attached-data", "both", "none"];
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * Makes settings of what the gateway and the address say.
 * @param {any} config The parsed `config.json`, or anything.
 * @param {URLSearchParams} query
 * @returns {Settings}
 */
export function settingsFrom(config, query) {
  const told = config !== null && typeof config === "object" ? config : {};
  const text = (/** @type {unknown[]} */ ...values) => String(values.find((value) => typeof value === "string" && value !== "") ?? "");
  const list = (/** @type {unknown} */ value) =>
    Array.isArray(value) ? value.filter((entry) => typeof entry === "string" && entry !== "") : [];
  const asked = text(query.get("write-back"), told.writeBack);
  return {
    desktopOrigins: list(told.desktopOrigins).filter((origin) => URL.canParse(origin)),
    conversationIdKey: text(query.get("conversation-id-key"), told.conversationIdKey, DEFAULTS.conversationIdKey),
    writeBack: WRITE_BACK.find((way) => way === asked) ?? DEFAULTS.writeBack,
    writeBackKey: text(query.get("write-back-key"), told.writeBackKey, DEFAULTS.writeBackKey),
    forwardKeys: list(told.forwardKeys),
    timeoutMs: Number.isFinite(told.timeoutMs) && told.timeoutMs > 0 ? told.timeoutMs : DEFAULTS.timeoutMs,
  };
}

/**
 * Reads the settings of this page. A gateway without `config.json` leaves the defaults, with nobody to trust.
 * @param {Location} location
 * @returns {Promise<Settings>}
 */
export async function loadSettings(location) {
  let config = null;
  try {
    const response = await fetch(new URL("config.json", location.href), { cache: "no-store" });
    if (response.ok) config = await response.json();
  } catch {
    // Told to the reader as "no desktop is configured", which is what it comes to.
  }
  return settingsFrom(config, new URLSearchParams(location.search));
}

/**
 * The value under a key of the attached data: as it stands first, then along the dots.
 * @param {any} userData
 * @param {string} key
 * @returns {unknown}
 */
export function valueAt(userData, key) {
  const member = (/** @type {any} */ object, /** @type {string} */ name) => {
    if (object === null || typeof object !== "object") return undefined;
    if (Object.hasOwn(object, name)) return object[name];
    const found = Object.keys(object).find((own) => own.toLowerCase() === name.toLowerCase());
    return found === undefined ? undefined : object[found];
  };
  return member(userData, key) ?? key.split(".").reduce(member, userData);
}

/**
 * The conversation id in the attached data, in lower case; `null` where there is none.
 * @param {any} userData
 * @param {string} key
 * @returns {string | null}
 */
export function conversationIdIn(userData, key) {
  const value = valueAt(userData, key);
  return typeof value === "string" && UUID.test(value.trim()) ? value.trim().toLowerCase() : null;
}
