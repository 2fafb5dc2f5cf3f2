/**
 * The gateway, as the page calls it: report a contact, look at it, hear what is new about many.
 *
 * Nothing here waits or decides; every answer becomes one of a few outcomes. The one thing that is repeated is a
 * call whose token was refused, once, with the next token.
 *
 * @module gateway
 */

/** How long the gateway may take to answer, in milliseconds. */
const TIMEOUT = 15_000;
/** The same for news, which it holds for up to 25 s. */
const NEWS_TIMEOUT = 40_000;
/** The longest pause that a `Retry-After` may ask for, in milliseconds. */
const LONGEST_PAUSE = 300_000;

/**
 * @typedef {object} Filed What the gateway tells of a record.
 * @property {string} recordId
 * @property {string} [source]
 * @property {string} [eventTime]
 * @property {string} [receivedAt]
 * @property {string} state `queued`, `deferred`, `delivered`, `dead`, `held` or `discarded`.
 * @property {number} [attempts]
 * @property {string} [deliveredAt]
 * @property {string} [lastError]
 * @property {string} [userId] The agent on the platform.
 * @property {string} [participantId]
 * @property {string} [wrapupCode]
 * @property {number} [wrapupDurationMs]
 */
/**
 * @typedef {object} View What the gateway tells of a conversation.
 * @property {string} conversationId
 * @property {string} state
 * @property {string} [acceptedAt]
 * @property {string} [watchedSince]
 * @property {string} [finishedAt]
 * @property {boolean} [afterCallWork]
 * @property {{code?: string, detail?: string}} [reason]
 * @property {Record<string, any>} [interaction] Only where it was asked for by itself.
 * @property {Filed[]} [records]
 */
/**
 * @typedef {{kind: "unknown"} | {kind: "unauthorised"} | {kind: "refused", detail: string}
 *   | {kind: "later", detail: string, pause: number | null}} Failure
 */
/** @typedef {{kind: "known", view: View, created: boolean} | Failure} Outcome `created`: it was not watched before. */
/** @typedef {{cursor: string, conversations: View[], pauseMs: number}} News */
/** @typedef {{kind: "news", news: News} | Failure} NewsOutcome */
/** @typedef {{status: number, body: any, retryAfter: string | null}} Answer */

/** The calls, and the token that goes with them. */
export class Gateway {
  #access;
  #interactions;
  #news;

  /**
   * @param {URL} page The page's own address.
   * @param {import("./access.js").Access} access
   */
  constructor(page, access) {
    this.#access = access;
    this.#interactions = new URL("../customers/supportInteraction", page);
    this.#news = new URL("news", page);
  }

  /**
   * @param {object} body
   * @returns {Promise<Outcome>}
   */
  async report(body) {
    return viewOf(await this.#fetch(this.#interactions, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }));
  }

  /** @param {string} conversationId @returns {Promise<Outcome>} */
  async look(conversationId) {
    return viewOf(await this.#fetch(new URL(`${this.#interactions.pathname}/${conversationId}`, this.#interactions), {}));
  }

  /**
   * What is new about these conversations. Held by the gateway until something is.
   * @param {string[]} ids @param {string | null} since The cursor of the answer before. @param {AbortSignal} signal
   * @returns {Promise<NewsOutcome>}
   */
  async news(ids, since, signal) {
    const url = new URL(this.#news);
    url.searchParams.set("ids", ids.join(","));
    if (since !== null) url.searchParams.set("since", since);
    const answer = await this.#fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(NEWS_TIMEOUT)]) });
    const failure = failureOf(answer);
    if (failure !== null) return failure;
    const { body } = answer;
    if (!Array.isArray(body?.conversations)) return foreign();
    const conversations = body.conversations.filter((/** @type {any} */ one) => typeof one?.conversationId === "string" && typeof one?.state === "string");
    return { kind: "news", news: { cursor: String(body.cursor ?? ""), conversations, pauseMs: Math.min(Number(body.pauseMs) || 0, LONGEST_PAUSE) } };
  }

  /** @param {URL} url @param {RequestInit} init @returns {Promise<Answer>} */
  async #fetch(url, init) {
    for (let again = true; ; again = false) {
      const token = await this.#access.token();
      const answer = await send(url, init, token);
      if (answer.status !== 401) {
        // Without an answer nobody has accepted anything.
        if (answer.status >= 200 && answer.status < 500) this.#access.accepted();
        return answer;
      }
      if (!this.#access.refused(token) || !again) return answer;
    }
  }
}

/** @param {URL} url @param {RequestInit} init @param {string | null} token @returns {Promise<Answer>} Status 0: no answer, 1: none in time. */
async function send(url, init, token) {
  const headers = new Headers(init.headers);
  headers.set("Accept", "application/json");
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  try {
    const signal = init.signal ?? AbortSignal.timeout(TIMEOUT);
    const response = await fetch(url, { ...init, headers, cache: "no-store", redirect: "error", signal });
    const body = await response.json().catch(() => null);
    return { status: response.status, body, retryAfter: response.headers.get("Retry-After") };
  } catch (error) {
    const slow = error instanceof DOMException && error.name === "TimeoutError";
    return { status: slow ? 1 : 0, body: null, retryAfter: null };
  }
}

/** @param {Answer} answer @returns {Outcome} */
function viewOf(answer) {
  const { body } = answer;
  return failureOf(answer) ?? (typeof body?.state === "string" ? { kind: "known", view: body, created: answer.status === 202 } : foreign());
}

/** A proxy's page with status 200 is not an answer of the gateway. @returns {Failure} */
function foreign() {
  return { kind: "later", detail: "The answer is not the gateway's", pause: null };
}

/** @param {Answer} answer @returns {Failure | null} Nothing where it succeeded. */
export function failureOf({ status, body, retryAfter }) {
  if (status === 0) return { kind: "later", detail: "The gateway cannot be reached", pause: null };
  if (status === 1) return { kind: "later", detail: "The gateway does not answer", pause: null };
  if (status >= 200 && status < 300) return null;
  if (status === 401) return { kind: "unauthorised" };
  if (status === 404) return { kind: "unknown" };
  const detail = String(body?.detail ?? body?.title ?? `The gateway answered ${status}`);
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    const seconds = retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null;
    return { kind: "later", detail, pause: seconds === null ? null : Math.min(seconds * 1000, LONGEST_PAUSE) };
  }
  return { kind: "refused", detail };
}
