/**
 * The Service Client API of Agent Desktop and Workspace Web Edition, spoken by a page that the desktop
 * embeds or opens. Promise-based, without dependency, without state outside the instance.
 *
 *     const desktop = new ServiceClient({ origins: ["https://desktop.example.com"] });
 *     const answer = await desktop.agent.get({ timeout: 3000 });
 *     const heard = await desktop.subscribe("interaction", (data) => console.log(data.eventType));
 *     await heard.unsubscribe();
 *     desktop.unload();
 *
 * Every method takes its documented arguments and then one options object, `{ signal, timeout }`.
 * It resolves with the members of the desktop's answer, without the envelope (the protocol does not name
 * the member that carries a list: see `listIn`). It rejects with a `DesktopError`, or with the reason of
 * the signal. An answer says that the desktop took the request; the effect is told by events.
 *
 * Rules that this module keeps:
 * - It believes a message only if it comes from the desktop's window, from an allowed origin, and names the
 *   desktop as its sender. From the first believed message on, that one origin is the only one.
 * - It sends to a named origin. `*` is sent only if the caller allows it, and only until the origin is known.
 * - A request is settled once: late, double and unasked answers are dropped.
 * - Handlers are told apart by identity, not by their text. Each has its own subscription here; on the wire
 *   there is one per event name, so that an event never arrives twice.
 *
 * Three files belong together: this one, `service-client-methods.js` (every method) and `service-client-events.js`
 * (every event type). A page of another origin takes copies of them: browsers load a module from elsewhere only if
 * that host says so.
 *
 * @module service-client
 */

import { methods } from "./service-client-methods.js";

export { EVENT_TYPES, EVENT_TYPES_BY_GROUP, isEventType } from "./service-client-events.js";

/** The version that both known scripts of the desktop speak. */
export const PROTOCOL_VERSION = 2;
/** How long the desktop may take to answer, in milliseconds. */
export const DEFAULT_TIMEOUT = 10_000;
/** How many requests may be under way at once: far above any honest use, so that a silent desktop costs no memory. */
export const MAX_PENDING = 256;

/** Members that belong to the protocol and not to the answer. */
const ENVELOPE = ["referenceId", "userAgent", "protocolVersion", "frameId"];
/** How many subscribe requests that timed out are remembered, so that a late answer can be undone. */
const MAX_ABANDONED = 32;

// The reference counts per page, not per instance: two clients in one page hear each other's answers.
let nextReference = 0;

/**
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal] Gives the request up; the promise rejects with the signal's reason.
 * @property {number} [timeout] Milliseconds until the promise rejects; `Infinity` for never.
 */
/** @typedef {Record<string, any>} Answer Members of the desktop's answer, without the envelope. */
/** @typedef {Record<string, any>} KeyValues Attached data; values may be nested objects. */
/**
 * @typedef {string | {target: "AGENT"|"AGENT_GROUP"|"SKILL"|"INTERACTION_QUEUE"|"ROUTING_POINT"|"CUSTOM_CONTACT",
 *   destination: string}} TargetQuery A plain string is a custom contact, dialled as it is.
 */
/**
 * @typedef {object} Interaction
 * @property {string} interactionId Unique in the session of the desktop.
 * @property {string} [parentInteractionId] The main interaction of a consultation.
 * @property {string} [caseId]
 * @property {KeyValues} [userData] Only the keys that the desktop lets this page read.
 * @property {string} [state]
 * @property {string} [previousState]
 * @property {{name: string}[]} [parties]
 * @property {boolean} [isConsultation]
 * @property {boolean} [isMainCaseInteraction]
 * @property {boolean} [isCaseSelected] The agent looks at its case; later versions of the desktop.
 * @property {boolean} [isCaseExpanded] Likewise.
 * @property {number} [startDate] Milliseconds since 1970.
 * @property {string} [callUuid]
 * @property {string} [direction] `IN`, `OUT` or `UNKNOWN`.
 * @property {string} [callType] Compare without regard to case.
 * @property {string} [ani]
 * @property {string} [dnis]
 * @property {string} [recordingState] `STOPPED`, `RECORDING` or `PAUSED`.
 */
