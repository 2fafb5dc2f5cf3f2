/**
 * The records that wait for a person, with what the person can do about them.
 *
 * Rows live as long as their record is in the list: an update never takes the focus or a pressed button away. What
 * was done stays to be read for a moment. Discarding asks once more, in place.
 *
 * @module records
 */

import { make } from "./draw.js";
import { count, counted, duration, shown, time } from "./words.js";

/** How many of each state are shown. */
export const SHOWN = 50;
/** How long a row says what was done, and a discard waits for its second press, in milliseconds. */
const LINGER = 4_000;
const SURE = 5_000;

/** @type {{state: string, title: (n: number) => string, open: boolean, acts: string[]}[]} */
const LISTS = [
  { state: "dead", title: (n) => `${counted(n, "record is", "records are")} dead: given up until somebody acts`, open: true, acts: ["retry", "discard"] },
  { state: "held", title: (n) => `${counted(n, "record is", "records are")} held`, open: true, acts: ["release", "discard"] },
  { state: "deferred", title: (n) => `${counted(n, "record is", "records are")} deferred: tried again by the gateway`, open: false, acts: ["retry", "hold", "discard"] },
];
const WORDS = { retry: "Retry now", hold: "Hold", release: "Release", discard: "Discard" };
const DONE = { retry: "asked for again", hold: "held", release: "released", discard: "discarded" };

/** @typedef {{status: number, body: any}} Answer */
/** @typedef {(method: string, path: string) => Promise<Answer>} Ask */

/** The lists, kept in line with the snapshot. */
export class Records {
  /** @type {Map<string, List>} */ #lists = new Map();
  #place;
  #ask;

  /** @param {Element} place @param {Ask} ask @param {(text: string) => void} tell */
  constructor(place, ask, tell) {
    this.#place = place;
    this.#ask = ask;
    this.tell = tell;
  }

