/**
 * The desktop of one agent: its interactions, the pages that it embeds, and its side of the Service Client API.
 *
 * A person drives it through the forms of the simulator, a test through `window.simulator`; everything that arrives
 * and leaves is in `received` and `sent`.
 *
 * @module desktop
 */

import { SERVICES } from "./services.js";

/** @typedef {import("./rules.js").Rules} Rules */
/** @typedef {{interactionId: string, media: string, userData: Record<string, any>, state: string, [member: string]: any}} Interaction */

/** How many messages are kept. */
const MAX_MESSAGES = 5_000;

/** One agent's desktop. */
export class Desktop {
  /** @type {{origin: string, data: any}[]} */ received = [];
  /** @type {any[]} */ sent = [];
  /** @type {Map<string, any>} */ toasts = new Map();
  /** Warnings of interactions that may not be closed yet. @type {Map<string, string>} */ blocked = new Map();
  /** @type {Map<string, Interaction>} */ interactions = new Map();
  /** @type {Map<string, {source: Window, origin: string, events: string[]}>} */ subscriptions = new Map();
  /** @type {HTMLIFrameElement[]} */ frames = [];
  agentState = "READY";
  muted = { microphone: false, speaker: false };
  media = new Map([["voice", "READY"], ["chat", "READY"], ["email", "READY"], ["callback", "READY"]]);
  /** @type {string | null} */ selectedCase = null;
  #nextSubscription = 1;
  #nextToast = 1;
  #nextInteraction = 1;

  /**
   * @param {Record<string, any>} agent @param {Rules} rules @param {HTMLElement} place Where pages are embedded.
   */
  constructor(agent, rules, place) {
    this.agent = agent;
    this.rules = rules;
    this.place = place;
    /** Told after each change. */
    this.changed = () => {};
    /** Told of each message. @type {(direction: "in"|"out", message: any) => void} */
    this.logged = () => {};
    /** What a page asks for that needs another agent or the platform. @type {(act: string, id: string, target?: any) => any} */
    this.asked = () => ({});
  }

  get switches() {
    return this.rules.switches;
  }

  /** @param {Partial<typeof import("./rules.js").SWITCHES>} switches */
  set(switches) {
    Object.assign(this.switches, switches);
    if (switches.away) this.subscriptions.clear();
  }

  /** Embeds a page and resolves when it has loaded. @param {string} url @returns {Promise<HTMLIFrameElement>} */
  embed(url, name = "page") {
    const frame = document.createElement("iframe");
    frame.name = name;
    frame.title = `The page embedded for ${this.agent.firstname}`;
    frame.allow = "clipboard-write";
    frame.src = url;
    this.frames.push(frame);
    return new Promise((resolve) => {
      frame.addEventListener("load", () => resolve(frame), { once: true });
      this.place.append(frame);
    });
  }

  /** A message to the first page, as this window or any other may send it; nothing is added. @param {any} message */
  post(message, origin = "*") {
    this.frames[0]?.contentWindow?.postMessage(message, origin);
  }

  /** An event to whoever subscribed. @param {string} event @param {any} data */
  emit(event, data) {
    if (this.switches.away) return;
    for (const { source, origin, events } of this.subscriptions.values()) {
      if (events.includes(event)) this.#send(source, origin, { event, data });
    }
  }

  /** @param {string} eventType @param {Interaction} interaction */
  emitInteraction(eventType, interaction, media = interaction.media) {
    this.emit("interaction", { eventType, media, interaction: this.shown(interaction) });
  }

  /** A contact comes in. @param {Record<string, any>} [userData] @param {Record<string, any>} [members] @returns {string} Its id. */
  ring(userData = {}, members = {}, media = "voice") {
    const voice = media === "voice";
    const interaction = this.#add(userData, { media, direction: "IN", callType: "Inbound", state: voice ? "RINGING" : "INVITED", ...members });
    this.emitInteraction("ADDED", interaction);
    this.emitInteraction(voice ? "RINGING" : "INVITED", interaction);
    return interaction.interactionId;
  }

  /** The agent calls somebody. @param {string} destination @param {Record<string, any>} userData */
  dial(destination, userData = {}, members = {}) {
    const interaction = this.#add(userData, { direction: "OUT", callType: "Outbound", state: "DIALING", dnis: destination, ani: "", parties: [{ name: destination }], ...members });
    this.emitInteraction("ADDED", interaction);
    this.emitInteraction("DIALING", interaction);
    return interaction.interactionId;
  }

