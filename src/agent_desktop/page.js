/**
 * The page in Agent Desktop: finds the agent's interactions, has each reported and followed, tells what was filed.
 *
 * This file only ties the parts together: `service-client.js` speaks with the desktop, `watch.js` with the gateway
 * through `gateway.js`, `cards.js` shows, `settings.js` says how.
 *
 * @module page
 */

import { Card, timeOf } from "./cards.js";
import { Gateway } from "./gateway.js";
import { ServiceClient, listIn } from "./service-client.js";
import { conversationIdIn, loadSettings, valueAt } from "./settings.js";
import { Watch } from "./watch.js";

/** @typedef {import("./service-client.js").Interaction} Interaction */
/** @typedef {import("./gateway.js").Filed} Filed */
/**
 * @typedef {object} Entry What the page holds of one interaction of the desktop.
 * @property {Interaction} interaction
 * @property {string} media
 * @property {boolean} live The desktop still has it.
 * @property {Card} card
 * @property {Watch | null} watch
 * @property {string | null} problem
 * @property {Filed[]} filed
 */

/** How many interactions are kept; the oldest that is over goes first. */
const MAX_ENTRIES = 50;
/** How long the page waits before it looks for the desktop again, in milliseconds. */
const DESKTOP_PAUSE = 15_000;
/** Events after which a wrap-up is likely, or a state may have changed. */
const TELLING = ["RELEASED", "COMPLETED", "REMOVED", "ENDED", "SENT", "TRANSFER_COMPLETED"];
/** Events that bring an interaction to the agent. */
const BRINGING = ["ADDED", "RINGING", "DIALING", "INVITED", "PULLED", "CREATED"];

const settings = await loadSettings(location);
const gateway = new Gateway(new URL("../customers/supportInteraction", location.href));
const desktop = new ServiceClient({ origins: settings.desktopOrigins, timeout: settings.timeoutMs });

/** @type {Map<string, Entry>} By interaction id; the order is that of arrival. */
const entries = new Map();
/** @type {{employeeId?: string, username?: string, firstname?: string, lastname?: string}} */
let agent = {};

/** Conversations that this tab has reported, over reloads. */
const REPORTED = "reported-conversations";
let reported = remembered();

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const list = element("cards");
const form = /** @type {HTMLFormElement} */ (element("access"));

/** Whether the desktop tells us of interactions already; a second try must not subscribe twice. */
let subscribed = false;

/** Finds the desktop, subscribes, then reads what is there already: events are not replayed. */
async function connect() {
  try {
    // A filter that leaves this method out refuses it; that says nothing about the others.
    const services = await desktop.system.getAllowedServices().catch((error) => {
      if (error.kind !== "refused") throw error;
    });
    const allowed = listIn(services);
    if (!subscribed) await desktop.subscribe("interaction", onInteraction);
    subscribed = true;
    agent = await desktop.agent.get().catch(() => ({}));
    const present = listIn(await desktop.interaction.getInteractions(), "interactions");
    for (const interaction of present) take(interaction, "", false);
    const name = [agent.firstname, agent.lastname].filter(Boolean).join(" ") || agent.username;
    showDesktop("good", name ? `Connected to Agent Desktop as ${name}.` : "Connected to Agent Desktop.");
    for (const needed of missing(allowed)) showDesktop("bad", `Agent Desktop does not allow ${needed} for this page.`);
  } catch (reason) {
    const error = /** @type {any} */ (reason);
    const final = ["no-desktop", "foreign-desktop"].includes(error?.kind);
    showDesktop("bad", final ? `${sentence(error)} Open it from Agent Desktop.` : `${sentence(error)} Trying again.`);
    if (!final) setTimeout(connect, DESKTOP_PAUSE);
  }
}

/**
 * Methods that the settings need and the desktop does not list; none when it lists nothing readable.
 * @param {any[]} allowed
 */
function missing(allowed) {
  const names = allowed.filter((entry) => typeof entry === "string");
  if (names.length === 0) return [];
  const needed = [];
  if (["toast", "both"].includes(settings.writeBack)) needed.push("system.popupToast");
  if (["attached-data", "both"].includes(settings.writeBack)) needed.push("interaction.setUserData");
  return needed.filter((name) => !names.includes(name) && !names.includes(`${name.split(".")[0]}.*`));
}

