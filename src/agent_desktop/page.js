/**
 * The page in Agent Desktop: finds the agent's contacts, has each reported, shows what becomes of it.
 *
 * This file only ties the parts together: `desk.js` speaks with the desktop through `service-client.js`,
 * `contacts.js` knows what goes on, `follow.js` reports and listens through `gateway.js`, `effects.js` tells the
 * desktop, `panels.js` agrees with the panels beside, `face.js`, `words.js` and `cards.js` show.
 *
 * @module page
 */

import { Access } from "./access.js";
import { Card, copy } from "./cards.js";
import { actingLeg, Contacts, stageOf } from "./contacts.js";
import { Desk, sentence } from "./desk.js";
import { Effects } from "./effects.js";
import { faceOf, METHODS, titleOf } from "./face.js";
import { Follow } from "./follow.js";
import { Gateway } from "./gateway.js";
import { keep, kept } from "./keep.js";
import { Panels } from "./panels.js";
import { reportFor } from "./report.js";
import { ServiceClient } from "./service-client.js";
import { loadSettings } from "./settings.js";
import { Identity } from "./whose.js";

/** @typedef {import("./contacts.js").Contact} Contact */
/** @typedef {import("./gateway.js").Filed} Filed */
/** @typedef {import("./service-client.js").Agent} Agent */

/** How long a missed contact is shown, and what came of an act of the agent, in milliseconds. */
const MISSED_FOR = 15_000;
const SAID_FOR = 20_000;
/** Events that wait until the agent is known. */
const MAX_EARLY = 500;

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const form = /** @type {HTMLFormElement} */ (element("access"));