  /** The agent writes an e-mail. @param {string} destination @param {Record<string, any>} userData */
  write(destination, userData = {}, members = {}) {
    const interaction = this.#add(userData, { media: "email", direction: "OUT", callType: "Outbound", state: "COMPOSING", ani: "", parties: [{ name: destination }], ...members });
    this.emitInteraction("ADDED", interaction);
    this.emitInteraction("CREATED", interaction);
    this.emitInteraction("COMPOSING", interaction);
    return interaction.interactionId;
  }

  /** @param {string} id */
  answer(id) {
    const { media } = this.need(id);
    if (media === "voice") this.move(id, "ESTABLISHED", { state: "TALKING", recordingState: "STOPPED" });
    else this.move(id, "ACCEPTED", { state: "ACCEPTED" });
  }

  /** The agent does not answer, or declines. @param {string} id */
  miss(id) {
    const { media } = this.need(id);
    if (media === "voice") this.move(id, "RELEASED", { state: "IDLE" });
    else this.move(id, "REVOKED", { state: "REVOKED" });
    this.remove(id);
  }

  /** It is over for the agent; it stays until it is marked done. @param {string} id */
  release(id) {
    const { media, direction } = this.need(id);
    if (media === "voice") return this.move(id, "RELEASED", { state: "IDLE" });
    if (media === "chat") return this.move(id, "ENDED", { state: "ENDED" });
    if (media === "email" && direction === "OUT") return this.move(id, "SENT", { state: "SENT" });
    return this.move(id, "COMPLETED", { state: "COMPLETED" });
  }

  /** An interaction moves on. @param {string} id @param {string} eventType @param {Record<string, any>} members */
  move(id, eventType, members = {}) {
    const interaction = this.need(id);
    if (members.state !== undefined) interaction.previousState = interaction.state;
    Object.assign(interaction, members);
    this.emitInteraction(eventType, interaction);
    this.changed();
  }

  /** @param {string} id @param {"RECORDING"|"STOPPED"|"PAUSED"} recordingState */
  record(id, recordingState) {
    this.move(id, "CALL_RECORDING_STATE_CHANGED", { recordingState });
  }

  /** @param {string} caseId */
  selectCase(caseId) {
    this.selectedCase = caseId;
    for (const one of this.interactions.values()) one.isCaseSelected = one.caseId === caseId;
    this.emit("interaction", { eventType: "CASE_SELECTED", selectedCaseId: caseId });
    this.changed();
  }

  /** @param {string} id */
  remove(id) {
    const interaction = this.need(id);
    const warning = this.blocked.get(id);
    if (warning !== undefined) throw new Error(warning);
    this.interactions.delete(id);
    this.emitInteraction("REMOVED", interaction);
    this.changed();
  }

  /** @param {string} id @param {string} warning */
  block(id, warning) {
    this.blocked.set(this.need(id).interactionId, warning);
    if (this.switches.blockMs > 0) setTimeout(() => this.blocked.delete(id), this.switches.blockMs);
  }

  /** @param {string} act @param {string} id @param {any} [target] */
  ask(act, id, target) {
    this.need(id);
    return this.asked(act, id, target);
  }

  /** @param {string} id @returns {Interaction} */
  need(id) {
    const interaction = this.interactions.get(String(id));
    if (!interaction) throw new Error(`Interaction ${id} not found`);
    return interaction;
  }

  /** @param {string} name */
  medium(name) {
    if (!this.media.has(name)) throw new Error(`Media ${name} not found`);
    return { name, state: this.media.get(name) };
  }

  /** @param {string} member @param {string} id */
  among(member, id) {
    return { interactions: [...this.interactions.values()].filter((it) => it[member] === id).map((it) => this.shown(it)) };
  }

  /** As a page may see it. @param {Interaction} interaction */
  shown(interaction) {
    // The medium comes with events only.
    const { media, ...told } = interaction;
    return { ...told, userData: this.rules.readable(interaction.userData) };
  }

  /** @param {string} id @param {Record<string, any>} keyValues */
  setUserData(id, keyValues) {
    this.rules.mayWrite(Object.keys(keyValues));
    const interaction = this.need(id);
    interaction.userData = { ...interaction.userData, ...keyValues };
    this.emitInteraction("ATTACHED_DATA_CHANGED", interaction);
    this.changed();
  }

