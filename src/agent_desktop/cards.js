/**
 * What the agent sees of one conversation: words for states, and the card that shows them.
 *
 * Nothing here asks, waits or decides; text from outside goes into the page as text, never as markup.
 *
 * @module cards
 */

/** @typedef {import("./gateway.js").View} View */
/** @typedef {import("./gateway.js").Filed} Filed */
/** @typedef {import("./watch.js").Watch} Watch */

/** How much of an error the agent is shown; operations has the rest. */
const MAX_ERROR = 160;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dateAndClock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** @param {string | Date | undefined} instant @returns {string} The time of day, with the date if it is not today. */
export function timeOf(instant) {
  const date = new Date(instant ?? NaN);
  if (Number.isNaN(date.getTime())) return "";
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : dateAndClock.format(date);
}

/**
 * The state in one word and one sentence.
 * @param {View | null} view
 * @returns {{word: string, level: "good"|"wait"|"bad", sentence: string}}
 */
export function wordsFor(view) {
  const records = view?.records ?? [];
  const open = records.filter(({ state }) => state !== "delivered" && state !== "discarded");
  const person = open.some(({ state }) => state === "dead" || state === "held");
  const reason = view?.reason?.detail ? `: ${view.reason.detail}` : "";
  switch (view?.state) {
    case undefined:
      return { word: "New", level: "wait", sentence: "Not reported yet." };
    case "accepted":
      return { word: "Reported", level: "wait", sentence: "The gateway has it and will watch it in a moment." };
    case "watching":
      return { word: "Watched", level: "wait", sentence: "Your wrap-up is filed when you finish the after-call work." };
    case "settling":
      if (person) return { word: "Not filed yet", level: "bad", sentence: "Operations has to look at it; nothing is lost." };
      return { word: "Wrapped up", level: open.length > 0 ? "wait" : "good", sentence: "A wrap-up was taken. The conversation may bring another one." };
    case "finished":
      if (records.length === 0) return { word: "Finished", level: "good", sentence: `No after-call work was due${reason}.` };
      if (person) return { word: "Not filed yet", level: "bad", sentence: "Operations has to look at it; nothing is lost." };
      if (open.length > 0) return { word: "Finished", level: "wait", sentence: "The wrap-up is taken and will be filed." };
      return { word: "Filed", level: "good", sentence: records.length === 1 ? "The wrap-up is filed." : `${records.length} wrap-ups are filed.` };
    case "expired":
      return { word: "Given up", level: "bad", sentence: `The conversation was watched for too long${reason}.` };
    case "stopped":
      return { word: "Stopped", level: "wait", sentence: `It is not watched any more${reason}.` };
    case "refused":
      return { word: "Refused", level: "bad", sentence: `Genesys Cloud does not let the gateway watch it${reason}.` };
    default:
      return { word: String(view?.state), level: "wait", sentence: "" };
  }
}

/** @param {Filed} record @returns {string} */
export function wordsForRecord({ state, deliveredAt }) {
  switch (state) {
    case "delivered":
      return `Filed ${timeOf(deliveredAt)}`.trim();
    case "queued":
      return "Waits to be filed";
    case "deferred":
      return "Will be tried again";
    case "dead":
      return "Could not be filed; operations looks at it";
    case "held":
      return "Held back by operations";
    case "discarded":
      return "Discarded by operations";
    default:
      return state;
  }
}

/** A card in the list. */
export class Card {
  /**
   * @param {Element} list
   * @param {(act: string) => void} act
   */
  constructor(list, act) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("card"));
    this.root = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.root.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest("button") : null;
      if (button?.dataset.act) act(button.dataset.act);
    });
    list.prepend(this.root);
  }

  /** @param {{title: string, id: string, watch: Watch | null, problem: string | null, writable: boolean}} facts */
  show({ title, id, watch, problem, writable }) {
    const { word, level, sentence } = wordsFor(watch?.view ?? null);
    this.#text("h3", title);
    const badge = this.#text(".badge", watch ? word : "Not reported");
    badge.dataset.level = watch ? level : "wait";
    this.#text(".sentence", watch ? sentence : "It carries no conversation id of Genesys Cloud, so there is nothing to file.");
    this.#text(".problem", problem ?? "").hidden = problem === null;
    this.#text(".id", id);
    this.#text(".checked", watch?.checkedAt ? `checked ${timeOf(watch.checkedAt)}` : "");
    this.#find('[data-act="check"]').hidden = watch === null;
    this.#find('[data-act="write"]').hidden = !writable;
    this.root.dataset.state = watch?.view?.state ?? "none";
    const lines = (watch?.view?.records ?? []).map((record) => {
      const line = document.createElement("li");
      line.dataset.state = record.state;
      line.textContent = wordsForRecord(record);
      const small = document.createElement("small");
      const when = timeOf(record.eventTime ?? record.receivedAt);
      small.textContent = [when && `wrap-up of ${when}`, String(record.lastError ?? "").slice(0, MAX_ERROR), `record ${record.recordId}`].filter(Boolean).join(" · ");
      line.append(small);
      return line;
    });
    this.#find(".records").replaceChildren(...lines);
  }

  /** Takes the card out of the list. */
  remove() {
    this.root.remove();
  }

  /** @param {string} selector @returns {HTMLElement} */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.root.querySelector(selector));
  }

  /** @param {string} selector @param {string} text */
  #text(selector, text) {
    const element = this.#find(selector);
    if (element.textContent !== text) element.textContent = text;
    return element;
  }
}
