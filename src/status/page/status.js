/**
 * The status page: asks the gateway for its snapshot, says first how things are, then why, then shows it.
 *
 * It never lets old figures pass for new ones. Three things can be wrong, and each is said in words: the gateway
 * cannot be reached (`lost`), it answers but its figures stand still (`stale`), or it wants a token (`locked`).
 *
 * @module status
 */

import { channels, connections, counts, hour, make, shape, topicsLine } from "./draw.js";
import { Records } from "./records.js";
import { duration, shown, time } from "./words.js";

/** Milliseconds between two questions: while it is looked at, in a hidden tab, and while nobody answers at most. */
const PAUSE = 2_000;
const HIDDEN_PAUSE = 15_000;
const LOST_PAUSE_MAX = 10_000;
/** How long the gateway may take to answer, in milliseconds. */
const TIMEOUT = 5_000;
/** Figures older than this stand still, unless the gateway said that it would sleep longer; in seconds. */
const STALE_S = 30;

/** @type {"asking"|"live"|"stale"|"lost"|"locked"} */
let link = "asking";
/** @type {any} */ let snapshot = null;
/** When `snapshot.at` last changed, by the page's own clock. */
let movedAt = 0;
/** When the gateway last answered. @type {Date | null} */
let answeredAt = null;
/** How much older than its answer the snapshot was, in seconds. */
let bornOld = 0;
/** Why the last question failed. */
let trouble = "";
/** @type {string | null} */ let token = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
let pause = PAUSE;
let asking = false;

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const records = new Records(element("lists"), ask, (text) => (element("news").textContent = text));

/**
 * One request; status 0 where there was no answer.
 * @param {string} method @param {string} path
 * @returns {Promise<{status: number, body: any, date: string | null}>}
 */
async function ask(method, path) {
  const headers = new Headers({ Accept: "application/json" });
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  try {
    // Relative, so that the page also works below a path of a proxy.
    const url = new URL(`.${path}`, location.href);
    const response = await fetch(url, { method, headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(TIMEOUT) });
    const body = await response.json().catch(() => null);
    return { status: response.status, body, date: response.headers.get("Date") };
  } catch (error) {
    const slow = error instanceof DOMException && error.name === "TimeoutError";
    trouble = slow ? `It did not answer within ${TIMEOUT / 1000} s.` : "There is no connection to it.";
    return { status: 0, body: null, date: null };
  }
}

async function turn() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const { status, body, date } = await ask("GET", "/status");
  asking = false;
  if (status === 200 && body !== null && typeof body === "object" && !Array.isArray(body)) {
    take(body, date);
    pause = PAUSE;
  } else {
    if (status === 401) link = "locked";
    else link = "lost";
    if (status !== 0) trouble = status === 200 ? "Its answer is not a snapshot." : `It answered ${status}${body?.detail ? `: ${body.detail}` : ""}.`;
    pause = Math.min(pause * 1.5, LOST_PAUSE_MAX);
  }
  show();
  if (link !== "locked") timer = setTimeout(turn, document.hidden ? HIDDEN_PAUSE : pause);
}

/** @param {any} body @param {string | null} date */
function take(body, date) {
  const now = performance.now();
  if (snapshot === null || body.at !== snapshot.at) movedAt = now;
  const ahead = (Date.parse(date ?? "") - Date.parse(body.at)) / 1000;
  bornOld = Number.isFinite(ahead) ? Math.max(0, ahead) : 0;
  snapshot = body;
  answeredAt = new Date();
  link = age() > Math.max(STALE_S, (body.nextWake?.inSeconds ?? 0) + STALE_S / 2) ? "stale" : "live";
}

/** How old the figures are, in seconds: by our clock since they changed, or by the gateway's own, whichever is more. */
function age() {
  return Math.max(bornOld, (performance.now() - movedAt) / 1000);
}

function show() {
  document.body.dataset.link = link;
  element("access").hidden = link !== "locked";
  const [level, verdict, reasons] = saying();
  element("now").dataset.level = level;
  text("verdict", verdict);
  list("reasons", reasons);
  showLink();
  document.title = `${{ ok: "✓", warn: "!", bad: "✗" }[level] ?? "…"} ${shown(verdict)} · genesys-gateway`;
  icon(level);
  if (link === "live" && snapshot !== null) draw(snapshot);
}

