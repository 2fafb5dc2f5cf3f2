/**
 * A simulator of Agent Desktop's side of the Service Client API: two agents, the pages that are embedded for them,
 * the contacts that they work on, and everything that the real desktop may refuse or do wrong.
 *
 * `setup.json` beside it names the page to embed. Tests use `window.simulator` (the first agent's desktop),
 * `window.desks`, `window.works` and `window.sendEvent`.
 *
 * @module simulator
 */

import { Desktop } from "./desktop.js";
import { Platform } from "./platform.js";
import { Rules } from "./rules.js";
import { buildTools, imitate, sendEvent } from "./tools.js";
import { deskOf } from "./view.js";
import { Work } from "./work.js";

const AGENTS = /** @type {const} */ ({
  alice: { employeeId: "1001", username: "alice", firstname: "Alice", lastname: "Archer", roles: ["ROLE_AGENT"] },
  bob: { employeeId: "1002", username: "bob", firstname: "Bob", lastname: "Baker", roles: ["ROLE_AGENT"] },
});
/** How often the history manager is asked what it has, in milliseconds. */
const HISTORY = 1_500;

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const query = new URLSearchParams(location.search);
// `?alone`: no server of the demo stands behind this desktop.
const setup = query.has("alone") ? null : await fetch("setup.json").then((response) => (response.ok ? response.json() : null), () => null);
const asked = query.get("page");
const pageUrl = asked ?? setup?.pageUrl ?? "";

const rules = new Rules();
const platform = new Platform(setup !== null);
platform.failed = (/** @type {string} */ problem) => {
  element("problem").textContent = problem;
  element("problem").hidden = problem === "";
};
/** @type {Record<string, Desktop>} */ const desks = {};
/** @type {Record<string, Work>} */ const works = {};
const there = new Set(["alice"]);

for (const [name, agent] of Object.entries(AGENTS)) {
  const template = /** @type {HTMLTemplateElement} */ (element("desk"));
  const root = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  root.dataset.agent = name;
  root.hidden = !there.has(name);
  const desktop = new Desktop(agent, rules, /** @type {HTMLElement} */ (root.querySelector(".frames")));
  const other = name === "alice" ? "bob" : "alice";
  desks[name] = desktop;
  works[name] = new Work(name, desktop, platform, () => (there.has(other) ? works[other] : null));
  deskOf(works[name], root).draw();
  element("desks").append(root);
}
addEventListener("message", ({ source, origin, data }) => {
  const window = /** @type {Window} */ (source);
  // A page in a window of its own belongs to the first agent.
  const desktop = Object.values(desks).find(({ frames }) => frames.some((frame) => frame.contentWindow === source)) ?? desks.alice;
  desktop.receive(window, origin, data);
});
buildTools(desks);

/** The second agent sits down. @param {string} [url] The page to embed for them. */
async function second(url = pageUrl) {
  there.add("bob");
  const root = /** @type {HTMLElement} */ (document.querySelector("[data-agent=bob]"));
  root.hidden = false;
  element("desks").dataset.two = "true";
  desks.alice.changed();
  /** @type {HTMLButtonElement} */ (document.querySelector("[data-do=second]")).disabled = true;
  if (url !== "") await desks.bob.embed(url, "page-bob");
}
document.querySelector("[data-do=second]")?.addEventListener("click", () => void second());
document.querySelector("[data-do=panel]")?.addEventListener("click", () => {
  if (pageUrl !== "") void desks.alice.embed(pageUrl, `panel-${desks.alice.frames.length + 1}`);
});
element("mood").addEventListener("change", ({ target }) => platform.mood(/** @type {HTMLSelectElement} */ (target).value));

async function showHistory() {
  const received = await platform.received().catch(() => []);
  const list = /** @type {HTMLElement} */ (document.querySelector("#history ol"));
  const lines = received.slice(-10).reverse().map(({ recordId, conversationId, receivedAt }) => `${new Date(receivedAt).toLocaleTimeString()}: record ${recordId} of conversation ${conversationId}`);
  if ([...list.children].map((one) => one.textContent).join() !== lines.join()) {
    list.replaceChildren(...lines.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }
  /** @type {HTMLElement} */ (document.querySelector("#history .none")).hidden = lines.length > 0;
}
if (setup !== null) setInterval(() => document.hidden || void showHistory(), HISTORY);
else element("history").hidden = true;

Object.assign(window, { simulator: desks.alice, desks, works, second, sendEvent, imitate });
if (pageUrl !== "") await desks.alice.embed(pageUrl);
else if (setup === null && !query.has("alone")) platform.failed("No gateway stands behind this desktop. Add ?page=URL to embed a page.");
