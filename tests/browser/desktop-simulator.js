/**
 * A simulator of Agent Desktop's side of the Service Client API: enough to test a page that it embeds, and to
 * misbehave on request.
 *
 * Tests use `window.simulator`; everything that arrives and leaves is in `simulator.received` and `simulator.sent`.
 */

/** Services that the desktop knows, with what they do and answer. */
const SERVICES = {
  "auth.getJwtToken": () => ({ token: "a.b.c" }),
  "agent.get": (desktop) => desktop.agent,
  "agent.getStateList": () => ({ stateList: [{ operationName: "READY" }, { operationName: "NOT_READY" }] }),
  "agent.getState": (desktop) => ({ state: desktop.agentState }),
  "agent.setState": (desktop, state) => desktop.setAgentState(state),
  "interaction.getInteractions": (desktop) => ({ interactions: [...desktop.interactions.values()].map((it) => desktop.shown(it)) }),
  "interaction.getByInteractionId": (desktop, id) => ({ interaction: desktop.interactions.has(id) ? desktop.shown(desktop.need(id)) : null }),
  "interaction.getByBundleId": (desktop, id) => desktop.among("bundleId", id),
  "interaction.getByCaseId": (desktop, id) => desktop.among("caseId", id),
  "interaction.setUserData": (desktop, id, keyValues) => desktop.setUserData(id, keyValues),
  "interaction.deleteUserData": (desktop, id, key) => desktop.deleteUserData(id, key),
  "interaction.selectCaseByCaseId": (desktop, caseId) => desktop.emit("interaction", { eventType: "CASE_SELECTED", selectedCaseId: caseId }),
  "interaction.markdone": (desktop, id) => desktop.remove(id),
  "interaction.blockMarkdone": (desktop, id, warning) => void desktop.blocked.set(desktop.need(id).interactionId, warning),
  "interaction.unblockMarkdone": (desktop, id) => void desktop.blocked.delete(id),
  "system.popupToast": (desktop, toast) => desktop.showToast(toast),
  "system.updateToast": (desktop, id, toast) => desktop.changeToast(id, toast),
  "system.closeToast": (desktop, id) => desktop.changeToast(id, null),
  "system.getAllowedServices": (desktop, _, sender) => ({ services: Object.keys(SERVICES).filter((name) => desktop.allows(sender, name)) }),
  "sipEndpoint.isMicrophoneMute": () => ({ mute: false }),
  "sipEndpoint.isSpeakerMute": () => ({ mute: false }),
  "media.getMediaList": () => ({ mediaList: [{ name: "voice", state: "READY" }] }),
  "media.getMediaByName": (_, name) => ({ name, state: "READY" }),
  "configuration.getOption": (_, name, section) => ({ sections: [{ name: section ?? "interaction-workspace", options: { [String(name)]: "" } }] }),
  "configuration.getContextualOption": (desktop, name, section, id) => ({ sections: [{ name: section ?? "interaction-workspace", options: { [String(name)]: desktop.need(id).interactionId } }] }),
};
for (const name of [
  "interaction.accept interaction.reject interaction.consult interaction.completeConference interaction.completeTransfer",
  "interaction.singleStepConference interaction.singleStepTransfer voice.dial voice.answer voice.hold voice.resume voice.hangUp",
  "voice.startCallRecording voice.stopCallRecording voice.pauseCallRecording voice.resumeCallRecording",
  "sipEndpoint.muteMicrophone sipEndpoint.unmuteMicrophone sipEndpoint.muteSpeaker sipEndpoint.unmuteSpeaker",
  "email.create media.setState system.triggerActivity",
].flatMap((line) => line.split(" "))) SERVICES[name] = () => ({});

/** What the simulator can be told; each is a switch of the form and of `set`. */
const SWITCHES = {
  /** `prompt`, `never`, `late` (after `lateMs`), `twice`, or `unknown-reference`. */ answers: "prompt",
  lateMs: 300,
  /** An event of the subscribed name leaves before the answer to `subscribe`. */ eventBeforeAnswer: false,
  /** Told to the page in a message of its own. @type {any} */ frameId: null,
  /** Comma-separated origins, each with an optional filter in parentheses; `*` for everybody. */ accepted: "*",
  /** Requests per minute; 0 is unlimited. */ rateLimit: 0,
  /** The same per service, `{"voice.dial": 1}`. */ rateLimits: {},
  quarantineMs: 1000,
  /** Keys, comma-separated, or `*`. */ readAllowed: "*",
  writeAllowed: "*",
};

