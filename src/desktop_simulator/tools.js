/**
 * The forms below the desks: rules and misbehaviour, events by hand, the messages that went to and fro.
 *
 * @module tools
 */

import { SWITCHES } from "./rules.js";
import { TYPES } from "./types.js";

/** @typedef {import("./desktop.js").Desktop} Desktop */

const WORDS = /** @type {Record<string, string>} */ ({
  accepted: "Accepted origins, each with a filter", rateLimit: "Requests a minute (0: unlimited)", rateLimits: "The same by service", quarantineMs: "Quarantine (ms)",
  readAllowed: "Attached data that may be read", writeAllowed: "Attached data that may be written", blockMs: "End of a blocked mark-done (ms)",
  answers: "Answers", lateMs: "Late by (ms)", eventBeforeAnswer: "Event before the subscribe answer", frameId: "Frame id", away: "The desktop is away",
});
const ANSWERS = ["prompt", "never", "late", "twice", "unknown-reference"];
const SHOWN = 200;

/** @param {Record<string, Desktop>} desks */
export function buildTools(desks) {
  const [first] = Object.values(desks);
  const form = /** @type {HTMLFormElement} */ (document.getElementById("switches"));
  for (const [name, value] of Object.entries(SWITCHES)) form.append(field(name, value, (now) => first.set({ [name]: now })));
  const events = /** @type {HTMLFormElement} */ (document.getElementById("events"));
  const type = /** @type {HTMLSelectElement} */ (events.elements.namedItem("type"));
  for (const [group, types] of Object.entries(TYPES)) {
    const options = Object.assign(document.createElement("optgroup"), { label: group });
    options.append(...types.map((one) => new Option(one)));
    type.append(options);
  }
  const agent = () => desks[/** @type {HTMLSelectElement} */ (events.elements.namedItem("agent")).value] ?? first;
  events.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    sendEvent(agent(), type.value, /** @type {HTMLInputElement} */ (events.elements.namedItem("id")).value);
  });
  events.querySelector("[data-do=unknown]")?.addEventListener("click", () => sendEvent(agent(), "NOT_IN_ANY_LIST", ""));
  events.querySelector("[data-do=imitate]")?.addEventListener("click", () => imitate());
  const log = /** @type {HTMLElement} */ (document.getElementById("log"));
  for (const desktop of Object.values(desks)) {
    desktop.logged = (direction, message) => {
      const line = document.createElement("li");
      line.textContent = `${desktop.agent.username} ${direction === "in" ? "←" : "→"} ${JSON.stringify(message)}`;
      log.prepend(line);
      while (log.children.length > SHOWN) log.lastChild?.remove();
    };
  }
}

/**
 * Sends an event of any type, as its group has it.
 * @param {Desktop} desktop @param {string} type @param {string} id Of an interaction; the last one where it is empty.
 */
export function sendEvent(desktop, type, id) {
  if (TYPES.agent.includes(type)) return desktop.emit("agent", { eventType: type, mediaState: desktop.agentState });
  if (TYPES.system.includes(type)) return desktop.emit("system", { eventType: type, toastId: [...desktop.toasts.keys()].at(-1) ?? "toast-0", buttonIndex: 0 });
  const interaction = desktop.interactions.get(id) ?? [...desktop.interactions.values()].at(-1);
  if (TYPES.case.includes(type)) return desktop.emit("interaction", { eventType: type, selectedCaseId: interaction?.caseId ?? "case-0" });
  if (interaction) desktop.emitInteraction(type, interaction);
}

/** A window of its own, of the desktop's origin, says that it is the desktop. */
export function imitate() {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.title = "A window that imitates the desktop";
  document.body.append(frame);
  const script = frame.contentDocument?.createElement("script");
  if (!script) return;
  script.src = new URL("imitator.js", location.href).href;
  frame.contentDocument?.head.append(script);
}

/** @param {string} name @param {any} value @param {(value: any) => void} changed */
function field(name, value, changed) {
  const label = document.createElement("label");
  const choices = name === "answers" ? ANSWERS : typeof value === "boolean" ? ["false", "true"] : null;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const input = choices === null ? document.createElement("input") : document.createElement("select");
  if (choices !== null) input.append(...choices.map((one) => new Option(one)));
  input.name = name;
  input.value = text;
  input.addEventListener("change", () => {
    try {
      changed(typeof value === "string" ? input.value : JSON.parse(input.value));
      input.setCustomValidity("");
    } catch {
      input.setCustomValidity("This is not JSON");
      input.reportValidity();
    }
  });
  label.append(WORDS[name] ?? name, input);
  return label;
}
