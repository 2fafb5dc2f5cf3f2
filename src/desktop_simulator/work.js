/**
 * What an agent does with a contact, in the desktop and on the platform at once.
 *
 * @module work
 */

/** @typedef {import("./desktop.js").Desktop} Desktop */
/** @typedef {import("./platform.js").Platform} Platform */
/** @typedef {{conversationId: string, ended: boolean, wrapped: boolean}} Case What the platform knows of an interaction. */

const CUSTOMERS = [
  ["Nadia Petrov", "+4930901820"], ["Tom Okafor", "+442079460018"], ["Lena Fischer", "+4989452301"],
  ["Marco Rossi", "+390669812"], ["Ines Duarte", "+351210493000"], ["Jonas Berg", "+4687540100"],
];

/** The work of one agent. */
export class Work {
  /** By interaction id. @type {Map<string, Case>} */ cases = new Map();
  /** The main interaction of each consultation. @type {Map<string, string>} */ #consultations = new Map();
  #next = 0;

  /** @param {string} name The agent's. @param {Desktop} desktop @param {Platform} platform @param {() => Work | null} other The agent that contacts are passed to. */
  constructor(name, desktop, platform, other) {
    this.name = name;
    this.desktop = desktop;
    this.platform = platform;
    this.other = other;
    desktop.asked = (act, id) => {
      if (act === "transfer") this.transfer(id);
      if (act === "consult") this.consult(id);
      if (act === "completeTransfer") this.completeTransfer(id);
      return {};
    };
  }

  /** A contact comes in. @param {string} media */
  async begin(media) {
    const conversationId = await this.platform.begin(media, this.name);
    const [customer, number] = CUSTOMERS[this.#next++ % CUSTOMERS.length];
    const voice = media === "voice" || media === "callback";
    return this.take(conversationId, media, { parties: [{ name: customer }], ...(voice ? { ani: number } : {}) }, { CustomerName: customer });
  }

  /** @param {string} conversationId @param {string} media @param {Record<string, any>} members @param {Record<string, any>} [userData] */
  take(conversationId, media, members, userData = {}) {
    const id = this.desktop.ring({ GenesysConversationId: conversationId, ...userData }, members, media);
    this.cases.set(id, { conversationId, ended: false, wrapped: false });
    return id;
  }

  /** Over for this agent: after-call work begins. @param {string} id */
  async release(id) {
    const { isConsultation } = this.desktop.need(id);
    this.desktop.release(id);
    if (isConsultation) return this.desktop.remove(id);
    const one = this.cases.get(id);
    if (one && !one.ended) await this.platform.end(one.conversationId, this.name);
    if (one) one.ended = true;
    this.desktop.changed();
  }

  /** The caller gives up, or the agent declines. @param {string} id */
  async miss(id) {
    const one = this.cases.get(id);
    this.desktop.miss(id);
    if (one) await this.platform.end(one.conversationId, this.name);
  }

  /** @param {string} id @param {string} code @param {string} notes */
  async wrapUp(id, code, notes) {
    const one = this.cases.get(id);
    if (!one) return;
    await this.platform.wrapUp(one.conversationId, this.name, code, notes);
    one.wrapped = true;
    this.desktop.changed();
  }

  /** To the other agent, at once. @param {string} id */
  async transfer(id) {
    const other = this.other();
    const one = this.cases.get(id);
    if (!other || !one) return;
    const { media, ani, parties, userData } = this.desktop.need(id);
    await this.platform.transfer(one.conversationId, other.name);
    one.ended = true;
    this.desktop.release(id);
    const { GenesysConversationId, ...rest } = userData;
    return other.take(one.conversationId, media, { ...(ani ? { ani } : {}), parties, callType: "Internal" }, rest);
  }

  /** Asks the other agent while the contact waits. @param {string} id @returns {string | undefined} The consultation. */
  consult(id) {
    const other = this.other();
    const one = this.cases.get(id);
    if (!other || !one) return undefined;
    const main = this.desktop.need(id);
    this.desktop.move(id, "HELD", { state: "HELD" });
    const { firstname, lastname } = other.desktop.agent;
    const members = { parentInteractionId: id, caseId: main.caseId, isConsultation: true, callType: "Consult", parties: [{ name: `${firstname} ${lastname}` }] };
    const consultation = this.desktop.dial(other.name, { GenesysConversationId: one.conversationId }, members);
    const mine = this.desktop.agent;
    const theirs = other.desktop.ring({ GenesysConversationId: one.conversationId }, { isConsultation: true, callType: "Consult", parties: [{ name: `${mine.firstname} ${mine.lastname}` }] }, "voice");
    this.#consultations.set(consultation, theirs);
    return consultation;
  }

  /** The other agent has answered. @param {string} id A consultation on either side. */
  answer(id) {
    this.desktop.answer(id);
    const other = this.other();
    const mine = other && [...other.#consultations].find(([, theirs]) => theirs === id)?.[0];
    if (mine && other.desktop.interactions.has(mine)) other.desktop.move(mine, "ESTABLISHED", { state: "TALKING" });
  }

  /** The consultation becomes the other agent's contact. @param {string} consultation */
  async completeTransfer(consultation) {
    const other = this.other();
    const theirs = this.#consultations.get(consultation);
    const main = this.desktop.need(consultation).parentInteractionId;
    const one = this.cases.get(main);
    if (!other || !theirs || !one) return;
    await this.platform.transfer(one.conversationId, other.name);
    this.desktop.release(consultation);
    this.desktop.remove(consultation);
    one.ended = true;
    this.desktop.release(main);
    other.cases.set(theirs, { conversationId: one.conversationId, ended: false, wrapped: false });
    other.desktop.move(theirs, "PARTY_CHANGED", { isConsultation: false, callType: "Internal", parties: this.desktop.need(main).parties });
  }

  /** Back to the contact. @param {string} consultation */
  async endConsultation(consultation) {
    const theirs = this.#consultations.get(consultation);
    const main = this.desktop.need(consultation).parentInteractionId;
    const other = this.other();
    this.desktop.release(consultation);
    this.desktop.remove(consultation);
    if (other && theirs && other.desktop.interactions.has(theirs)) {
      other.desktop.release(theirs);
      other.desktop.remove(theirs);
    }
    this.desktop.move(main, "ESTABLISHED", { state: "TALKING" });
  }

  /** An answer to an e-mail, in the same case. @param {string} id */
  reply(id) {
    const { caseId, parties, userData } = this.desktop.need(id);
    return this.desktop.write(parties?.[0]?.name ?? "", { ...userData }, { caseId, parentInteractionId: id });
  }
}