/** @param {any} data */
function onInteraction(data) {
  const interaction = data?.interaction;
  if (!interaction?.interactionId) return;
  const bringing = BRINGING.includes(data.eventType);
  const entry = take(interaction, data.media ?? "", bringing);
  if (data.eventType === "REMOVED") entry.live = false;
  if (TELLING.includes(data.eventType)) entry.watch?.nudge();
  show(entry);
}

/**
 * Takes an interaction in, or what is new about it.
 * @param {Interaction} interaction
 * @param {string} media
 * @param {boolean} fresh
 * @returns {Entry}
 */
function take(interaction, media, fresh) {
  const key = String(interaction.interactionId);
  let entry = entries.get(key);
  if (!entry) {
    const made = { interaction, media, live: true, watch: null, problem: null, filed: [] };
    entry = { ...made, card: new Card(list, (act) => perform(act, key)) };
    entries.set(key, entry);
    makeRoom();
  }
  const returned = fresh && !entry.live;
  entry.interaction = { ...entry.interaction, ...interaction };
  entry.media = media || entry.media;
  if (fresh) entry.live = true;
  if (returned) entry.watch?.renew();

  const conversationId = conversationIdIn(entry.interaction.userData, settings.conversationIdKey);
  if (conversationId !== null && entry.watch?.conversationId !== conversationId) {
    entry.watch?.stop();
    entry.watch = watchFor(conversationId, entry, fresh);
  }
  show(entry);
  return entry;
}

/**
 * Two interactions of one conversation (a consultation and its main one) share one watch.
 * @param {string} conversationId @param {Entry} entry @param {boolean} fresh
 */
function watchFor(conversationId, entry, fresh) {
  const other = [...entries.values()].find(({ watch }) => watch?.conversationId === conversationId)?.watch;
  if (other) {
    if (fresh && other.over) other.renew();
    return other;
  }
  const watch = new Watch({
    gateway,
    conversationId,
    reported: !fresh && reported.includes(conversationId),
    members: { agentDesktop: describe(entry) },
    changed: (it) => {
      if (it.view) remember(conversationId);
      of(it).forEach(show);
    },
    filed: (it, records) => of(it).slice(0, 1).forEach((first) => tell(first, records)),
  });
  watch.nudge();
  return watch;
}

/** @param {string} conversationId */
function remember(conversationId) {
  if (reported.includes(conversationId)) return;
  reported = [...reported, conversationId].slice(-MAX_ENTRIES);
  try {
    sessionStorage.setItem(REPORTED, JSON.stringify(reported));
  } catch {
    // A browser that keeps nothing for embedded pages: a reload reports again, which files nothing twice.
  }
}

