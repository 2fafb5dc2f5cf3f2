/**
 * What is reported of a contact.
 *
 * It goes under `agentDesktop` and there under the agent's name, so that it covers neither what others report nor
 * what the next agent does. Numbers and names of customers do not go along, unless the gateway names their keys.
 *
 * @module report
 */

import { mainLegs, mediaOf } from "./contacts.js";
import { bodyOf, valueAt } from "./settings.js";

/** @typedef {import("./contacts.js").Contact} Contact */
/** @typedef {import("./service-client.js").Agent} Agent */

/**
 * @param {Contact} contact
 * @param {Agent | null} agent
 * @param {{conversationIdAt: string, forwardKeys: string[]}} settings
 * @returns {import("./follow.js").Report | null} Nothing for what is not to be reported.
 */
export function reportFor(contact, agent, { conversationIdAt, forwardKeys }) {
  const { conversationId, counts, round } = contact;
  const leg = mainLegs(contact)[0];
  if (!counts || conversationId === null || !leg) return null;
  const { interactionId, parentInteractionId, caseId, callUuid, callType, isConsultation } = leg.interaction;
  const all = mainLegs(contact).map(({ interaction }) => interaction.userData);
  const forwarded = forwardKeys.map((key) => [key, all.map((data) => valueAt(data, key)).find((value) => value !== undefined)]).filter(([, value]) => value !== undefined);
  const name = agent?.username || agent?.employeeId || "unknown";
  const userData = forwarded.length > 0 ? Object.fromEntries(forwarded) : undefined;
  const told = {
    interactionId,
    parentInteractionId,
    caseId,
    callUuid,
    media: mediaOf(contact) || undefined,
    direction: contact.direction || undefined,
    callType,
    isConsultation,
    startedAt: contact.startedAt === null ? undefined : new Date(contact.startedAt).toISOString(),
    agent: agent?.employeeId || agent?.username ? { employeeId: agent.employeeId, username: agent.username } : undefined,
    userData,
  };
  const body = bodyOf(conversationIdAt, conversationId, { agentDesktop: { [name]: told } });
  return { conversationId, body, signature: `${round}:${digest(JSON.stringify([name, userData]))}` };
}

/** Tells two texts apart; it says nothing about what is in them to whoever finds it. @param {string} text */
function digest(text) {
  let [one, two] = [0xdeadbeef, 0x41c6ce57];
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    one = Math.imul(one ^ code, 2654435761);
    two = Math.imul(two ^ code, 1597334677);
  }
  return (one >>> 0).toString(36) + (two >>> 0).toString(36);
}
