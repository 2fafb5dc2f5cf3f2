/**
 * The card of one contact.
 *
 * Nothing here asks, waits or decides; text from outside goes into the page as text, never as markup. What did not
 * change is left alone, so that the reader's focus and selection stay where they are.
 *
 * @module cards
 */

/** @typedef {import("./words.js").Level} Level */
/** @typedef {"STOPPED"|"RECORDING"|"PAUSED"} Recording */
/**
 * @typedef {object} Face What a card shows.
 * @property {string} title
 * @property {string} word
 * @property {Level} level
 * @property {string} meta
 * @property {string} now
 * @property {string} problem
 * @property {string} stage
 * @property {string} state
 * @property {boolean} current The agent looks at its case.
 * @property {string[]} consultations
 * @property {{text: string, small: string, level: Level, state: string, whose: string}[]} records
 * @property {{state: "" | "written" | "failed", text: string}} write
 * @property {Recording | null} recording `null` where there is no control.
 * @property {string[]} recordingActs
 * @property {string[]} numbers
 * @property {boolean} selectable
 * @property {[string, string][]} details
 */

const RECORDING = { STOPPED: "Not recorded", RECORDING: "Recording", PAUSED: "Recording paused" };

/** A card in a list. */
export class Card {
  /** @type {Record<string, string>} What was drawn, to leave alone what is the same. */ #drawn = {};

  /** @param {(act: string, value: string) => void} act */
  constructor(act) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("card"));
    this.root = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.root.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest("button") : null;
      if (button?.dataset.act) act(button.dataset.act, button.dataset.value ?? "");
    });
  }

  /** @param {Face} face */
  show(face) {
    this.#text("h3", face.title);
    this.#text(".badge", face.word).dataset.level = face.level;
    this.#text(".meta", face.meta);
    this.#text(".now", face.now);
    this.#text(".problem", face.problem).hidden = face.problem === "";
    Object.assign(this.root.dataset, { level: face.level, stage: face.stage, state: face.state });
    this.root.setAttribute("aria-current", String(face.current));
    const write = this.#text(".write", face.write.text);
    write.hidden = face.write.text === "";
    write.dataset.state = face.write.state;
    this.#list(".consultations", face.consultations, (text) => make("li", text));
    this.#list(".records", face.records, ({ text, small, level, state, whose }) => {
      const line = make("li", text);
      Object.assign(line.dataset, { level, state, whose });
      if (small !== "") line.append(make("small", small));
      return line;
    });
    const { recording } = face;
    const told = this.#text(".recording", recording === null ? "" : RECORDING[recording]);
    told.hidden = recording === null;
    told.dataset.state = recording ?? "";
    for (const act of ["record-start", "record-pause", "record-resume", "record-stop"]) this.#button(act, face.recordingActs.includes(act), face.title);
    this.#list(".numbers", face.numbers, (number) => {
      const button = make("button", `Call ${number}`);
      Object.assign(button, { type: "button" });
      Object.assign(button.dataset, { act: "dial", value: number });
      return button;
    });
    this.#button("select", face.selectable, face.title);
    this.#button("write", face.write.state === "failed", face.title);
    this.#list("dl", face.details, ([name, value]) => {
      const term = make("dt", name);
      const description = make("dd", "");
      const copy = make("button", "Copy");
      Object.assign(copy, { type: "button" });
      copy.setAttribute("aria-label", `Copy ${name}`);
      Object.assign(copy.dataset, { act: "copy", value });
      description.append(make("code", value), copy);
      return [term, description];
    });
  }

  /** @param {string} act @param {boolean} shown @param {string} title */
  #button(act, shown, title) {
    const button = /** @type {HTMLButtonElement} */ (this.#find(`[data-act="${act}"]`));
    button.hidden = !shown;
    button.setAttribute("aria-label", `${button.textContent}: ${title}`);
  }

  /** @template T @param {string} selector @param {T[]} items @param {(item: T) => HTMLElement | HTMLElement[]} draw */
  #list(selector, items, draw) {
    const text = JSON.stringify(items);
    if (this.#drawn[selector] === text) return;
    this.#drawn[selector] = text;
    this.#find(selector).replaceChildren(...items.flatMap(draw));
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

/** @param {string} name @param {string} text */
function make(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

/**
 * Puts text where the agent can paste it from. An embedded page may lack the right to the clipboard; the old way
 * needs none.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    const { activeElement } = document;
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (activeElement instanceof HTMLElement) activeElement.focus();
    return done;
  }
}
