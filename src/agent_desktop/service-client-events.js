/**
 * Every event type of the Service Client API that is documented, by the group that it belongs to.
 *
 * A later desktop may send others; they reach the handlers all the same.
 *
 * @module service-client-events
 */

/** The types by group. `agent` and `system` are event names of their own; all others come as `interaction`. */
export const EVENT_TYPES_BY_GROUP = /** @type {const} */ ({
  /** Of any medium. */
  all: ["UNKNOWN", "ADDED", "REMOVED", "ATTACHED_DATA_CHANGED", "CASE_OR_BUNDLE_ID_CHANGED", "NEW_MESSAGE", "ERROR"],
  voice: ["CALL_RECORDING_STATE_CHANGED", "DIALING", "ESTABLISHED", "HELD", "PARTY_CHANGED", "RELEASED", "RINGING"],
  /** Chat, e-mail, callback and whatever else is not a call. */
  openMedia: [
    "ACCEPTED", "COMPLETED", "COMPOSING", "CREATED", "INSERT_STANDARD_RESPONSE", "INVITED", "INVITED_CONFERENCE",
    "IN_QUEUE_FAILED", "IN_WORKBIN", "IN_WORKBIN_FAILED", "LEFT_CONFERENCE", "PULLED", "PULL_FAILED",
    "PULL_WORKBIN_FAILED", "REVOKED", "TRANSFER_COMPLETED",
  ],
  /** Besides those of open media. */
  chat: ["ENDED", "JOIN_FAILED", "JOIN_PENDING"],
  /** Besides those of open media. */
  outboundEmail: ["CANCELLED", "SENT"],
  /** These carry `selectedCaseId` in place of an interaction. */
  case: ["CASE_COLLAPSED", "CASE_EXPANDED", "CASE_SELECTED"],
  agent: ["STATE_CHANGED"],
  system: ["CUSTOM_TOAST_BUTTON_CLICK"],
});

/** @typedef {(typeof EVENT_TYPES_BY_GROUP)[keyof typeof EVENT_TYPES_BY_GROUP][number]} EventType */

/** All of them. @type {readonly EventType[]} */
export const EVENT_TYPES = Object.values(EVENT_TYPES_BY_GROUP).flat();

/** @param {unknown} text @returns {text is EventType} Whether this is a documented type. */
export function isEventType(text) {
  return EVENT_TYPES.some((type) => type === text);
}