  /** @param {string} id @param {string} key */
  deleteUserData(id, key) {
    this.rules.mayWrite([key]);
    delete this.need(id).userData[key];
    this.emitInteraction("ATTACHED_DATA_CHANGED", this.need(id));
    this.changed();
  }

  /** @param {string} state */
  setAgentState(state) {
    this.agentState = state;
    this.emit("agent", { eventType: "STATE_CHANGED", mediaState: state });
    this.changed();
  }

  /** @param {any} toast */
  showToast(toast) {
    const id = `toast-${this.#nextToast++}`;
    this.toasts.set(id, toast);
    this.changed();
    return { id };
  }

  /** @param {string} id @param {any} toast */
  changeToast(id, toast) {
    if (!this.toasts.has(id)) throw new Error(`Toast ${id} not found`);
    if (toast) this.toasts.set(id, toast);
    else this.toasts.delete(id);
    this.changed();
  }

  /** Takes a message of a page. @param {Window} source @param {string} origin @param {any} data */
  receive(source, origin, data) {
    if (data === null || typeof data !== "object" || !String(data.userAgent).includes("WWE Client")) return;
    this.received = [...this.received.slice(-MAX_MESSAGES), { origin, data }];
    this.logged("in", data);
    if (this.switches.away) return;
    let answer;
    try {
      answer = this.#perform(source, origin, data) ?? {};
    } catch (error) {
      answer = { errorMessage: /** @type {Error} */ (error).message };
    }
    this.#answer(source, origin, { ...answer, referenceId: data.referenceId });
  }

  /** @param {Record<string, any>} userData @param {Record<string, any>} members @returns {Interaction} */
  #add(userData, members) {
    const interactionId = String(this.#nextInteraction++);
    const media = members.media ?? "voice";
    const calls = media === "voice" ? { callUuid: `UUID${interactionId}`, ani: "+15550100", dnis: "+15550199" } : {};
    const interaction = { interactionId, media, caseId: `case-${interactionId}`, userData, startDate: Date.now(), parties: [{ name: "A" }], ...calls, ...members };
    const full = /** @type {any} */ (interaction);
    this.interactions.set(interactionId, full);
    this.changed();
    return full;
  }

  /** @param {Window} source @param {string} origin @param {any} message */
  #perform(source, origin, { request, parameters = [], event, data }) {
    if (event === "subscribe") return this.#subscribe(source, origin, [data].flat());
    if (event === "unsubscribe") return void this.subscriptions.delete(data);
    if (!this.rules.accepts(origin)) throw new Error("Origin not accepted");
    if (!Object.hasOwn(SERVICES, request)) throw new Error(`Unknown service ${request}`);
    if (!this.rules.allows(origin, request)) throw new Error(`Service ${request} is not allowed`);
    this.rules.count(request);
    return SERVICES[request](this, ...(request === "system.getAllowedServices" ? [origin] : parameters));
  }

  /** @param {Window} source @param {string} origin @param {string[]} events */
  #subscribe(source, origin, events) {
    if (!this.rules.accepts(origin)) throw new Error("Origin not accepted");
    const subscriptionId = `sub-${this.#nextSubscription++}`;
    this.subscriptions.set(subscriptionId, { source, origin, events });
    if (this.switches.frameId !== null) this.#send(source, origin, { frameId: this.switches.frameId });
    if (this.switches.eventBeforeAnswer) for (const event of events) this.emit(event, { eventType: "UNKNOWN", early: true });
    return { subscriptionId };
  }

  /** @param {Window} source @param {string} origin @param {any} message */
  #answer(source, origin, message) {
    const { answers, lateMs } = this.switches;
    if (answers === "never") return;
    if (answers === "late") return void setTimeout(() => this.#send(source, origin, message), lateMs);
    if (answers === "unknown-reference") return this.#send(source, origin, { ...message, referenceId: "999999" });
    this.#send(source, origin, message);
    if (answers === "twice") this.#send(source, origin, message);
  }

  /** @param {Window} source @param {string} origin @param {any} members */
  #send(source, origin, members) {
    const message = { ...members, userAgent: "WWE Server", protocolVersion: 2 };
    this.sent = [...this.sent.slice(-MAX_MESSAGES), message];
    this.logged("out", message);
    // A frame that has moved on has no window left.
    source?.postMessage(message, origin);
  }
}
