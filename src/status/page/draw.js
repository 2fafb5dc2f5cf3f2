/**
 * The pictures: drawn anew from the snapshot, with the same facts in words for those who do not see them.
 *
 * Nothing here can hold the focus, so a picture may be replaced at any time. Text goes in as text.
 *
 * @module draw
 */

import { CHANNEL, HISTORY, count, counted, duration, time } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MINUTES = 60;
const HEIGHT = 40;
/** One failure a minute is a low bar, not a red wall. */
const FAILED_FLOOR = 5;
/** Up to here a count in the table is pale, even when it is the largest. */
const FEW = 50;
/** A heartbeat that is older than this is worth a look; a channel is given up at 40 s. */
const OLD_HEARTBEAT_S = 30;
/** A record that has been queued for longer is not just passing through. */
const SLOW_S = 60;

/**
 * @param {string} tag @param {Record<string, string>} [attributes] @param {(Node | string)[]} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Pairs of a term and its description. @param {Element} list @param {[string, string, string?, string?][]} pairs */
export function pairs(list, pairs) {
  list.replaceChildren(
    ...pairs.map(([term, text, soft = "", level = ""]) =>
      make("div", level ? { "data-level": level } : {}, make("dt", {}, term), make("dd", {}, text, ...(soft ? [make("small", {}, soft)] : []))),
    ),
  );
}

/**
 * Three rows of bars over the last hour. Events and filings share a scale, so that they can be compared.
 * @param {Element} place @param {any[]} minutes
 */
export function hour(place, minutes) {
  const rows = minutes.filter((minute) => minute !== null && typeof minute === "object");
  const newest = Math.max(...rows.map(({ at }) => Date.parse(at)).filter(Number.isFinite));
  const series = (/** @type {string} */ member) => {
    const values = new Array(MINUTES).fill(0);
    for (const [index, row] of rows.entries()) {
      // By its time where it has one, so that a pause shows as a gap; else by its place.
      const back = Number.isFinite(Date.parse(row.at)) ? Math.round((newest - Date.parse(row.at)) / 60_000) : rows.length - 1 - index;
      if (back >= 0 && back < MINUTES) values[MINUTES - 1 - back] = Number(row[member]) || 0;
    }
    return values;
  };
  const [events, filed, failed] = ["events", "filed", "failed"].map(series);
  const shared = Math.max(1, ...events, ...filed);
  place.replaceChildren(
    chart("Events", "events", events, shared),
    chart("Filed", "filed", filed, shared),
    chart("Failed", "failed", failed, Math.max(FAILED_FLOOR, ...failed)),
    make("p", { class: "axis soft", "aria-hidden": "true" }, make("span", {}, "1 h ago"), make("span", {}, "30 min"), make("span", {}, "now")),
  );
}

/** @param {string} name @param {string} kind @param {number[]} values @param {number} scale */
function chart(name, kind, values, scale) {
  const total = values.reduce((sum, value) => sum + value, 0);
  const most = Math.max(...values);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${MINUTES} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${name}: ${count(total)} in the last hour, at most ${count(most)} in a minute`);
  for (const [index, value] of values.entries()) {
    if (value === 0) continue;
    const bar = document.createElementNS(SVG, "rect");
    // A single one must still be seen beside hundreds.
    const height = Math.max(1.5, (value / scale) * HEIGHT);
    for (const [attribute, it] of Object.entries({ x: index + 0.12, y: HEIGHT - height, width: 0.76, height })) bar.setAttribute(attribute, String(it));
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${MINUTES - 1 - index} min ago: ${count(value)}`;
    bar.append(title);
    svg.append(bar);
  }
  const facts = make("p", {}, make("strong", {}, name), make("span", { class: "sum" }, count(total)), make("span", { class: "soft" }, total > 0 ? `peak ${count(most)}/min` : "none"));
  return make("div", { class: "chart", "data-kind": kind, "data-empty": String(total === 0) }, facts, svg);
}

/**
 * How old what waits is: states by age.
 * @param {HTMLElement} table @param {any[]} rows @param {Record<string, number>} oldest
 */
