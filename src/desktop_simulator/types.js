/**
 * Every event type that the desktop's documentation names, by the group in which it names it.
 *
 * @module types
 */

/** @type {Record<string, string[]>} */
export const TYPES = {
  all: "UNKNOWN ADDED REMOVED ATTACHED_DATA_CHANGED CASE_OR_BUNDLE_ID_CHANGED NEW_MESSAGE ERROR".split(" "),
  voice: "CALL_RECORDING_STATE_CHANGED DIALING ESTABLISHED HELD PARTY_CHANGED RELEASED RINGING".split(" "),
  "open media": [
    "ACCEPTED COMPLETED COMPOSING CREATED INSERT_STANDARD_RESPONSE INVITED INVITED_CONFERENCE IN_QUEUE_FAILED IN_WORKBIN",
    "IN_WORKBIN_FAILED LEFT_CONFERENCE PULLED PULL_FAILED PULL_WORKBIN_FAILED REVOKED TRANSFER_COMPLETED",
  ].join(" ").split(" "),
  chat: "ENDED JOIN_FAILED JOIN_PENDING".split(" "),
  "outbound e-mail": "CANCELLED SENT".split(" "),
  case: "CASE_COLLAPSED CASE_EXPANDED CASE_SELECTED".split(" "),
  agent: ["STATE_CHANGED"],
  system: ["CUSTOM_TOAST_BUTTON_CLICK"],
};
