/**
 * The simulated platform behind the desktop, as its server offers it; without that server, a stand-in that only
 * makes ids.
 *
 * @module platform
 */

/** @typedef {{recordId: string, conversationId: string, receivedAt: string}} Received */

/** What happens on the platform when an agent does something in the desktop. */
export class Platform {
  /** @type {(problem: string) => void} */ failed = () => {};
  #there;

  /** @param {boolean} there Whether the desktop's server has a platform. */
  constructor(there) {
    this.#there = there;
  }

  /** A conversation begins, with this agent on it. @param {string} media @param {string} agent @returns {Promise<string>} Its id. */
  async begin(media, agent) {
    const made = await this.#post("", { media, agent });
    return made?.conversationId ?? crypto.randomUUID();
  }

  /** @param {string} id @param {string} agent Who gets it. */
  transfer(id, agent) {
    return this.#post(`/${id}/transfer`, { agent });
  }

  /** The agent's part is over: after-call work begins. @param {string} id @param {string} agent */
  end(id, agent) {
    return this.#post(`/${id}/end`, { agent });
  }

  /** @param {string} id @param {string} agent @param {string} code @param {string} notes */
  wrapUp(id, agent, code, notes) {
    return this.#post(`/${id}/wrapup`, { agent, ...(code ? { code } : {}), ...(notes ? { notes } : {}) });
  }

  /** How the history manager behaves. @param {string} mood */
  async mood(mood) {
    if (this.#there) await fetch("/history", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ mood }) });
  }

  /** @returns {Promise<Received[]>} */
  async received() {
    if (!this.#there) return [];
    const response = await fetch("/history");
    return response.ok ? response.json() : [];
  }

  /** @param {string} path @param {object} body @returns {Promise<any>} */
  async #post(path, body) {
    if (!this.#there) return null;
    const response = await fetch(`/platform/conversations${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = await response.json().catch(() => null);
    if (response.ok) return answer;
    this.failed(`The simulated platform answered ${response.status}: ${answer?.detail ?? answer?.title ?? ""}`);
    return null;
  }
}