class Simulator {
  received = [];
  sent = [];
  toasts = new Map();
  blocked = new Map();
  interactions = new Map();
  subscriptions = new Map();
  agentState = "READY";
  agent = { employeeId: "1001", username: "kmilburn", firstname: "Kate", lastname: "Milburn", roles: ["ROLE_AGENT"] };
  switches = { ...SWITCHES };
  #counts = [];
  #quarantineUntil = 0;
  #nextSubscription = 1;
  #nextToast = 1;
  #nextInteraction = 1;

  constructor() {
    addEventListener("message", ({ source, origin, data }) => this.#receive(source, origin, data));
  }

  /** @param {Partial<typeof SWITCHES>} switches */
  set(switches) {
    Object.assign(this.switches, switches);
  }

  /** Embeds a page and resolves when it has loaded. @param {string} url @returns {Promise<HTMLIFrameElement>} */
  embed(url, name = "page") {
    const frame = document.createElement("iframe");
    frame.name = name;
    frame.title = name;
    frame.src = url;
    return new Promise((resolve) => {
      frame.addEventListener("load", () => resolve(frame), { once: true });
      document.getElementById("frames").append(frame);
    });
  }

  /** A message to the first page, as this window or any other may send it; nothing is added. */
  post(message, origin = "*") {
    frames[0].postMessage(message, origin);
  }

  /** An event to whoever subscribed. @param {string} event @param {object} data */
  emit(event, data) {
    for (const { source, origin, events } of this.subscriptions.values()) {
      if (events.includes(event)) this.#send(source, origin, { event, data });
    }
  }

  emitInteraction(eventType, interaction, media = "voice") {
    this.emit("interaction", { eventType, media, interaction: this.shown(interaction) });
  }

  /** A call comes in. @param {object} [userData] @param {object} [members] */
  ring(userData = {}, members = {}) {
    const interactionId = String(this.#nextInteraction++);
    const interaction = { interactionId, caseId: `case-${interactionId}`, userData, state: "RINGING", startDate: Date.now(),
      callUuid: `UUID${interactionId}`, direction: "IN", callType: "Inbound", ani: "+15550100", parties: [{ name: "A" }], ...members };
    this.interactions.set(interactionId, interaction);
    this.emitInteraction("ADDED", interaction);
    this.emitInteraction("RINGING", interaction);
    return interactionId;
  }

  /** An interaction moves on. */
  move(id, eventType, members = {}) {
    Object.assign(this.need(id), members);
    this.emitInteraction(eventType, this.need(id));
  }

  remove(id) {
    const interaction = this.need(id);
    if (this.blocked.has(id)) throw new Error(this.blocked.get(id));
    this.interactions.delete(id);
    this.emitInteraction("REMOVED", interaction);
  }

  need(id) {
    const interaction = this.interactions.get(String(id));
    if (!interaction) throw new Error(`Interaction ${id} not found`);
    return interaction;
  }

  among(member, id) {
    return { interactions: [...this.interactions.values()].filter((it) => it[member] === id).map((it) => this.shown(it)) };
  }

  /** As a page may see it. */
  shown(interaction) {
    const userData = Object.fromEntries(Object.entries(interaction.userData).filter(([key]) => listed(this.switches.readAllowed, key)));
    return { ...interaction, userData };
  }

  setUserData(id, keyValues) {
    this.#mayWrite(Object.keys(keyValues));
    const interaction = this.need(id);
    interaction.userData = { ...interaction.userData, ...keyValues };
    this.emitInteraction("ATTACHED_DATA_CHANGED", interaction);
  }

  deleteUserData(id, key) {
    this.#mayWrite([key]);
    delete this.need(id).userData[key];
    this.emitInteraction("ATTACHED_DATA_CHANGED", this.need(id));
  }

  setAgentState(state) {
    this.agentState = state;
    this.emit("agent", { eventType: "STATE_CHANGED", mediaState: state });
  }

  showToast(toast) {
    const id = `toast-${this.#nextToast++}`;
    this.toasts.set(id, toast);
    return { id };
  }

  changeToast(id, toast) {
    if (!this.toasts.has(id)) throw new Error(`Toast ${id} not found`);
    if (toast) this.toasts.set(id, toast);
    else this.toasts.delete(id);
  }

  /** Whether an origin may call a service, by the literal reading of the list. */
  allows(origin, service) {
    return this.#accepted().some(
      (entry) =>
        (entry.origin === "*" || entry.origin === origin) &&
        (entry.filter === null ||
          entry.filter.some((name) => name === service || (name.endsWith(".*") && service.startsWith(name.slice(0, -1))))),
    );
  }

  #accepted() {
    return [...this.switches.accepted.matchAll(/([^,()\s]+)\s*(?:\(([^)]*)\))?/g)].map(([, origin, filter]) => ({
      origin,
      filter: filter === undefined ? null : filter.split(",").map((name) => name.trim()),
    }));
  }

  #mayWrite(keys) {
    const refused = keys.find((key) => !listed(this.switches.writeAllowed, key));
    if (refused !== undefined) throw new Error(`Key ${refused} may not be written`);
  }

  #receive(source, origin, data) {
    if (data === null || typeof data !== "object" || !String(data.userAgent).includes("WWE Client")) return;
    this.received.push({ origin, data });
    show("in", data);
    let answer;
    try {
      answer = this.#perform(source, origin, data) ?? {};
    } catch (error) {
      answer = { errorMessage: error.message };
    }
    this.#answer(source, origin, { ...answer, referenceId: data.referenceId });
  }

  #perform(source, origin, { request, parameters = [], event, data }) {
    if (event === "subscribe") return this.#subscribe(source, origin, [data].flat());
    if (event === "unsubscribe") return void this.subscriptions.delete(data);
    if (!this.#accepted().some((entry) => entry.origin === "*" || entry.origin === origin)) throw new Error("Origin not accepted");
    if (!Object.hasOwn(SERVICES, request)) throw new Error(`Unknown service ${request}`);
    if (!this.allows(origin, request)) throw new Error(`Service ${request} is not allowed`);
    this.#count(request);
    if (request === "system.getAllowedServices") return SERVICES[request](this, null, origin);
    return SERVICES[request](this, ...parameters);
  }

  #subscribe(source, origin, events) {
    const subscriptionId = `sub-${this.#nextSubscription++}`;
    this.subscriptions.set(subscriptionId, { source, origin, events });
    if (this.switches.frameId !== null) this.#send(source, origin, { frameId: this.switches.frameId });
    if (this.switches.eventBeforeAnswer) for (const event of events) this.emit(event, { eventType: "UNKNOWN", early: true });
    return { subscriptionId };
  }

  #count(service) {
    const now = performance.now();
    if (now < this.#quarantineUntil) throw new Error("Rate limit exceeded");
    this.#counts = this.#counts.filter(({ at }) => now - at < 60_000);
    this.#counts.push({ at: now, service });
    const { rateLimit, rateLimits, quarantineMs } = this.switches;
    const own = rateLimits[service] ?? 0;
    const over = (rateLimit > 0 && this.#counts.length > rateLimit) || (own > 0 && this.#counts.filter((one) => one.service === service).length > own);
    if (!over) return;
    this.#quarantineUntil = now + quarantineMs;
    throw new Error("Rate limit exceeded");
  }

  #answer(source, origin, message) {
    const { answers, lateMs } = this.switches;
    if (answers === "never") return;
    if (answers === "late") return void setTimeout(() => this.#send(source, origin, message), lateMs);
    if (answers === "unknown-reference") return this.#send(source, origin, { ...message, referenceId: "999999" });
    this.#send(source, origin, message);
    if (answers === "twice") this.#send(source, origin, message);
  }

  #send(source, origin, members) {
    const message = { ...members, userAgent: "WWE Server", protocolVersion: 2 };
    this.sent.push(message);
    show("out", message);
    // A frame that has moved on has no window left.
    source?.postMessage(message, origin);
  }
}