/**
 * @typedef {object} Agent
 * @property {string} [employeeId]
 * @property {string} [username]
 * @property {string} [firstname]
 * @property {string} [lastname]
 * @property {string[]} [roles] Of `ROLE_AGENT`, `ROLE_SUPERVISOR`, `ROLE_ADMIN`.
 */
/** @typedef {import("./service-client-events.js").EventType} EventType */
/**
 * What an event brings. `eventType` is one of the known ones, or one that a later desktop has.
 * @typedef {object} EventData
 * @property {EventType | (string & {})} [eventType]
 * @property {string} [media] `voice`, `chat`, `email`, …; with the event name `interaction`.
 * @property {Interaction} [interaction] With the event name `interaction`.
 * @property {string} [selectedCaseId] With the events of cases.
 * @property {string} [mediaState] With the event name `agent`.
 * @property {string} [reason]
 * @property {string} [reasonCode]
 */
/** @typedef {"agent"|"interaction"|"system"|(string & {})} EventName Documented are the three; others are passed on. */
/** @typedef {(data: any, event: {event: string}) => void} EventHandler `data` is an `EventData` where the desktop keeps to its documentation. */
/** @typedef {{events: string[], unsubscribe: (options?: CallOptions) => Promise<void>}} Subscription */
/** @typedef {{name: string, resolve: (answer: Answer) => void, reject: (reason: any) => void}} Pending */

/**
 * Why a request failed.
 *
 * | `kind` | Meaning |
 * |---|---|
 * | `refused` | the desktop answered with an error; `answer` has all of it |
 * | `timeout` | no answer in time; the desktop may still have acted |
 * | `no-desktop` | the page is neither embedded nor opened by another window |
 * | `foreign-desktop` | the embedding window is known, and its origin is not allowed |
 * | `unloaded` | the client was shut down |
 * | `overloaded` | more than `MAX_PENDING` requests are under way |
 * | `not-sent` | an argument cannot be sent, such as a function |
 */
export class DesktopError extends Error {
  /**
   * @param {"refused"|"timeout"|"no-desktop"|"foreign-desktop"|"unloaded"|"overloaded"|"not-sent"} kind
   * @param {string} message
   * @param {{request?: string, answer?: Answer, cause?: unknown}} [facts]
   */
  constructor(kind, message, facts = {}) {
    super(message, { cause: facts.cause });
    this.name = "DesktopError";
    this.kind = kind;
    this.request = facts.request;
    this.answer = facts.answer;
  }
}

/**
 * The list in an answer, wherever the desktop put it: the answer itself, the named member, else the first
 * member that is an array.
 * @param {any} answer
 * @param {string} [member]
 * @returns {any[]}
 */
export function listIn(answer, member) {
  if (Array.isArray(answer)) return answer;
  if (answer === null || typeof answer !== "object") return [];
  if (member && Array.isArray(answer[member])) return answer[member];
  return Object.values(answer).find(Array.isArray) ?? [];
}

/** One conversation with one desktop. */
export class ServiceClient {
  /** @type {Window | null} */ #target;
  /** @type {Window} */ #self;
  /** @type {string[]} */ #allowed;
  /** @type {string | null} */ #origin = null;
  /** @type {string | null} */ #foreign = null;
  /** @type {unknown} */ #frameId;
  #timeout;
  #unloaded = false;
  /** @type {Map<string, Pending>} */ #pending = new Map();
  /** @type {Set<string>} */ #abandoned = new Set();
  /** @type {Map<string, Topic>} */ #topics = new Map();
  /** @type {(event: MessageEvent) => void} */ #listener;