  /** Brings the lists in line with the counts. @param {Record<string, number>} counts @returns {boolean} Whether any waits for a person. */
  update(counts) {
    for (const kind of LISTS) {
      const n = counts?.[kind.state] ?? 0;
      let list = this.#lists.get(kind.state);
      if (!list && n > 0) {
        list = new List(kind, this.#ask, this.tell);
        this.#lists.set(kind.state, list);
        const later = LISTS.slice(LISTS.indexOf(kind) + 1).map(({ state }) => this.#lists.get(state)?.root).find(Boolean);
        this.#place.insertBefore(list.root, later ?? null);
      }
      list?.update(n);
      if (list?.isEmpty) {
        list.root.remove();
        this.#lists.delete(kind.state);
      }
    }
    return this.#lists.has("dead") || this.#lists.has("held");
  }
}

class List {
  /** @type {Map<string, Row>} */ #rows = new Map();
  #kind;
  #ask;
  #tell;
  #n = 0;
  #askedAt = -Infinity;
  #askedFor = -1;
  #asking = false;

  /** @param {typeof LISTS[number]} kind @param {Ask} ask @param {(text: string) => void} tell */
  constructor(kind, ask, tell) {
    this.#kind = kind;
    this.#ask = ask;
    this.#tell = tell;
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("list"));
    this.root = /** @type {HTMLDetailsElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.root.dataset.state = kind.state;
    this.root.open = kind.open;
    this.root.addEventListener("toggle", () => this.update(this.#n));
    this.#all.addEventListener("click", () => this.#everyOne());
  }

  get #all() {
    return /** @type {HTMLButtonElement} */ (this.root.querySelector("[data-all]"));
  }

  get isEmpty() {
    return this.#n === 0 && this.#rows.size === 0;
  }

  /** @param {number} n How many there are by the snapshot. */
  update(n) {
    this.#n = n;
    const what = /** @type {HTMLElement} */ (this.root.querySelector(".what"));
    const title = this.#kind.title(n);
    if (what.textContent !== title) what.textContent = title;
    const more = /** @type {HTMLElement} */ (this.root.querySelector(".more"));
    more.textContent = n > SHOWN ? `the first ${SHOWN} are shown; all at once: genesys-gateway records ${this.#kind.acts[0]} --state ${this.#kind.state}` : "";
    // The list is asked for when its length changes, and now and then for its reasons.
    const due = n !== this.#askedFor || performance.now() - this.#askedAt > 10_000;
    if (this.root.open && due) this.#refresh();
    this.#prune();
  }

  async #refresh() {
    if (this.#asking) return;
    this.#asking = true;
    this.#askedFor = this.#n;
    this.#askedAt = performance.now();
    const { status, body } = this.#n > 0 ? await this.#ask("GET", `/records?state=${this.#kind.state}&limit=${SHOWN}`) : { status: 200, body: [] };
    this.#asking = false;
    const found = Array.isArray(body) ? body : body?.records;
    if (status !== 200 || !Array.isArray(found)) {
      this.#askedFor = -1;
      return;
    }
    const list = /** @type {Element} */ (this.root.querySelector("ul"));
    const present = new Set();
    for (const record of found.slice(0, SHOWN)) {
      const id = String(record.recordId);
      present.add(id);
      let row = this.#rows.get(id);
      if (!row) {
        row = new Row(id, this.#kind.acts, (act) => this.#act(id, act));
        this.#rows.set(id, row);
        list.append(row.root);
      }
      row.show(record);
    }
    for (const [id, row] of this.#rows) if (!present.has(id)) row.gone = true;
    this.#prune();
  }

  /** Takes away the rows whose record has left the list, once they have been read. */
  #prune() {
    for (const [id, row] of this.#rows) {
      if (!row.gone || row.isBusy || performance.now() < row.stayUntil) continue;
      this.#hand(row);
      row.root.remove();
      this.#rows.delete(id);
      // It may be back in this state already, with the count as it was: ask once more.
      if (row.done) this.#askedFor = -1;
    }
    const all = this.#all;
    const open = [...this.#rows.values()].filter(({ gone, done }) => !gone && !done).length;
    all.hidden = open < 2;
    const text = `${this.#kind.acts[0] === "release" ? "Release" : "Retry"} all ${count(open)} shown`;
    if (all.textContent !== text) all.textContent = text;
  }

  /** Hands the focus of a row that goes on to its neighbour. @param {Row} row */
  #hand(row) {
    if (!row.root.contains(document.activeElement)) return;
    const next = row.root.nextElementSibling ?? row.root.previousElementSibling;
    const target = next?.querySelector("button:not(:disabled)") ?? this.root.querySelector("summary");
    /** @type {HTMLElement | null} */ (target)?.focus();
  }

  /** @param {string} id @param {string} act @returns {Promise<boolean>} */
  async #act(id, act) {
    const row = this.#rows.get(id);
    if (!row || row.isBusy || row.done) return false;
    row.busy(true);
    const { status, body } = await this.#ask("POST", `/records/${encodeURIComponent(id)}/${act}`);
    row.busy(false);
    const word = DONE[/** @type {"retry"} */ (act)];
    if (status === 200) {
      row.finish(`${word.charAt(0).toUpperCase()}${word.slice(1)}; it is ${body?.state ?? "under way"} now.`);
      this.#tell(`Record ${id}: ${word}.`);
      this.#askedFor = -1;
      return true;
    }
    const why = status === 0 ? "the gateway cannot be reached" : (body?.detail ?? body?.title ?? `the gateway answered ${status}`);
    row.complain(`Not ${word}: ${why}`);
    this.#tell(`Record ${id}: not ${word}, ${why}`);
    this.#askedFor = -1;
    return false;
  }

  /** One after the other, so that an operator's haste is not a flood. */
  async #everyOne() {
    const [act] = this.#kind.acts;
    let done = 0;
    for (const [id] of [...this.#rows]) if (await this.#act(id, act)) done += 1;
    this.#tell(`${counted(done, "record")} ${DONE[/** @type {"retry"} */ (act)]}.`);
  }
}

class Row {
  /** Its record is in the list no more. */ gone = false;
  /** An act was taken. */ done = false;
  isBusy = false;
  stayUntil = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #sure;

  /** @param {string} id @param {string[]} acts @param {(act: string) => void} perform */
  constructor(id, acts, perform) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("record"));
    this.root = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.root.dataset.record = id;
    for (const act of acts) {
      const word = WORDS[/** @type {"retry"} */ (act)];
      const button = make("button", { type: "button", "data-act": act, "aria-label": `${word}: record ${id}` }, word);
      button.addEventListener("click", () => {
        if (act === "discard" && !this.#isSure(button, id)) return;
        perform(act);
      });
      this.#find(".acts").append(button);
    }
  }

  /** @param {any} record */
  show(record) {
    if (this.done) return;
    this.gone = false;
    this.#text(".why", record.lastError ?? (record.state === "held" ? "Held by an operator." : "No reason is recorded."));
    const age = (Date.now() - Date.parse(record.receivedAt)) / 1000;
    const attempts = typeof record.attempts === "number" ? counted(record.attempts, "try", "tries") : "";
    const facts = [record.kind, record.receivedAt && `received ${time(record.receivedAt)}, ${duration(age)} ago`, attempts, record.nextTry && `next try ${time(record.nextTry)}`];
    this.#text(".facts", facts.filter(Boolean).join(" · "));
    this.#text(".ids", `record ${record.recordId}`);
    this.#text(".conversation", record.conversationId ? `conversation ${record.conversationId}` : "");
  }

  /** @param {boolean} on */
  busy(on) {
    this.isBusy = on;
    // Not `disabled`: that would take the focus away.
    for (const button of this.root.querySelectorAll("button")) button.setAttribute("aria-disabled", String(on));
  }

  /** @param {string} text */
  finish(text) {
    this.done = true;
    this.gone = true;
    this.stayUntil = performance.now() + LINGER;
    this.root.dataset.done = "";
    this.#text(".why", text);
    this.busy(true);
    this.isBusy = false;
  }

  /** @param {string} text */
  complain(text) {
    this.root.dataset.failed = "";
    this.#text(".why", text);
    this.stayUntil = performance.now() + LINGER;
  }

  /** @param {HTMLElement} button @param {string} id */
  #isSure(button, id) {
    const label = (/** @type {string} */ text) => {
      button.textContent = text;
      button.setAttribute("aria-label", `${text}: record ${id}`);
    };
    clearTimeout(this.#sure);
    if (button.dataset.sure !== undefined) {
      delete button.dataset.sure;
      label(WORDS.discard);
      return true;
    }
    button.dataset.sure = "";
    label("Discard for good?");
    this.#sure = setTimeout(() => {
      delete button.dataset.sure;
      label(WORDS.discard);
    }, SURE);
    return false;
  }

  /** @param {string} selector @returns {HTMLElement} */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.root.querySelector(selector));
  }

  /** @param {string} selector @param {string} text */
  #text(selector, text) {
    const element = this.#find(selector);
    const seen = shown(text);
    if (element.textContent !== seen) element.textContent = seen;
  }
}
