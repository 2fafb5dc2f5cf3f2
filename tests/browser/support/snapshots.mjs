/**
 * Snapshots of the gateway in several moods, for the status page, and a stub of the operators' listener that serves
 * them and acts on records.
 */
import { join } from "node:path";
import { listen, rustText, sendFile, source } from "./servers.mjs";

const AGES = ["1m", "10m", "1h", "6h", "1d", "older"];
const ages = (...counts) => AGES.map((upTo, index) => ({ upTo, n: counts[index] ?? 0 }));
/** A small generator, so that pictures are the same each time. */
function wave(index, base, swing) {
  return Math.max(0, Math.round(base + swing * Math.sin(index / 5) + ((index * 7919) % 11) - 5));
}

/** @param {Date} [now] */
export function healthy(now = new Date()) {
  const minutes = Array.from({ length: 60 }, (_, index) => {
    const events = wave(index, 36, 14);
    return { at: new Date(now.getTime() - (59 - index) * 60_000).toISOString(), events, filed: Math.max(0, events - (index % 3)), failed: 0 };
  });
  return {
    version: "0.1.0",
    verdict: "All is well: 4,212 conversations are watched, and everything taken is filed.",
    level: "ok",
    reasons: [],
    at: now.toISOString(),
    startedAt: new Date(now.getTime() - 3 * 86_400_000 - 4 * 3_600_000).toISOString(),
    interactions: { accepted: 3, watching: 4128, settling: 84, finished: 61_204, expired: 2, stopped: 11, refused: 0 },
    records: { queued: 1, deferred: 0, dead: 0, held: 0, delivered: 63_377, discarded: 4 },
    oldest: { accepted: 1, watching: 24_100, queued: 0 },
    shape: [{ state: "queued", ages: ages(1) }, { state: "deferred", ages: ages() }, { state: "dead", ages: ages() }, { state: "held", ages: ages() }],
    channels: [
      { slot: 1, state: "live", topics: 1000, capacity: 1000, ageSeconds: 31_000, lastHeartbeatSeconds: 12, tail: "3f9c", expiresInSeconds: 55_400 },
      { slot: 2, state: "live", topics: 1000, capacity: 1000, ageSeconds: 30_200, lastHeartbeatSeconds: 4, tail: "a01b", expiresInSeconds: 56_200 },
      { slot: 3, state: "live", topics: 998, capacity: 1000, ageSeconds: 22_700, lastHeartbeatSeconds: 21, tail: "77de", expiresInSeconds: 63_700 },
      { slot: 4, state: "live", topics: 1000, capacity: 1000, ageSeconds: 9_100, lastHeartbeatSeconds: 17, tail: "c4c4", expiresInSeconds: 77_300 },
      { slot: 5, state: "live", topics: 214, capacity: 1000, ageSeconds: 640, lastHeartbeatSeconds: 9, tail: "0e52", expiresInSeconds: 85_700 },
    ],
    topics: { live: 4212, pending: 0, waiting: 0 },
    token: { held: true, expiresInSeconds: 61_000 },
    rest: { budget: 300, left: 291, heldSeconds: 0 },
    history: { state: "open", detail: "", inFlight: 1 },
    checks: { due: 0, inFlight: 0 },
    gaps: { total: 2, lastSeconds: 31_000 },
    minutes,
    nextWake: { inSeconds: 9, why: "heartbeat of channel 3" },
  };
}

export function historyClosed(now = new Date()) {
  const calm = healthy(now);
  return {
    ...calm,
    verdict: "The history manager refuses us; 312 records wait, nothing is lost.",
    level: "bad",
    reasons: [
      "POST http://history.internal:8490/communications answered 401 since 14:58. Check [history] bearer-token-file.",
      "One probe a minute; the records go out by themselves when it answers again.",
    ],
    records: { ...calm.records, queued: 312 },
    oldest: { ...calm.oldest, queued: 2_050 },
    shape: [{ state: "queued", ages: ages(9, 84, 219) }, { state: "deferred", ages: ages() }, { state: "dead", ages: ages() }, { state: "held", ages: ages() }],
    history: { state: "closed", detail: "401 Unauthorized", inFlight: 0 },
    minutes: calm.minutes.map((minute, index) => (index < 26 ? minute : { ...minute, filed: 0, failed: 1 })),
  };
}

