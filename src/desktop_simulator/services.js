/**
 * The methods of the Service Client API, as the simulated desktop answers them: what each does and what it gives.
 *
 * Where the documentation does not say in which member a list comes, it comes in one of a fitting name.
 *
 * @module services
 */

/** @typedef {import("./desktop.js").Desktop} Desktop */
/** @typedef {(desktop: Desktop, ...args: any[]) => any} Service */

const STATES = ["READY", "NOT_READY", "NOT_READY_ACTION_CODE", "DND", "OFFLINE"];

/** @type {Record<string, Service>} */
export const SERVICES = {
  "auth.getJwtToken": () => ({ token: "a.b.c" }),
  "agent.get": (desktop) => desktop.agent,
  "agent.getStateList": () => ({ stateList: STATES.map((operationName) => ({ operationName })) }),
  "agent.getState": (desktop) => ({ state: desktop.agentState }),
  "agent.setState": (desktop, state) => desktop.setAgentState(state),
  "interaction.getInteractions": (desktop) => ({ interactions: [...desktop.interactions.values()].map((it) => desktop.shown(it)) }),
  "interaction.getByInteractionId": (desktop, id) => ({ interaction: desktop.interactions.has(id) ? desktop.shown(desktop.need(id)) : null }),
  "interaction.getByBundleId": (desktop, id) => desktop.among("bundleId", id),
  "interaction.getByCaseId": (desktop, id) => desktop.among("caseId", id),
  "interaction.setUserData": (desktop, id, keyValues) => desktop.setUserData(id, keyValues),
  "interaction.deleteUserData": (desktop, id, key) => desktop.deleteUserData(id, key),
  "interaction.selectCaseByCaseId": (desktop, caseId) => desktop.selectCase(caseId),
  "interaction.markdone": (desktop, id) => desktop.remove(id),
  "interaction.blockMarkdone": (desktop, id, warning) => desktop.block(id, warning),
  "interaction.unblockMarkdone": (desktop, id) => void desktop.blocked.delete(id),
  "interaction.accept": (desktop, id) => desktop.answer(id),
  "interaction.reject": (desktop, id) => desktop.miss(id),
  "interaction.consult": (desktop, id, target) => desktop.ask("consult", id, target),
  "interaction.completeConference": (desktop, id) => desktop.ask("conference", id),
  "interaction.completeTransfer": (desktop, id) => desktop.ask("completeTransfer", id),
  "interaction.singleStepConference": (desktop, id, target) => desktop.ask("conference", id, target),
  "interaction.singleStepTransfer": (desktop, id, target) => desktop.ask("transfer", id, target),
  "voice.dial": (desktop, destination, userData) => ({ interactionId: desktop.dial(destination, userData ?? {}) }),
  "voice.answer": (desktop, id) => desktop.answer(id),
  "voice.hold": (desktop, id) => desktop.move(id, "HELD", { state: "HELD" }),
  "voice.resume": (desktop, id) => desktop.move(id, "ESTABLISHED", { state: "TALKING" }),
  "voice.hangUp": (desktop, id) => desktop.release(id),
  "voice.startCallRecording": (desktop, id) => desktop.record(id, "RECORDING"),
  "voice.stopCallRecording": (desktop, id) => desktop.record(id, "STOPPED"),
  "voice.pauseCallRecording": (desktop, id) => desktop.record(id, "PAUSED"),
  "voice.resumeCallRecording": (desktop, id) => desktop.record(id, "RECORDING"),
  "sipEndpoint.muteMicrophone": (desktop) => void (desktop.muted.microphone = true),
  "sipEndpoint.unmuteMicrophone": (desktop) => void (desktop.muted.microphone = false),
  "sipEndpoint.muteSpeaker": (desktop) => void (desktop.muted.speaker = true),
  "sipEndpoint.unmuteSpeaker": (desktop) => void (desktop.muted.speaker = false),
  "sipEndpoint.isMicrophoneMute": (desktop) => ({ mute: desktop.muted.microphone }),
  "sipEndpoint.isSpeakerMute": (desktop) => ({ mute: desktop.muted.speaker }),
  "email.create": (desktop, destination, userData) => ({ interactionId: desktop.write(destination, userData ?? {}) }),
  "media.getMediaList": (desktop) => ({ mediaList: [...desktop.media].map(([name, state]) => ({ name, state })) }),
  "media.getMediaByName": (desktop, name) => desktop.medium(name),
  "media.setState": (desktop, name, state) => void desktop.media.set(desktop.medium(name).name, state),
  "system.getAllowedServices": (desktop, origin) => ({ services: Object.keys(SERVICES).filter((name) => desktop.rules.allows(origin, name)) }),
  "system.triggerActivity": () => ({}),
  "system.popupToast": (desktop, toast) => desktop.showToast(toast),
  "system.updateToast": (desktop, id, toast) => desktop.changeToast(id, toast),
  "system.closeToast": (desktop, id) => desktop.changeToast(id, null),
  "configuration.getOption": (_, name, section) => ({ sections: [{ name: section ?? "interaction-workspace", options: { [String(name)]: "" } }] }),
  "configuration.getContextualOption": (desktop, name, section, id) => ({ sections: [{ name: section ?? "interaction-workspace", options: { [String(name)]: desktop.need(id).interactionId } }] }),
};