function listed(list, key) {
  return list === "*" || list.split(",").some((entry) => entry.trim() === key);
}

const log = document.getElementById("log");
function show(direction, message) {
  const line = document.createElement("li");
  line.textContent = `${direction === "in" ? "←" : "→"} ${JSON.stringify(message)}`;
  log.prepend(line);
  while (log.children.length > 200) log.lastChild.remove();
}

const simulator = new Simulator();
window.simulator = simulator;

const form = document.getElementById("switches");
for (const [name, value] of Object.entries(SWITCHES)) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.value = JSON.stringify(value);
  input.addEventListener("change", () => {
    try {
      simulator.set({ [name]: JSON.parse(input.value) });
      input.setCustomValidity("");
    } catch {
      input.setCustomValidity("Not JSON");
    }
  });
  label.append(name, input);
  form.append(label);
}
document.getElementById("acts").addEventListener("click", ({ target }) => {
  const last = [...simulator.interactions.keys()].at(-1);
  const acts = {
    ring: () => simulator.ring({ conversationId: document.getElementById("conversation").value }),
    release: () => simulator.move(last, "RELEASED", { state: "IDLE" }),
    remove: () => simulator.remove(last),
    unknown: () => simulator.emit("interaction", { eventType: "NOT_IN_ANY_LIST" }),
  };
  acts[target.dataset.act]?.();
});
const page = new URLSearchParams(location.search).get("page");
if (page) simulator.embed(page);