export function shape(table, rows, oldest) {
  const columns = rows.find(({ ages }) => Array.isArray(ages))?.ages.map((/** @type {any} */ age) => String(age.upTo)) ?? [];
  const most = Math.max(FEW, ...rows.flatMap(({ ages = [] }) => ages.map((/** @type {any} */ age) => age.n || 0)));
  const head = (/** @type {string} */ upTo) => (upTo === "older" ? "older" : `≤ ${upTo}`);
  const body = rows.map(({ state, ages = [] }) => {
    const total = ages.reduce((/** @type {number} */ sum, /** @type {any} */ age) => sum + (age.n || 0), 0);
    const cells = columns.map((/** @type {string} */ column) => {
      const n = ages.find((/** @type {any} */ age) => age.upTo === column)?.n || 0;
      const cell = make("td", n === 0 ? { class: "zero" } : {}, n === 0 ? "·" : count(n));
      // Logarithmic: ten records that are a day old must show beside ten thousand new ones.
      if (n > 0) cell.style.setProperty("--heat", String(0.12 + (0.5 * Math.log(1 + n)) / Math.log(1 + most)));
      return cell;
    });
    const age = oldest?.[state];
    return make("tr", { "data-state": String(state) }, make("th", { scope: "row" }, String(state)), ...cells,
      make("td", { class: total > 0 ? "total" : "zero" }, count(total)), make("td", { class: "soft" }, total > 0 && age !== undefined ? duration(age) : ""));
  });
  table.replaceChildren(
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "State"), ...columns.map((/** @type {string} */ it) => make("th", { scope: "col" }, head(it))),
      make("th", { scope: "col" }, "Total"), make("th", { scope: "col" }, "Oldest"))),
    make("tbody", {}, ...body),
  );
}

/** Channels as bars of their topics. @param {Element} list @param {any[]} channels */
export function channels(list, channels) {
  // The label stands in the first line; on a phone and for a screen reader it is said again in each cell.
  const cell = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ value) =>
    make("span", { class: name }, make("span", { class: "label" }, `${label} `), value);
  const head = make("li", { class: "head soft", "aria-hidden": "true" },
    ...["", "State", "Topics", "", "Heartbeat", "Age", "Ends in", "Id"].map((word) => make("span", {}, word)));
  const lines = channels.map((channel) => {
    const { slot, shard, state, topics = 0, capacity = 1000, ageSeconds, lastHeartbeatSeconds, tail, expiresInSeconds } = channel;
    const [word, level] = CHANNEL[state] ?? [String(state), "warn"];
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
    const part = Math.min(1, topics / Math.max(1, capacity));
    // A single topic must still be seen.
    /** @type {HTMLElement} */ (bar.firstChild).style.width = `${topics > 0 ? Math.max(0.6, part * 100) : 0}%`;
    const old = typeof lastHeartbeatSeconds === "number" && lastHeartbeatSeconds > OLD_HEARTBEAT_S;
    const heard = typeof lastHeartbeatSeconds === "number" ? `${duration(lastHeartbeatSeconds)} ago` : "none yet";
    return make("li", { "data-level": level },
      make("span", { class: "slot" }, shard ? `${shard} ${slot}` : String(slot)),
      make("span", { class: "state" }, word),
      bar,
      make("span", { class: "topics" }, `${count(topics)} `, make("span", { class: "soft" }, `of ${count(capacity)}`)),
      cell(old ? "fact old" : "fact", "heartbeat", heard),
      cell("fact", "age", duration(ageSeconds)),
      cell("fact", "ends in", duration(expiresInSeconds)),
      cell("fact mono", "id", tail ? `…${tail}` : "–"));
  });
  list.replaceChildren(head, ...lines);
}

