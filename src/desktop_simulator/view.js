/**
 * What a person sees of one agent's desktop.
 *
 * @module view
 */

/** @typedef {import("./work.js").Work} Work */
/** @typedef {import("./desktop.js").Interaction} Interaction */

const CODES = ["", "resolved", "callback-promised", "wrong-number"];
const MEDIA = /** @type {Record<string, string>} */ ({ voice: "Call", chat: "Chat", email: "E-mail", callback: "Callback" });

/** Builds the desk of an agent. @param {Work} work @returns {{root: HTMLElement, draw: () => void}} */
export function deskOf(work, root = document.createElement("section")) {
  const { desktop } = work;
  const { firstname, lastname } = desktop.agent;
  find(root, "h2").textContent = `${firstname} ${lastname}`;
  root.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest("button") : null;
    const act = button?.dataset.act;
    if (act === "new") work.begin(button?.dataset.media ?? "voice");
    else if (act) perform(work, act, button?.closest(".contact"));
  });
  let due = false;
  const draw = () => {
    due = false;
    find(root, ".state").textContent = desktop.agentState.toLowerCase().replaceAll("_", " ");
    const all = [...desktop.interactions.values()];
    find(root, ".idle").hidden = all.length > 0;
    const list = find(root, ".contacts");
    const drawn = new Map([...list.children].map((one) => [/** @type {HTMLElement} */ (one).dataset.key, one]));
    // What did not change is left alone: somebody may be typing in it.
    list.replaceChildren(...all.map((one) => {
      const key = JSON.stringify([one, work.cases.get(one.interactionId), work.other() !== null]);
      return drawn.get(key) ?? contact(work, one, key);
    }));
    find(root, ".toasts").replaceChildren(...[...desktop.toasts.values()].slice(-3).map((toast) => make("div", `${toast?.title ?? ""}: ${toast?.subject ?? ""}. ${toast?.message ?? ""}`)));
  };
  desktop.changed = () => {
    if (!due) queueMicrotask(draw);
    due = true;
  };
  return { root, draw };
}

/** @param {Work} work @param {string} act @param {Element | null | undefined} card */
async function perform(work, act, card) {
  const id = card instanceof HTMLElement ? (card.dataset.id ?? "") : "";
  const { desktop } = work;
  /** @type {Record<string, () => any>} */
  const acts = {
    answer: () => work.answer(id),
    miss: () => work.miss(id),
    hold: () => desktop.move(id, "HELD", { state: "HELD" }),
    resume: () => desktop.move(id, "ESTABLISHED", { state: "TALKING" }),
    release: () => work.release(id),
    transfer: () => work.transfer(id),
    consult: () => work.consult(id),
    "consult-transfer": () => work.completeTransfer(id),
    "consult-end": () => work.endConsultation(id),
    reply: () => work.reply(id),
    message: () => desktop.move(id, "NEW_MESSAGE"),
    select: () => desktop.selectCase(desktop.need(id).caseId),
    done: () => desktop.remove(id),
    wrap: () => {
      const value = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (card?.querySelector(`[name=${name}]`))?.value ?? "";
      return work.wrapUp(id, value("code"), value("notes"));
    },
  };
  try {
    await acts[act]?.();
  } catch (error) {
    work.platform.failed(String(/** @type {Error} */ (error).message));
  }
}

/** @param {Work} work @param {Interaction} one @param {string} key */
function contact(work, one, key) {
  const card = make("div", "");
  const over = ["IDLE", "ENDED", "COMPLETED", "SENT"].includes(one.state);
  const waiting = ["RINGING", "INVITED"].includes(one.state);
  const held = one.state === "HELD";
  card.className = `contact${one.isCaseSelected ? " selected" : ""}`;
  Object.assign(card.dataset, { id: one.interactionId, key, over: String(over) });
  const who = one.parties?.[0]?.name ?? "";
  card.append(make("h3", `${one.isConsultation ? "Consultation: " : ""}${who}`));
  card.append(make("p", `${MEDIA[one.media] ?? one.media}, ${one.direction === "OUT" ? "outbound" : "inbound"}, ${one.state.toLowerCase()}${one.recordingState === "RECORDING" ? ", recording" : ""}`));
  const row = make("div", "");
  row.className = "row";
  const other = work.other();
  const button = (/** @type {string} */ act, /** @type {string} */ text, kind = "") => {
    const it = Object.assign(make("button", text), { type: "button", className: kind });
    it.dataset.act = act;
    row.append(it);
  };
  const voice = one.media === "voice";
  const known = work.cases.get(one.interactionId);
  if (waiting) {
    button("answer", voice ? "Answer" : "Accept", "go");
    button("miss", one.isConsultation ? "Decline" : "Let it go unanswered");
  } else if (one.state === "DIALING") {
    if (!one.isConsultation) button("answer", "They answer", "go");
    button(one.isConsultation ? "consult-end" : "miss", "Give up");
  } else if (!over && one.isConsultation && one.parentInteractionId) {
    button("consult-transfer", "Complete the transfer", "go");
    button("consult-end", "End the consultation", "stop");
  } else if (!over) {
    if (voice && !held) button("hold", "Hold");
    if (voice && held) button("resume", "Resume");
    if (one.media === "chat") button("message", "The customer writes");
    if (one.media === "email" && one.direction === "IN") button("reply", "Reply");
    if (known && other) button("transfer", `Transfer to ${other.desktop.agent.firstname}`);
    if (known && other && voice) button("consult", `Consult ${other.desktop.agent.firstname}`);
    const words = one.media === "email" && one.direction === "OUT" ? "Send" : voice ? "Hang up" : one.media === "chat" ? "End the chat" : "Complete";
    button("release", words, "stop");
  } else {
    if (known && !known.wrapped) {
      const code = document.createElement("select");
      code.name = "code";
      code.setAttribute("aria-label", "Wrap-up code");
      code.append(...CODES.map((value) => Object.assign(document.createElement("option"), { value, textContent: value === "" ? "(no code)" : value })));
      const notes = Object.assign(document.createElement("input"), { name: "notes", placeholder: "Notes", size: 14 });
      notes.setAttribute("aria-label", "Notes");
      row.append(code, notes);
      button("wrap", "Finish the after-call work", "go");
    }
    button("done", "Mark done");
  }
  if (!one.isCaseSelected) button("select", "Select");
  card.append(row);
  const data = document.createElement("dl");
  for (const [name, value] of Object.entries(one.userData)) {
    data.append(make("dt", name), make("dd", typeof value === "string" ? value : JSON.stringify(value)));
  }
  card.append(data);
  return card;
}

/** @param {string} name @param {string} text */
function make(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}

/** @param {Element} root @param {string} selector @returns {HTMLElement} */
function find(root, selector) {
  return /** @type {HTMLElement} */ (root.querySelector(selector));
}
