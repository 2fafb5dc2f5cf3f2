/**
 * The panels of one agent, which act as one.
 *
 * A desktop may embed the page once, or once for each interaction. One panel leads: it reports, listens and tells
 * the agent; the others show what it tells them. If it is closed, another one takes over.
 *
 * Who leads is settled by a lock of the browser, where there is one; else by the panels among themselves: the oldest
 * that was heard of lately leads. They talk over a channel of the browser; where that is not to be had, because the
 * browser keeps storage from embedded pages, each talks to the windows of its own origin beside it. A panel that
 * finds none of these is alone and leads itself.
 *
 * @module panels
 */

/** How often a panel without a lock says that it is there, and when it is taken for gone, in milliseconds. */
const BEAT = 5_000;
const GONE_AFTER = 70_000;
/** How long a panel without a lock listens before it leads. */
const SETTLE = 400;

/** One panel among those of its agent. */
export class Panels {
  /** Whether this one leads. */ leads = false;
  /** @type {string} */ #scope;
  /** @type {(message: any) => void} */ #send = () => {};
  /** When the others were heard of, by their name. @type {Map<string, number>} */ #others = new Map();
  // The time comes first, so that the oldest has the smallest name.
  #name = `${Date.now().toString(36).padStart(9, "0")}-${Math.random().toString(36).slice(2)}`;
  /** @type {() => void} */ #leave = () => {};

  /**
   * @param {string} scope Whose panels these are: the desktop and the agent.
   * @param {{hear: (message: any) => void, lead: () => void}} to
   */
  constructor(scope, { hear, lead }) {
    this.#scope = scope;
    this.hear = hear;
    this.lead = () => {
      if (this.leads) return;
      this.leads = true;
      lead();
    };
  }

  /** Begins: listens to the others, then finds out who leads. */
  join() {
    this.#open();
    const locks = /** @type {LockManager | undefined} */ (navigator.locks);
    if (!locks) return this.#agree();
    // Held until the page goes; the promise only fails where the browser has no locks for embedded pages.
    locks.request(`agent-desktop ${this.#scope}`, () => (this.lead(), new Promise(() => {}))).catch(() => this.#agree());
  }

  /** @param {any} message Tells the others. */
  tell(message) {
    this.#send({ panel: this.#name, scope: this.#scope, message });
  }

  /** The page goes. */
  leave() {
    this.tell({ kind: "bye" });
    this.#leave();
  }

  #open() {
    const take = (/** @type {any} */ data) => {
      if (data?.scope !== this.#scope || typeof data.panel !== "string" || data.panel === this.#name) return;
      if (data.message?.kind === "bye") this.#others.delete(data.panel);
      else this.#others.set(data.panel, Date.now());
      if (data.message?.kind !== "bye" && data.message?.kind !== "beat") this.hear(data.message);
    };
    try {
      const channel = new BroadcastChannel("agent-desktop");
      channel.onmessage = ({ data }) => take(data);
      this.#send = (message) => channel.postMessage(message);
      this.#leave = () => channel.close();
    } catch {
      addEventListener("message", ({ origin, data }) => origin === location.origin && take(data));
      this.#send = (message) => siblings().forEach((window) => window.postMessage(message, location.origin));
    }
  }

  #agree() {
    const beat = () => {
      this.tell({ kind: "beat" });
      const now = Date.now();
      for (const [name, at] of this.#others) if (now - at > GONE_AFTER) this.#others.delete(name);
      if ([...this.#others.keys()].every((name) => name > this.#name)) this.lead();
    };
    this.tell({ kind: "beat" });
    setTimeout(() => (beat(), setInterval(beat, BEAT)), SETTLE);
  }
}

/** Windows of this origin that the same desktop embeds. @returns {Window[]} */
function siblings() {
  /** @type {Window[]} */ const found = [];
  for (let index = 0; index < parent.frames.length; index += 1) {
    const window = parent.frames[index];
    try {
      if (window !== self && window.location.origin === location.origin) found.push(window);
    } catch {
      // A window of another origin does not say where it is.
    }
  }
  return found;
}