export function manyDead(now = new Date()) {
  const calm = healthy(now);
  return {
    ...calm,
    verdict: "73 records are dead and wait for a person; the rest is filed as usual.",
    level: "warn",
    reasons: ["The history manager answered 422 to 71 of them. The first: \"unknown wrap-up code\".", "Channel 4 was lost 40 s ago; its 1,000 conversations are being checked over REST."],
    records: { ...calm.records, queued: 5, deferred: 41, dead: 73, held: 2 },
    oldest: { ...calm.oldest, queued: 3, deferred: 1_330, dead: 97_000, held: 260_000 },
    shape: [
      { state: "queued", ages: ages(5) },
      { state: "deferred", ages: ages(12, 26, 3) },
      { state: "dead", ages: ages(0, 2, 14, 40, 16, 1) },
      { state: "held", ages: ages(0, 0, 0, 0, 0, 2) },
    ],
    channels: calm.channels.map((channel) =>
      channel.slot === 4 ? { ...channel, state: "lost", lastHeartbeatSeconds: 71 } : channel.slot === 5 ? { ...channel, state: "connecting", lastHeartbeatSeconds: null } : channel,
    ),
    topics: { live: 3212, pending: 1000, waiting: 12 },
    rest: { budget: 300, left: 0, heldSeconds: 18 },
    history: { state: "open", detail: "", inFlight: 4 },
    checks: { due: 985, inFlight: 2 },
    gaps: { total: 3, lastSeconds: 40 },
    minutes: calm.minutes.map((minute, index) => ({ ...minute, failed: index % 9 === 4 ? 3 + (index % 5) : 0 })),
  };
}

const REASONS = ["422 Unprocessable Content: {\"error\":\"unknown wrap-up code\",\"code\":\"7f3c…\"}", "400 Bad Request: member \"afterCallWork.wrapup\" is missing", "Given up after 72 h: no answer (connection refused)"];

/** A record as `GET /records` lists it. */
export function record(number, state, now = Date.now()) {
  const hex = number.toString(16).padStart(12, "0");
  return {
    recordId: `0197c2a4-1b2c-7000-8000-${hex}`,
    kind: "after-call-work",
    conversationId: `7c1f4b9e-5d0a-4c58-9a3e-${hex}`,
    source: "notification",
    eventTime: new Date(now - number * 61_000).toISOString(),
    receivedAt: new Date(now - number * 61_000).toISOString(),
    state,
    attempts: state === "dead" ? 1 + (number % 3) * 40 : number % 5,
    nextTry: state === "deferred" ? new Date(now + 90_000).toISOString() : undefined,
    lastError: state === "held" ? undefined : REASONS[number % REASONS.length],
  };
}

/** The operators' listener, as far as the page sees it. */
export class OperatorsStub {
  /** What `GET /status` gives; called each time. */ snapshot = healthy;
  /** @type {Map<string, any>} */ records = new Map();
  /** `METHOD /path` in order. */ requests = [];
  /** @type {string | null} */ token = null;
  /** Cuts connections without an answer. */ dead = false;
  /** Answers to `GET /status` instead of the snapshot: `[status, body]`. */ instead = null;
  /** Acts that are refused: `[status, body]`. */ refusal = null;

  static async start() {
    const stub = new OperatorsStub();
    stub.policy = await rustText("status/page.rs", "POLICY");
    Object.assign(stub, await listen((request, response) => stub.#serve(request, response)));
    return stub;
  }

  reset() {
    Object.assign(this, { snapshot: healthy, records: new Map(), requests: [], token: null, dead: false, instead: null, refusal: null });
  }

  fill(state, count) {
    for (let number = 1; number <= count; number += 1) {
      const one = record(number + this.records.size, state);
      this.records.set(one.recordId, one);
    }
  }

  /** The snapshot with counts that fit the records that are there. */
  counted(base) {
    const count = (state) => [...this.records.values()].filter((one) => one.state === state).length;
    return { ...base, records: { ...base.records, dead: count("dead"), held: count("held"), deferred: count("deferred"), queued: count("queued") } };
  }

  acts() {
    return this.requests.filter((line) => line.startsWith("POST"));
  }

  #serve(request, response) {
    const url = new URL(request.url, "http://x");
    if (this.dead) return request.socket.destroy();
    const files = { "/": "index.html", "/status.js": "status.js", "/status.css": "status.css", "/draw.js": "draw.js", "/records.js": "records.js", "/words.js": "words.js" };
    if (files[url.pathname]) {
      const headers = { "Content-Security-Policy": this.policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache" };
      return sendFile(response, join(source, "status/page"), files[url.pathname], headers);
    }
    this.requests.push(`${request.method} ${request.url}`);
    const json = (status, body) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) return json(401, { title: "Unauthorized" });
    if (url.pathname === "/status") return json(...(this.instead ?? [200, this.snapshot()]));
    if (url.pathname === "/records") {
      const found = [...this.records.values()].filter((one) => one.state === url.searchParams.get("state"));
      return json(200, { records: found.slice(0, Number(url.searchParams.get("limit"))) });
    }
    const [, id, act] = url.pathname.match(/^\/records\/([^/]+)\/(\w+)$/) ?? [];
    const found = this.records.get(id);
    if (request.method !== "POST" || !found) return json(404, { title: "Not found", detail: "No record with this id is known here." });
    if (this.refusal) return json(...this.refusal);
    found.state = { retry: "queued", release: "queued", hold: "held", discard: "discarded" }[act];
    json(200, { recordId: id, state: found.state, attempts: found.attempts });
  }
}
