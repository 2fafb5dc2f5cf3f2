/**
 * What the page does in the desktop when something was filed or failed: attached data and toasts.
 *
 * Each record is told once, by the panel that leads; what was so before the page looked first is no news. Another
 * agent's wrap-up is neither told nor written.
 *
 * @module effects
 */

import { sentence } from "./desk.js";

/** @typedef {import("./gateway.js").Filed} Filed */
/** @typedef {import("./gateway.js").View} View */
/** @typedef {import("./whose.js").Whose} Whose */
/** @typedef {{state: "written"|"failed", text: string, value: Record<string, unknown>}} Written */
/** @typedef {{view: View, since: string | null, title: string, interactionId: string | null, whose: (record: Filed) => Whose}} Facts */

/** How many outcomes are remembered. */
const MAX_TOLD = 500;
/** Pauses before a refused write is tried again by itself, in milliseconds: it may have been one request too many. */
const PAUSES = [60_000, 120_000];

/** Tells and writes. */
export class Effects {
  /** What became of writing, by conversation. @type {Map<string, Written>} */ written = new Map();
  /** @type {Set<string>} */ #told = new Set();
  /** @type {Set<string>} */ #seen = new Set();
  #client;
  #settings;

  /**
   * @param {import("./service-client.js").ServiceClient} client
   * @param {{toast: "never"|"failures"|"all", writeBackKey: string}} settings
   * @param {{may: (method: string) => boolean, changed: () => void}} to
   */
  constructor(client, settings, { may, changed }) {
    this.#client = client;
    this.#settings = settings;
    this.may = may;
    this.changed = changed;
  }

  /** Whether results are written into the desktop at all. */
  get writes() {
    return this.#settings.writeBackKey !== "" && this.may("interaction.setUserData");
  }

  /**
   * The gateway told something about a conversation.
   * @param {Facts} facts
   * @param {boolean} acting Whether this panel is the one that tells; else it only remembers.
   */
  look({ view, since, title, interactionId, whose }, acting) {
    const id = view.conversationId;
    const first = !this.#seen.has(id);
    // The answer to a report has no records yet.
    if (view.records === undefined) return;
    this.#seen.add(id);
    for (const record of view.records) {
      const old = first && !(since !== null && Date.parse(String(record.receivedAt)) >= Date.parse(since));
      if (!this.#new(`${record.recordId} ${record.state}`) || old || !acting || whose(record) === "other") continue;
      if (record.state === "delivered") {
        this.write(id, interactionId, record);
        if (this.#settings.toast === "all") this.#toast(title, "The wrap-up is filed.");
      } else if (record.state === "dead") this.#fail(title, "The wrap-up could not be filed. It is kept, and a person has to look at it.");
      else if (record.state === "held") this.#fail(title, "The wrap-up is held back by operations. It is kept.");
    }
    if (["refused", "expired"].includes(view.state) && this.#new(`${id} ${view.state}`) && !first && acting) {
      this.#fail(title, "No wrap-up can be filed for this conversation. Tell whoever runs the gateway.");
    }
  }

  /**
   * Writes what was filed to the interaction.
   * @param {string} conversationId @param {string | null} interactionId `null` where the desktop has let go of it.
   * @param {Filed} record @param {number} [tries]
   */
  async write(conversationId, interactionId, record, tries = 0) {
    if (!this.writes || interactionId === null) return;
    const key = this.#settings.writeBackKey;
    const value = { state: "filed", recordId: record.recordId, deliveredAt: record.deliveredAt };
    try {
      await this.#client.interaction.setUserData(interactionId, { [key]: value });
      this.written.set(conversationId, { state: "written", text: `Written to the interaction as ${key}.`, value });
    } catch (reason) {
      this.written.set(conversationId, { state: "failed", text: `Not written to the interaction as ${key}: ${sentence(reason)}`, value });
      if (tries < PAUSES.length) {
        setTimeout(() => {
          if (this.written.get(conversationId)?.state === "failed") this.write(conversationId, interactionId, record, tries + 1);
        }, PAUSES[tries]);
      }
    }
    this.changed();
  }

  /** @param {string} title @param {string} message */
  #fail(title, message) {
    if (this.#settings.toast !== "never") this.#toast(title, message);
  }

  /** @param {string} title @param {string} message */
  #toast(title, message) {
    if (!this.may("system.popupToast")) return;
    // The card says the same; a desktop that shows no toast loses nothing.
    this.#client.system.popupToast({ title: "Communication records", subject: title, message }).catch(() => {});
  }

  /** @param {string} fact */
  #new(fact) {
    if (this.#told.has(fact)) return false;
    this.#told.add(fact);
    if (this.#told.size > MAX_TOLD) this.#told.delete([...this.#told][0]);
    return true;
  }
}
