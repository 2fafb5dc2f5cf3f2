/**
 * What the page is told by the gateway, and how it reads attached data.
 *
 * `config.json` beside the page is the only source: the address of the page is chosen by whoever opens it, so it
 * decides nothing. The names are those of `[agent-desktop]` in the gateway's configuration.
 *
 * Invariant: whatever comes in, what goes out is complete and has the right types.
 *
 * @module settings
 */

/**
 * @typedef {object} Settings
 * @property {string[]} desktopOrigins Origins of the desktops that may embed the page and are believed.
 * @property {"page"|"token"} access Whether the page gets a token of its own, or the agent types one.
 * @property {string[]} conversationIdKeys Attached data, the first that holds a UUID counts.
 * @property {string} conversationIdAt JSON Pointer to the id in a report.
 * @property {string[]} reportOn Event types that make an interaction a contact; `seen` for the first sight.
 * @property {string[]} forwardKeys Attached data that goes along with the report.
 * @property {string} writeBackKey Attached data that the result is written to; empty for none.
 * @property {"never"|"failures"|"all"} toast
 * @property {string[]} titleKeys Attached data that names a card.
 * @property {boolean} recording Whether the page controls recording.
 * @property {boolean} dial Whether the page dials.
 */

/** As the gateway's own, for a gateway that does not say. @type {Settings} */
export const DEFAULTS = {
  desktopOrigins: [],
  access: "token",
  conversationIdKeys: ["GenesysConversationId", "conversationId"],
  conversationIdAt: "/conversationId",
  reportOn: ["ESTABLISHED", "ACCEPTED", "CREATED"],
  forwardKeys: [],
  writeBackKey: "",
  toast: "failures",
  titleKeys: [],
  recording: false,
  dial: false,
};
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * @param {any} config The parsed `config.json`, or anything.
 * @returns {Settings}
 */
export function settingsFrom(config) {
  const told = config !== null && typeof config === "object" ? config : {};
  const list = (/** @type {string[]} */ fallback, /** @type {unknown} */ value) =>
    Array.isArray(value) ? value.filter((entry) => typeof entry === "string" && entry !== "") : fallback;
  const pointer = told.conversationIdAt;
  return {
    desktopOrigins: list([], told.desktopOrigins).filter((origin) => URL.canParse(origin)),
    access: told.access === "page" ? "page" : "token",
    conversationIdKeys: list(DEFAULTS.conversationIdKeys, told.conversationIdKeys),
    conversationIdAt: typeof pointer === "string" && pointer.startsWith("/") ? pointer : DEFAULTS.conversationIdAt,
    reportOn: list(DEFAULTS.reportOn, told.reportOn),
    forwardKeys: list([], told.forwardKeys),
    writeBackKey: typeof told.writeBackKey === "string" ? told.writeBackKey : DEFAULTS.writeBackKey,
    toast: ["never", "failures", "all"].includes(told.toast) ? told.toast : DEFAULTS.toast,
    titleKeys: list([], told.titleKeys),
    recording: told.recording === true,
    dial: told.dial === true,
  };
}

/**
 * Reads the settings of this page; `null` while the gateway does not give them.
 * @param {Location} location
 * @returns {Promise<Settings | null>}
 */
export async function loadSettings(location) {
  try {
    const response = await fetch(new URL("config.json", location.href), { cache: "no-cache", signal: AbortSignal.timeout(15_000) });
    return response.ok ? settingsFrom(await response.json()) : null;
  } catch {
    return null;
  }
}

/**
 * The value under a key of the attached data: as it stands first, then along the dots. Letter case does not count.
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
 * @param {string[]} keys
 * @returns {string | null}
 */
export function conversationIdIn(userData, keys) {
  for (const key of keys) {
    const value = valueAt(userData, key);
    if (typeof value === "string" && UUID.test(value.trim())) return value.trim().toLowerCase();
  }
  return null;
}

/**
 * The first of these keys that holds something to read, as text; empty where none does.
 * @param {any} userData
 * @param {string[]} keys
 */
export function textIn(userData, keys) {
  for (const key of keys) {
    const value = valueAt(userData, key);
    const text = typeof value === "string" || typeof value === "number" ? String(value).trim() : "";
    if (text !== "") return text;
  }
  return "";
}

/**
 * The body of a report: what the page knows, and the id where the gateway looks for it.
 * @param {string} pointer JSON Pointer (RFC 6901)
 * @param {string} conversationId
 * @param {Record<string, unknown>} members
 * @returns {object}
 */
export function bodyOf(pointer, conversationId, members) {
  const path = pointer.slice(1).split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  /** @type {(within: any, path: string[]) => object} */
  const put = (within, [name, ...rest]) => {
    const present = within !== null && typeof within === "object" && !Array.isArray(within) ? within : {};
    const inner = Object.hasOwn(present, name) ? present[name] : undefined;
    // A computed name, so that even `__proto__` is a member like any other.
    return { ...present, [name]: rest.length === 0 ? conversationId : put(inner, rest) };
  };
  return put(members, path);
}