/** @returns {string[]} */
function remembered() {
  try {
    const list = JSON.parse(sessionStorage.getItem(REPORTED) ?? "[]");
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

/** @param {Watch} watch @returns {Entry[]} Those that the desktop still has first. */
function of(watch) {
  return [...entries.values()].filter((entry) => entry.watch === watch).sort((a, b) => Number(b.live) - Number(a.live));
}

/**
 * What goes with the report, all under one member, so that it cannot cover what others report. Numbers of
 * customers do not.
 * @param {Entry} entry
 */
function describe({ interaction, media }) {
  const { interactionId, parentInteractionId, caseId, callUuid, direction, callType, isConsultation, startDate } = interaction;
  const forwarded = settings.forwardKeys.map((key) => [key, valueAt(interaction.userData, key)]).filter(([, value]) => value !== undefined);
  return {
    interactionId,
    parentInteractionId,
    caseId,
    callUuid,
    media: media || undefined,
    direction,
    callType,
    isConsultation,
    startedAt: Number.isFinite(startDate) ? new Date(Number(startDate)).toISOString() : undefined,
    agent: agent.employeeId || agent.username ? { employeeId: agent.employeeId, username: agent.username } : undefined,
    userData: forwarded.length > 0 ? Object.fromEntries(forwarded) : undefined,
  };
}

/**
 * Tells the desktop that records were filed.
 * @param {Entry} entry @param {Filed[]} records
 */
async function tell(entry, records) {
  entry.filed = records;
  const text = records.length === 1 ? "The wrap-up is filed." : `${records.length} wrap-ups are filed.`;
  element("news").textContent = `${title(entry)}: ${text}`;
  const { writeBack } = settings;
  const written = ["attached-data", "both"].includes(writeBack) && (await write(entry));
  // An interaction that is gone takes no data; the agent is told all the same.
  if (["toast", "both"].includes(writeBack) || (writeBack === "attached-data" && !written)) {
    const toast = { title: "Communication records", subject: title(entry), message: text };
    try {
      await desktop.system.popupToast(toast);
    } catch (error) {
      entry.problem ??= `The desktop showed no toast: ${sentence(error)}`;
    }
  }
  show(entry);
}

/** @param {Entry} entry @returns {Promise<boolean>} Whether the desktop took the result as attached data. */
async function write(entry) {
  const record = entry.filed.at(-1) ?? entry.watch?.view?.records?.findLast(({ state }) => state === "delivered");
  if (!record || !entry.live) return false;
  const value = { state: "filed", recordId: record.recordId, deliveredAt: record.deliveredAt };
  try {
    await desktop.interaction.setUserData(entry.interaction.interactionId, { [settings.writeBackKey]: value });
    entry.problem = null;
    return true;
  } catch (error) {
    entry.problem = `The result could not be written to the interaction: ${sentence(error)}`;
    return false;
  }
}

/** @param {string} act @param {string} key */
async function perform(act, key) {
  const entry = entries.get(key);
  if (!entry) return;
  if (act === "check") entry.watch?.nudge();
  if (act === "write" && (await write(entry))) element("news").textContent = "Written to the interaction.";
  show(entry);
}

/** @param {Entry} entry */
function show(entry) {
  element("empty").hidden = entries.size > 0;
  const { watch, interaction } = entry;
  const delivered = watch?.view?.records?.some(({ state }) => state === "delivered") ?? false;
  entry.card.show({
    title: title(entry),
    id: watch?.conversationId ?? `interaction ${interaction.interactionId}`,
    watch,
    problem: watch?.problem ?? entry.problem,
    writable: delivered && entry.live && settings.writeBack !== "none",
  });
  // Asked for while any conversation waits for a token; the reader's typing is left alone.
  form.hidden = ![...entries.values()].some((one) => one.watch?.unauthorised);
}

/** @param {Entry} entry @returns {string} For example "Voice, inbound, 15:35:12". */
function title({ interaction, media }) {
  const direction = { IN: "inbound", OUT: "outbound" }[String(interaction.direction).toUpperCase()];
  const kind = media || (interaction.callUuid ? "voice" : "conversation");
  const began = Number.isFinite(interaction.startDate) ? timeOf(new Date(Number(interaction.startDate))) : "";
  return [kind.charAt(0).toUpperCase() + kind.slice(1), direction, began].filter(Boolean).join(", ");
}

function makeRoom() {
  if (entries.size <= MAX_ENTRIES) return;
  const ended = [...entries].find(([, { live, watch }]) => !live && (watch === null || watch.over));
  const [key, entry] = ended ?? [...entries][0];
  entries.delete(key);
  entry.card.remove();
  if (entry.watch && of(entry.watch).length === 0) entry.watch.stop();
}

/** @param {"good"|"bad"} level @param {string} text */
function showDesktop(level, text) {
  const status = element("desktop");
  status.dataset.level = level;
  status.textContent = text;
}

/** @param {any} error */
function sentence(error) {
  const text = String(error?.message ?? error);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (element("token"));
  gateway.token = input.value.trim();
  input.value = "";
  form.hidden = true;
  for (const watch of new Set([...entries.values()].map((entry) => entry.watch))) watch?.nudge();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const watch of new Set([...entries.values()].map((entry) => entry.watch))) if (watch && !watch.over) watch.nudge();
});
addEventListener("pagehide", (event) => {
  if (!event.persisted) desktop.unload();
});

await connect();