/** The settings; asked for until the gateway gives them. */
async function settled() {
  for (let pause = 2_000; ; pause = Math.min(pause * 2, 60_000)) {
    const settings = await loadSettings(location);
    if (settings !== null) return settings;
    showGateway("The gateway does not answer. This page tries again by itself.");
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
const settings = await settled();
showGateway(null);

/** @type {Agent | null | undefined} Undefined until the desktop was asked. */
let agent;
/** @type {Panels | null} */ let panels = null;
/** @type {any[]} */ let early = [];
/** @type {Map<number, Card>} */ const cards = new Map();
/** What came of the agent's last act on a card. @type {Map<number, {text: string, until: number}>} */ const said = new Map();
/** @type {Map<number, string>} */ const announced = new Map();

const access = new Access(settings.access, new URL("token", location.href));
const gateway = new Gateway(new URL(location.href), access);
const contacts = new Contacts(settings);
const identity = new Identity();
const client = new ServiceClient({ origins: settings.desktopOrigins });
const desk = new Desk(client, { changed: show, known, present, event });
const effects = new Effects(client, settings, { may: (method) => desk.may(method), changed: show });
const follow = new Follow(gateway, { changed: heard, tell: (message) => panels?.tell(message) });
access.changed = show;
access.renewed = (/** @type {import("./access.js").Held} */ held) => {
  panels?.tell({ kind: "token", held });
  save();
};

/** @param {Agent | null} told */
function known(told) {
  const [before, now] = [nameOf(agent), nameOf(told)];
  // Somebody else has logged in: nothing of the one before may be taken for theirs.
  if (agent && told && before !== now) return location.reload();
  agent = told;
  if (panels === null) {
    const remembered = kept(scope());
    access.adopt(remembered.token);
    identity.restore(remembered.identity);
    contacts.restore(remembered);
    for (const [id, signature] of remembered.reported) follow.resume(id, signature);
    panels = new Panels(scope(), { hear, lead: () => follow.lead() });
    panels.join();
    panels.tell({ kind: "who" });
  }
  for (const data of early.splice(0)) contacts.event(data);
  moved();
}

/** @param {import("./service-client.js").Interaction[]} list */
function present(list) {
  const unheard = contacts.present(list);
  moved();
  return unheard;
}

/** @param {import("./service-client.js").EventData} data */
function event(data) {
  if (agent === undefined) return void (early = [...early, data].slice(-MAX_EARLY));
  contacts.event(data);
  moved();
}

/** Something happened in the desktop. */
function moved() {
  for (const contact of contacts.all) {
    const report = reportFor(contact, agent ?? null, settings);
    // One that an earlier page reported and the desktop has let go of is only followed.
    if (report !== null && contact.legs.length > 0) follow.report(report);
  }
  save();
  show();
}

/** The gateway told something. @param {string} conversationId Empty where it is about all. */
function heard(conversationId) {
  const contact = contacts.all.find((one) => one.conversationId === conversationId);
  const followed = follow.of(conversationId);
  if (contact && followed?.view) {
    const facts = { view: followed.view, since: followed.since, title: titleOf(contact, settings), interactionId: actingLeg(contact)?.interaction.interactionId ?? null };
    effects.look({ ...facts, whose: (record) => (mayBeOurs(contact, record) ? whose(contact, record) : "other") }, panels?.leads ?? false);
  }
  save();
  show();
}

/** @param {any} message Of another panel. */
function hear(message) {
  if (message?.kind === "token") access.adopt(message.held);
  if (message?.kind === "who" && access.held !== null) panels?.tell({ kind: "token", held: access.held });
  follow.hear(message);
}

/** @param {Contact} contact @param {Filed} record */
function whose(contact, record) {
  const followed = follow.of(contact.conversationId ?? "");
  const live = ["live", "held"].includes(stageOf(contact));
  return identity.whose(record, { records: followed?.view?.records ?? [], ends: contact.ends, live, agents: followed?.agents ?? [] });
}

/** While the agent's own part goes on, after-call work that has begun is not theirs. @param {Contact} contact @param {Filed} record */
function mayBeOurs(contact, { wrapupDurationMs }) {
  return contact.ends.length > 0 || wrapupDurationMs === undefined || !["live", "held"].includes(stageOf(contact));
}

function scope() {
  return `${client.origin ?? ""} ${nameOf(agent)}`;
}

/** @param {Agent | null | undefined} told */
function nameOf(told) {
  return told?.username || told?.employeeId || "unknown";
}

function save() {
  if (panels === null) return;
  const all = contacts.keep();
  const reported = all.contacts.flatMap(({ conversationId }) => {
    const signature = follow.of(conversationId ?? "")?.reported;
    return conversationId !== null && signature ? [/** @type {[string, string]} */ ([conversationId, signature])] : [];
  });
  keep(scope(), { ...all, reported, identity: identity.keep(), token: access.held });
}

let drawing = false;
function show() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  const status = element("desktop");
  if (status.textContent !== desk.text) status.textContent = desk.text;
  status.dataset.level = desk.level;
  const waits = contacts.all.some(({ counts, conversationId }) => counts && conversationId !== null);
  showGateway(form.hidden && access.problem !== null && !access.wanted ? access.problem : waits && !access.wanted ? follow.problem : null);
  if (form.hidden === access.wanted) form.hidden = !access.wanted;
  const trouble = access.wanted ? (access.problem ?? "") : "";
  if (element("token-problem").textContent !== trouble) element("token-problem").textContent = trouble;
  showLimits();

  const at = Date.now();
  for (const contact of contacts.all) if (contact.missedAt !== null && at - contact.missedAt > MISSED_FOR) contacts.drop(contact);
  const lists = { live: /** @type {HTMLElement[]} */ ([]), finished: /** @type {HTMLElement[]} */ ([]) };
  for (const contact of contacts.all) {
    const followed = follow.of(contact.conversationId ?? "");
    const one = said.get(contact.key);
    if (one && one.until < at) said.delete(contact.key);
    const face = faceOf(contact, {
      settings, followed, at,
      may: (method) => desk.may(method),
      selectedCase: contacts.selectedCase,
      whose: (record) => whose(contact, record),
      written: effects.written.get(contact.conversationId ?? ""),
      writes: effects.writes,
      said: said.get(contact.key)?.text ?? "",
    });
    const card = cards.get(contact.key) ?? new Card((act, value) => perform(contact, act, value));
    cards.set(contact.key, card);
    card.show(face);
    const over = face.stage === "done" && (face.level === "good" || !contact.counts || contact.conversationId === null || face.state === "stopped");
    (over ? lists.finished : lists.live).push(card.root);
    const words = `${face.title}: ${face.word}`;
    if (announced.get(contact.key) !== words) element("news").textContent = words;
    announced.set(contact.key, words);
  }
  for (const [key, card] of cards) {
    if (contacts.all.some((contact) => contact.key === key)) continue;
    card.root.remove();
    for (const map of [cards, said, announced]) map.delete(key);
  }
  arrange(element("live"), lists.live);
  arrange(element("finished"), lists.finished);
  element("empty").hidden = lists.live.length > 0;
  element("earlier").hidden = lists.finished.length === 0;
  text(element("earlier").querySelector("summary"), `Earlier (${lists.finished.length})`);
}

/** Puts them in this order, and moves none that stands where it should. @param {HTMLElement} list @param {HTMLElement[]} roots */
function arrange(list, roots) {
  roots.forEach((root, index) => {
    if (list.children[index] !== root) list.insertBefore(root, list.children[index] ?? null);
  });
}

/** @param {string | null} problem */
function showGateway(problem) {
  const notice = element("gateway");
  notice.hidden = problem === null;
  text(notice, problem ?? "");
}

/** What the desktop withholds from this page, each once. */
function showLimits() {
  /** @type {[boolean, string, string][]} */
  const needs = [
    [true, "agent.get", "It does not say who you are: reports go without your name."],
    [true, "interaction.getInteractions", "It does not say which contacts are there already: they show up when something happens to them."],
    [settings.writeBackKey !== "", "interaction.setUserData", "It does not let this page write attached data: results are not written to the interaction."],
    [settings.toast !== "never", "system.popupToast", "It does not let this page show messages: what fails is said here only."],
    [settings.recording, "voice.startCallRecording", "It does not let this page start recordings."],
    [settings.recording, "voice.stopCallRecording", "It does not let this page stop recordings."],
    [settings.recording, "voice.pauseCallRecording", "It does not let this page pause recordings."],
    [settings.recording, "voice.resumeCallRecording", "It does not let this page resume recordings."],
    [settings.dial, "voice.dial", "It does not let this page dial."],
  ];
  const lines = needs.filter(([needed, method]) => needed && desk.lacks(method)).map(([, , line]) => line);
  const limits = element("limits");
  limits.hidden = lines.length === 0 || desk.level !== "good";
  text(limits.querySelector("summary"), lines.length === 1 ? "Agent Desktop withholds one thing from this page" : `Agent Desktop withholds ${lines.length} things from this page`);
  const list = /** @type {HTMLElement} */ (limits.querySelector("ul"));
  if ([...list.children].map((one) => one.textContent).join("\n") === lines.join("\n")) return;
  list.replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

/** @param {Element | null} target @param {string} words */
function text(target, words) {
  if (target !== null && target.textContent !== words) target.textContent = words;
}

/** The agent pressed a button. @param {Contact} contact @param {string} act @param {string} value */
async function perform(contact, act, value) {
  const say = (/** @type {string} */ words) => {
    if (words === "") said.delete(contact.key);
    else said.set(contact.key, { text: words, until: Date.now() + SAID_FOR });
    show();
  };
  const leg = actingLeg(contact);
  const id = leg?.interaction.interactionId ?? "";
  const { conversationId } = contact;
  say("");
  try {
    if (act === "copy") text(element("news"), (await copy(value)) ? "Copied." : "It could not be copied.");
    if (act === "dial") await client.voice.dial(value);
    if (act === "select" && leg?.interaction.caseId) await client.interaction.selectCaseByCaseId(leg.interaction.caseId);
    if (Object.hasOwn(METHODS, act) && leg) await client.call(METHODS[act], [id]);
    const record = follow.of(conversationId ?? "")?.view?.records?.findLast((one) => one.state === "delivered" && whose(contact, one) !== "other");
    if (act === "write" && record && conversationId !== null) await effects.write(conversationId, id === "" ? null : id, record, Infinity);
  } catch (reason) {
    say(`Agent Desktop did not do it: ${sentence(reason)}`);
  }
}

form.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const input = /** @type {HTMLInputElement} */ (element("token"));
  const token = input.value.trim();
  input.value = "";
  if (access.type(token)) follow.retry();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) desk.wake();
});
addEventListener("pagehide", ({ persisted }) => {
  if (persisted) return;
  panels?.leave();
  client.unload();
});
setInterval(() => {
  if (!document.hidden || contacts.all.some(({ missedAt }) => missedAt !== null)) show();
}, 1_000);

show();
await desk.connect();
