/**
 * What the simulated desktop allows, and how it misbehaves when it is told to: one set for all its agents, as the
 * options of the real one are.
 *
 * @module rules
 */

/** What can be switched. */
export const SWITCHES = {
  /** Comma-separated origins, each with an optional filter in parentheses; `*` for everybody. */
  accepted: "*",
  /** Requests per minute; 0 is unlimited. */
  rateLimit: 0,
  /** The same per service. @type {Record<string, number>} */
  rateLimits: {},
  quarantineMs: 1000,
  /** Keys, comma-separated, or `*`. */
  readAllowed: "*",
  writeAllowed: "*",
  /** The longest that `blockMarkdone` keeps an interaction, in milliseconds; 0 for ever. */
  blockMs: 0,
  /** `prompt`, `never`, `late` (after `lateMs`), `twice`, or `unknown-reference`. */
  answers: "prompt",
  lateMs: 300,
  /** An event of the subscribed name leaves before the answer to `subscribe`. */
  eventBeforeAnswer: false,
  /** Told to the page in a message of its own. @type {any} */
  frameId: null,
  /** The desktop is away: it hears and says nothing, and forgets who subscribed. */
  away: false,
};

/** The rules, and the count of requests. */
export class Rules {
  switches = structuredClone(SWITCHES);
  /** @type {{at: number, service: string}[]} */ #counts = [];
  #quarantineUntil = 0;

  /** Whether an origin is on the list. @param {string} origin */
  accepts(origin) {
    return this.#accepted().some((entry) => entry.origin === "*" || entry.origin === origin);
  }

  /** Whether an origin may call a service, by the literal reading of the list. @param {string} origin @param {string} service */
  allows(origin, service) {
    return this.#accepted().some(
      (entry) =>
        (entry.origin === "*" || entry.origin === origin) &&
        (entry.filter === null || entry.filter.some((name) => name === service || (name.endsWith(".*") && service.startsWith(name.slice(0, -1))))),
    );
  }

  #accepted() {
    return [...this.switches.accepted.matchAll(/([^,()\s]+)\s*(?:\(([^)]*)\))?/g)].map(([, origin, filter]) => ({
      origin,
      filter: filter === undefined ? null : filter.split(",").map((name) => name.trim()),
    }));
  }

  /** Counts a request; throws if there were too many. @param {string} service */
  count(service) {
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

  /** What of the attached data a page sees. @param {Record<string, any>} userData */
  readable(userData) {
    return Object.fromEntries(Object.entries(userData).filter(([key]) => listed(this.switches.readAllowed, key)));
  }

  /** Throws if one of these keys may not be written. @param {string[]} keys */
  mayWrite(keys) {
    const refused = keys.find((key) => !listed(this.switches.writeAllowed, key));
    if (refused !== undefined) throw new Error(`Key ${refused} may not be written`);
  }
}

/** @param {string} list @param {string} key */
function listed(list, key) {
  return list === "*" || list.split(",").some((entry) => entry.trim() === key);
}