/** What the gateway hangs on. @param {Element} list @param {any} s The snapshot. */
export function connections(list, s) {
  /** @type {[string, string, string?, string?][]} */
  const rows = [];
  if (s.history) {
    const [word, level] = HISTORY[s.history.state] ?? [String(s.history.state), "warn"];
    const flight = s.history.inFlight > 0 ? `${count(s.history.inFlight)} under way` : "";
    const detail = s.history.state === "open" ? "" : s.history.detail;
    rows.push(["History manager", word, [detail, flight].filter(Boolean).join(" · "), level]);
  }
  // Where there are several OAuth clients, each for itself; the lines below are of all together.
  for (const shard of Array.isArray(s.shards) ? s.shards : []) {
    const { name, level, reasons = [], topics = {}, rest = {} } = shard;
    const word = level === "ok" ? "well" : level === "bad" ? "needs a person" : "to be looked at";
    const figures = `${count(topics.live ?? 0)} topics on ${count(shard.channels ?? 0)} channels, ${count(rest.left ?? 0)} of ${count(rest.budget ?? 0)} requests left`;
    rows.push([`Shard ${name}`, word, [figures, ...reasons].join(" · "), level]);
  }
  if (s.token) {
    const { held, expiresInSeconds } = s.token;
    rows.push(["Token", held ? "held" : "none", held && typeof expiresInSeconds === "number" ? `ends in ${duration(expiresInSeconds)}` : "", held ? "ok" : "bad"]);
  }
  if (s.rest) {
    const { budget, left, heldSeconds } = s.rest;
    rows.push(["REST requests", `${count(left)} of ${count(budget)} left`, heldSeconds > 0 ? `held back for ${duration(heldSeconds)}` : "this minute", heldSeconds > 0 ? "warn" : "ok"]);
  }
  if (s.checks) rows.push(["Checks over REST", `${count(s.checks.due)} due`, `${count(s.checks.inFlight)} under way`]);
  if (s.gaps) {
    const { total, lastSeconds } = s.gaps;
    rows.push(["Gaps", count(total), total > 0 && typeof lastSeconds === "number" ? `the last one ${duration(lastSeconds)} ago` : "since the start"]);
  }
  if (s.nextWake) rows.push(["Next wake", `in ${duration(s.nextWake.inSeconds)}`, s.nextWake.why ?? ""]);
  if (s.startedAt) {
    const up = (Date.parse(s.at) - Date.parse(s.startedAt)) / 1000;
    rows.push(["Running", Number.isFinite(up) ? `for ${duration(up)}` : "", `since ${time(s.startedAt)}`]);
  }
  pairs(list, rows);
}

/** The counts that matter first. @param {Element} list @param {any} s The snapshot. */
export function counts(list, s) {
  const { interactions: i = {}, records: r = {}, oldest: o = {} } = s;
  const since = (/** @type {string} */ state) => (o[state] >= 1 ? `oldest ${duration(o[state])}` : "");
  const level = (/** @type {number} */ n, /** @type {string} */ it) => (n > 0 ? it : "");
  /** @type {[string, string, string?, string?][]} */
  const rows = [
    ["Watched", count((i.watching ?? 0) + (i.settling ?? 0)), i.settling > 0 ? `${count(i.settling)} settling` : "conversations"],
    ["Not yet watched", count(i.accepted ?? 0), i.accepted > 0 ? since("accepted") : ""],
    ["Waiting to be filed", count((r.queued ?? 0) + (r.deferred ?? 0)), r.deferred > 0 ? `${count(r.deferred)} deferred, ${since("deferred")}` : since("queued"), level(r.deferred > 0 || (r.queued > 0 && o.queued >= SLOW_S) ? 1 : 0, "warn")],
    ["Dead", count(r.dead ?? 0), r.dead > 0 ? since("dead") : "", level(r.dead, "bad")],
    ["Held", count(r.held ?? 0), "", level(r.held, "warn")],
    ["Filed", count(r.delivered ?? 0), r.discarded > 0 ? `${count(r.discarded)} discarded` : "records kept"],
    ["Over", count((i.finished ?? 0) + (i.expired ?? 0) + (i.stopped ?? 0) + (i.refused ?? 0)),
      [["expired", i.expired], ["stopped", i.stopped], ["refused", i.refused]].filter(([, n]) => n > 0).map(([word, n]) => `${count(n)} ${word}`).join(", ") || "conversations"],
  ];
  pairs(list, rows);
}

/** @param {any} topics */
export function topicsLine(topics) {
  if (!topics) return "";
  const parts = [`${counted(topics.live ?? 0, "topic")} live`];
  if (topics.pending > 0) parts.push(`${count(topics.pending)} being subscribed`);
  if (topics.waiting > 0) parts.push(`${count(topics.waiting)} waiting for a place`);
  return `${parts.join(", ")}.`;
}