  /**
   * @param {object} options
   * @param {string[]} options.origins Origins of desktops that may be believed, such as
   *   `https://desktop.example.com`. `*` believes any origin until the first answer; say it only in a test.
   * @param {Window | null} [options.target] The desktop's window; else the opener, else the parent.
   * @param {number} [options.timeout] Milliseconds, for calls that name none.
   * @param {Window} [options.self] The page's own window.
   */
  constructor({ origins, target, timeout = DEFAULT_TIMEOUT, self = window }) {
    this.#self = self;
    this.#timeout = timeout;
    this.#allowed = [...new Set(origins.map((origin) => (origin === "*" ? "*" : new URL(origin).origin)))];
    const parent = self.parent === self ? null : self.parent;
    this.#target = target ?? self.opener ?? parent;
    this.#know(this.#target !== null && this.#target === parent);

    this.agent = methods.agent(this.#call);
    this.auth = methods.auth(this.#call);
    this.configuration = methods.configuration(this.#call);
    this.email = methods.email(this.#call);
    this.interaction = methods.interaction(this.#call);
    this.media = methods.media(this.#call);
    this.sipEndpoint = methods.sipEndpoint(this.#call);
    this.system = methods.system(this.#call);
    this.voice = methods.voice(this.#call);

    this.#listener = (event) => this.#receive(event);
    self.addEventListener("message", this.#listener);
  }

  /** The desktop's origin once it is known, else `null`. */
  get origin() {
    return this.#origin;
  }

  /** What the desktop calls this frame; it is repeated in every message once told. */
  get frameId() {
    return this.#frameId;
  }

  /**
   * Sends a request that has no method here.
   * @param {string} request `namespace.method`
   * @param {unknown[]} [parameters]
   * @param {CallOptions} [options]
   * @returns {Promise<Answer>}
   */
  call(request, parameters, options) {
    return this.#call(request, parameters, options);
  }

  /**
   * Hears events. Events are not replayed: subscribe first, then read the present state.
   * The handler is in place before the request leaves, so that no event between request and answer is lost.
   * @param {EventName | EventName[]} events
   * @param {EventHandler} handler Called with the event's `data`; what it throws stops no other handler.
   * @param {CallOptions} [options] For the request. A signal that fires later does not end the subscription.
   * @returns {Promise<Subscription>} Each has a life of its own, even with the same handler.
   */
  async subscribe(events, handler, options = {}) {
    const names = [...new Set(Array.isArray(events) ? events : [events])];
    const token = { handler };
    const topics = names.map((name) => this.#topic(name));
    const leave = async (/** @type {CallOptions} */ leaving = {}) => {
      for (const topic of topics) topic.members.delete(token);
      await Promise.all(topics.map((topic) => this.#settle(topic, leaving)));
    };
    for (const topic of topics) topic.members.add(token);
    try {
      await Promise.all(topics.map((topic) => this.#settle(topic, options)));
    } catch (reason) {
      leave().catch(() => {});
      throw reason;
    }
    return { events: names, unsubscribe: leave };
  }

  /**
   * Subscribes anew to what is heard: for a desktop that was away and may have forgotten this page. What it still
   * knows of the old subscriptions is ended first, so that no event comes twice.
   * @param {CallOptions} [options]
   * @returns {Promise<void>}
   */
  async renew(options = {}) {
    const heard = [...this.#topics.values()].filter(({ members }) => members.size > 0);
    await Promise.all(heard.map((topic) => this.#settle(topic, options, true)));
  }

  /** Ends everything: no message is believed any more, what is under way rejects, subscriptions are dropped. */
  unload() {
    if (this.#unloaded) return;
    for (const { id } of this.#topics.values()) {
      // Nobody is left to hear the answer; a desktop that is gone already needs none.
      if (id !== null) this.#send(reference(), { event: "unsubscribe", data: id }, () => {});
    }
    this.#unloaded = true;
    this.#self.removeEventListener("message", this.#listener);
    this.#topics.clear();
    this.#abandoned.clear();
    for (const { reject } of [...this.#pending.values()]) reject(new DesktopError("unloaded", "The page let go of the desktop"));
    this.#pending.clear();
  }

  /** @type {Call} */
  #call = (request, parameters, options) =>
    this.#ask(parameters === undefined ? { request } : { request, parameters }, request, options);

  /**
   * @param {object} body @param {string} name @param {CallOptions} [options] @param {boolean} [undo]
   * @returns {Promise<Answer>}
   */
  #ask(body, name, { signal, timeout = this.#timeout } = {}, undo = false) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const obstacle = this.#obstacle(name);
      if (obstacle) return reject(obstacle);

      const id = reference();
      /** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
      const done = () => {
        this.#pending.delete(id);
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const giveUp = (/** @type {unknown} */ reason) => {
        done();
        if (undo && !this.#unloaded) this.#abandon(id);
        reject(reason);
      };
      const abort = () => giveUp(signal?.reason);
      if (Number.isFinite(timeout)) {
        const text = `The desktop did not answer ${name} within ${timeout} ms`;
        timer = setTimeout(() => giveUp(new DesktopError("timeout", text, { request: name })), timeout);
      }
      signal?.addEventListener("abort", abort, { once: true });
      this.#pending.set(id, {
        name,
        resolve: (answer) => (done(), resolve(answer)),
        reject: (reason) => (done(), reject(reason)),
      });
      this.#send(id, body, (cause) => {
        done();
        reject(new DesktopError("not-sent", `${name} could not be sent: ${cause}`, { request: name, cause }));
      });
    });
  }

  /** @param {string} request @returns {DesktopError | null} */
  #obstacle(request) {
    if (this.#unloaded) return new DesktopError("unloaded", "The page let go of the desktop", { request });
    if (!this.#target) return new DesktopError("no-desktop", "This page was not opened by a desktop", { request });
    if (this.#foreign !== null) {
      return new DesktopError("foreign-desktop", `${this.#foreign} is not an allowed desktop`, { request });
    }
    if (this.#allowed.length === 0) {
      return new DesktopError("foreign-desktop", "No desktop is allowed to talk to this page", { request });
    }
    if (this.#pending.size >= MAX_PENDING) {
      return new DesktopError("overloaded", `${MAX_PENDING} requests are unanswered`, { request });
    }
    return null;
  }

  /** @param {string} referenceId @param {object} body @param {(cause: unknown) => void} failed */
  #send(referenceId, body, failed) {
    const message = { ...body, referenceId, userAgent: "WWE Client", protocolVersion: PROTOCOL_VERSION };
    if (this.#frameId !== undefined) Object.assign(message, { frameId: this.#frameId });
    // While several origins are possible each gets a copy; the browser delivers only the one that fits.
    const origins = this.#origin !== null ? [this.#origin] : this.#allowed;
    try {
      for (const origin of origins) this.#target?.postMessage(message, origin);
    } catch (cause) {
      failed(cause);
    }
  }

  /** @param {boolean} embedded The desktop is the parent, whose origin the browser may tell. */
  #know(embedded) {
    const { certain, likely } = embedded ? embedder(this.#self) : { certain: null, likely: null };
    const anyone = this.#allowed.includes("*");
    if (certain !== null && !anyone && !this.#allowed.includes(certain)) this.#foreign = certain;
    else if (certain !== null) this.#origin = certain;
    else if (likely !== null && this.#allowed.includes(likely)) this.#origin = likely;
    else if (this.#allowed.length === 1 && !anyone) this.#origin = this.#allowed[0];
  }

  /** @param {string} origin */
  #believes(origin) {
    if (this.#origin !== null) return origin === this.#origin;
    return origin !== "null" && (this.#allowed.includes(origin) || this.#allowed.includes("*"));
  }

  /** @param {MessageEvent} event */
  #receive({ source, origin, data }) {
    if (source !== this.#target || this.#foreign !== null || !this.#believes(origin)) return;
    if (data === null || typeof data !== "object" || Array.isArray(data)) return;
    if (data.event !== undefined || data.referenceId !== undefined) {
      // Another client's request also says "WWE"; it is not an answer.
      const sender = data.userAgent;
      if (typeof sender !== "string" || !sender.includes("WWE") || sender.includes("WWE Client")) return;
    } else if (data.frameId === undefined) {
      return;
    }
    this.#origin = origin;
    if (data.event !== undefined) this.#event(data);
    else if (data.referenceId !== undefined) this.#answer(data);
    else this.#frameId = data.frameId;
  }

  /** @param {any} message */
  #answer(message) {
    const id = String(message.referenceId);
    const pending = this.#pending.get(id);
    if (!pending) {
      // A subscription that came into being after we gave it up must not go on in the desktop.
      if (this.#abandoned.delete(id)) this.#undo(message);
      return;
    }
    const answer = Object.fromEntries(Object.entries(message).filter(([member]) => !ENVELOPE.includes(member)));
    if (message.errorMessage === undefined) return pending.resolve(answer);
    pending.reject(new DesktopError("refused", String(message.errorMessage), { request: pending.name, answer }));
  }

  /** @param {any} message */
  #event(message) {
    const members = this.#topics.get(String(message.event))?.members ?? [];
    for (const { handler } of [...members]) {
      try {
        handler(message.data, { event: message.event });
      } catch (error) {
        this.#self.reportError?.(error);
      }
    }
  }

  /** @param {string} id */
  #abandon(id) {
    this.#abandoned.add(id);
    if (this.#abandoned.size > MAX_ABANDONED) this.#abandoned.delete([...this.#abandoned][0]);
  }

  /** @param {any} late The answer to a subscribe request that was given up. */
  #undo(late) {
    const id = late.subscriptionId;
    const inUse = [...this.#topics.values()].some((topic) => topic.id === id);
    if (id !== undefined && !inUse) this.#ask({ event: "unsubscribe", data: id }, "unsubscribe").catch(() => {});
  }

  /** @param {string} name @returns {Topic} */
  #topic(name) {
    let topic = this.#topics.get(name);
    if (!topic) this.#topics.set(name, (topic = { name, members: new Set(), id: null, turn: Promise.resolve() }));
    return topic;
  }

  /**
   * Brings the desktop's side of a topic in line with ours. Turns are taken one after the other, so that a
   * subscribe and an unsubscribe never overtake each other.
   * @param {Topic} topic @param {CallOptions} options @param {boolean} [anew] The desktop's side may be gone.
   */
  #settle(topic, options, anew = false) {
    const turn = topic.turn.then(async () => {
      if (this.#unloaded) throw new DesktopError("unloaded", "The page let go of the desktop");
      if (anew && topic.id !== null) {
        const old = topic.id;
        topic.id = null;
        // Refused where the desktop has forgotten it, which is what it comes to.
        await this.#ask({ event: "unsubscribe", data: old }, `unsubscribe ${topic.name}`, options).catch(() => {});
      }
      if (topic.members.size > 0 && topic.id === null) {
        const answer = await this.#ask({ event: "subscribe", data: topic.name }, `subscribe ${topic.name}`, options, true);
        topic.id = answer.subscriptionId ?? topic.name;
      } else if (topic.members.size === 0 && topic.id !== null) {
        const id = topic.id;
        topic.id = null;
        await this.#ask({ event: "unsubscribe", data: id }, `unsubscribe ${topic.name}`, options);
      }
    });
    topic.turn = turn.catch(() => {});
    return turn;
  }
}

/**
 * One event name: who hears it here (`members`), what the desktop calls our subscription (`id`), whose turn it is.
 * @typedef {{name: string, members: Set<{handler: EventHandler}>, id: any, turn: Promise<void>}} Topic
 */
/** @typedef {(request: string, parameters?: unknown[], options?: CallOptions) => Promise<Answer>} Call */

function reference() {
  return String(nextReference++);
}

/**
 * The origin of the window that embeds this one, as far as the browser tells. The referrer is only likely: it may
 * also be a page that this frame showed before.
 * @param {Window} self
 * @returns {{certain: string | null, likely: string | null}}
 */
function embedder(self) {
  const told = /** @type {any} */ (self.location).ancestorOrigins?.[0];
  const certain = told && told !== "null" ? told : null;
  const { referrer } = self.document;
  return { certain, likely: URL.canParse(referrer) ? new URL(referrer).origin : null };
}