/** @returns {[string, string, string[]]} Level, verdict, reasons. */
function saying() {
  const then = snapshot === null ? [] : [`At ${time(snapshot.at)} it said: ${snapshot.verdict ?? "nothing"}`];
  switch (link) {
    case "live": {
      const level = ["ok", "warn", "bad"].includes(snapshot.level) ? snapshot.level : "warn";
      const reasons = Array.isArray(snapshot.reasons) ? snapshot.reasons.map(String) : [];
      return [level, snapshot.verdict ?? "The gateway answers, but gives no verdict.", reasons];
    }
    case "stale":
      return ["bad", "The figures stand still.", ["The gateway answers, but its own picture is old: its loop may be stuck.", ...then]];
    case "lost":
      return ["bad", "The gateway cannot be reached.", [trouble, "On its machine: systemctl status genesys-gateway", ...then]];
    case "locked":
      return ["none", token === null ? "The gateway wants a token." : "The gateway does not accept this token.", []];
    default:
      return ["none", "Asking the gateway…", []];
  }
}

/** The line in the corner; it runs every second, so that a silent page still tells its age. */
function showLink() {
  const since = answeredAt === null ? "" : `, last answer ${duration((Date.now() - answeredAt.getTime()) / 1000)} ago`;
  const words = {
    asking: "Asking…",
    live: `Live · ${time(snapshot?.at)}`,
    stale: `Standing still for ${duration(age())}`,
    lost: `Not reachable${since}`,
    locked: "Locked",
  };
  text("link", words[link]);
}

/** @param {any} s */
function draw(s) {
  element("figures").hidden = false;
  text("version", s.version ?? "");
  for (const section of document.querySelectorAll("[data-needs]")) {
    const { needs = "" } = /** @type {HTMLElement} */ (section).dataset;
    /** @type {HTMLElement} */ (section).hidden = !Array.isArray(s[needs]) || s[needs].length === 0;
  }
  once("counts", [s.interactions, s.records, s.oldest], () => counts(element("counts"), s));
  once("charts", s.minutes, () => Array.isArray(s.minutes) && hour(element("charts"), s.minutes));
  once("shape", [s.shape, s.oldest], () => Array.isArray(s.shape) && shape(element("shape"), s.shape, s.oldest));
  once("channels", s.channels, () => Array.isArray(s.channels) && channels(element("channels"), s.channels));
  once("connections", s, () => connections(element("connections"), s));
  text("topics", topicsLine(s.topics));
  element("nobody").hidden = records.update(s.records ?? {});
}

/** @type {Map<string, string>} */
const drawn = new Map();

/** Draws only what has changed, so that a selection or a tooltip lives on. @param {string} name @param {any} facts @param {() => void} how */
function once(name, facts, how) {
  const key = JSON.stringify(facts) ?? "";
  if (drawn.get(name) === key) return;
  drawn.set(name, key);
  how();
}

/** @param {string} id @param {string} value */
function text(id, value) {
  const it = element(id);
  const seen = shown(value);
  if (it.textContent !== seen) it.textContent = seen;
}

/** @param {string} id @param {string[]} lines */
function list(id, lines) {
  once(id, lines, () => element(id).replaceChildren(...lines.map((line) => make("li", {}, shown(line)))));
}

/** A dot in the tab that can be told from afar. @param {string} level */
function icon(level) {
  once("icon", level, () => {
    const colour = { ok: "#2e8555", warn: "#b7791f", bad: "#c0352b" }[level] ?? "#8a929c";
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6" fill="${colour}"/></svg>`;
    element("icon").setAttribute("href", `data:image/svg+xml,${encodeURIComponent(svg)}`);
  });
}

element("access").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (element("token"));
  token = input.value.trim();
  input.value = "";
  turn();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && link !== "locked") turn();
});
setInterval(showLink, 1_000);
turn();
