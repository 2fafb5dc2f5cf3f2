/**
 * Every method of the Service Client API, by namespace. `service-client.js` gives each a way to the desktop.
 *
 * A method that only some versions of the desktop have is here too: asked for where it does not exist, the desktop
 * refuses it.
 *
 * @module service-client-methods
 */

/** @typedef {import("./service-client.js").Call} Call */
/** @typedef {import("./service-client.js").CallOptions} O */
/** @typedef {import("./service-client.js").KeyValues} KeyValues */
/** @typedef {import("./service-client.js").TargetQuery} TargetQuery */
/** @typedef {Promise<import("./service-client.js").Answer>} A */
/** @typedef {string} Id */

/**
 * The methods, one line each: documented arguments, then options. Omitted optional arguments keep their place as
 * `undefined`; a method without arguments sends no `parameters` at all.
 */
export const methods = {
  /** @param {Call} call */
  auth: (call) => ({
    /** A token that proves who the agent is. @param {O} [o] @returns {A} */
    getJwtToken: (o) => call("auth.getJwtToken", undefined, o),
  }),

  /** @param {Call} call */
  agent: (call) => ({
    /** Who is logged in: `employeeId`, `firstname`, `lastname`, `username`, `roles`. @param {O} [o] @returns {A} */
    get: (o) => call("agent.get", undefined, o),
    /** The states that the agent may choose. @param {O} [o] @returns {A} */
    getStateList: (o) => call("agent.getStateList", undefined, o),
    /** The present state. @param {O} [o] @returns {A} */
    getState: (o) => call("agent.getState", undefined, o),
    /** @param {string|number} operationName Of an entry of `getStateList`. @param {O} [o] @returns {A} */
    setState: (operationName, o) => call("agent.setState", [operationName], o),
  }),

  /** @param {Call} call */
  interaction: (call) => ({
    /** All interactions of the agent. @param {O} [o] @returns {A} */
    getInteractions: (o) => call("interaction.getInteractions", undefined, o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    getByInteractionId: (interactionId, o) => call("interaction.getByInteractionId", [interactionId], o),
    /** @param {Id} bundleId @param {O} [o] @returns {A} */
    getByBundleId: (bundleId, o) => call("interaction.getByBundleId", [bundleId], o),
    /** @param {Id} caseId @param {O} [o] @returns {A} */
    getByCaseId: (caseId, o) => call("interaction.getByCaseId", [caseId], o),
    /** Overwrites the keys given, leaves the others. @param {Id} interactionId @param {KeyValues} keyValues @param {O} [o] @returns {A} */
    setUserData: (interactionId, keyValues, o) => call("interaction.setUserData", [interactionId, keyValues], o),
    /** @param {Id} interactionId @param {string} key @param {O} [o] @returns {A} */
    deleteUserData: (interactionId, key, o) => call("interaction.deleteUserData", [interactionId, key], o),
    /** @param {Id} caseId @param {O} [o] @returns {A} */
    selectCaseByCaseId: (caseId, o) => call("interaction.selectCaseByCaseId", [caseId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    markdone: (interactionId, o) => call("interaction.markdone", [interactionId], o),
    /** @param {Id} interactionId @param {string} warning Shown to the agent. @param {O} [o] @returns {A} */
    blockMarkdone: (interactionId, warning, o) => call("interaction.blockMarkdone", [interactionId, warning], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    unblockMarkdone: (interactionId, o) => call("interaction.unblockMarkdone", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    accept: (interactionId, o) => call("interaction.accept", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    reject: (interactionId, o) => call("interaction.reject", [interactionId], o),
    /** @param {Id} interactionId @param {TargetQuery} targetQuery @param {KeyValues} [userData] @param {KeyValues} [extensions] @param {O} [o] @returns {A} */
    consult: (interactionId, targetQuery, userData, extensions, o) =>
      call("interaction.consult", [interactionId, targetQuery, userData, extensions], o),
    /** @param {Id} consultInteractionId @param {O} [o] @returns {A} */
    completeConference: (consultInteractionId, o) => call("interaction.completeConference", [consultInteractionId], o),
    /** @param {Id} consultInteractionId @param {O} [o] @returns {A} */
    completeTransfer: (consultInteractionId, o) => call("interaction.completeTransfer", [consultInteractionId], o),
    /** @param {Id} interactionId @param {TargetQuery} targetQuery @param {KeyValues} [userData] @param {KeyValues} [extensions] @param {O} [o] @returns {A} */
    singleStepConference: (interactionId, targetQuery, userData, extensions, o) =>
      call("interaction.singleStepConference", [interactionId, targetQuery, userData, extensions], o),
    /** @param {Id} interactionId @param {TargetQuery} targetQuery @param {KeyValues} [userData] @param {KeyValues} [extensions] @param {O} [o] @returns {A} */
    singleStepTransfer: (interactionId, targetQuery, userData, extensions, o) =>
      call("interaction.singleStepTransfer", [interactionId, targetQuery, userData, extensions], o),
  }),

  /** @param {Call} call */
  voice: (call) => ({
    /** @param {string} destination @param {KeyValues} [userData] @param {O} [o] @returns {A} */
    dial: (destination, userData, o) => call("voice.dial", [destination, userData], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    answer: (interactionId, o) => call("voice.answer", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    hold: (interactionId, o) => call("voice.hold", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    resume: (interactionId, o) => call("voice.resume", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    hangUp: (interactionId, o) => call("voice.hangUp", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    startCallRecording: (interactionId, o) => call("voice.startCallRecording", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    stopCallRecording: (interactionId, o) => call("voice.stopCallRecording", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    pauseCallRecording: (interactionId, o) => call("voice.pauseCallRecording", [interactionId], o),
    /** @param {Id} interactionId @param {O} [o] @returns {A} */
    resumeCallRecording: (interactionId, o) => call("voice.resumeCallRecording", [interactionId], o),
  }),

  /** @param {Call} call */
  sipEndpoint: (call) => ({
    /** @param {O} [o] @returns {A} */
    muteMicrophone: (o) => call("sipEndpoint.muteMicrophone", undefined, o),
    /** @param {O} [o] @returns {A} */
    unmuteMicrophone: (o) => call("sipEndpoint.unmuteMicrophone", undefined, o),
    /** @param {O} [o] @returns {A} */
    muteSpeaker: (o) => call("sipEndpoint.muteSpeaker", undefined, o),
    /** @param {O} [o] @returns {A} */
    unmuteSpeaker: (o) => call("sipEndpoint.unmuteSpeaker", undefined, o),
    /** @param {O} [o] @returns {A} */
    isMicrophoneMute: (o) => call("sipEndpoint.isMicrophoneMute", undefined, o),
    /** @param {O} [o] @returns {A} */
    isSpeakerMute: (o) => call("sipEndpoint.isSpeakerMute", undefined, o),
  }),

  /** @param {Call} call */
  email: (call) => ({
    /** @param {string} destination @param {KeyValues} [userData] @param {O} [o] @returns {A} */
    create: (destination, userData, o) => call("email.create", [destination, userData], o),
  }),

  /** @param {Call} call */
  media: (call) => ({
    /** @param {O} [o] @returns {A} */
    getMediaList: (o) => call("media.getMediaList", undefined, o),
    /** @param {string} mediaName @param {O} [o] @returns {A} */
    getMediaByName: (mediaName, o) => call("media.getMediaByName", [mediaName], o),
    /** @param {string} mediaName @param {string|number} operationName @param {O} [o] @returns {A} */
    setState: (mediaName, operationName, o) => call("media.setState", [mediaName, operationName], o),
  }),

  /** @param {Call} call */
  system: (call) => ({
    /** The methods that this page may call; also a probe whether its origin is accepted. @param {O} [o] @returns {A} */
    getAllowedServices: (o) => call("system.getAllowedServices", undefined, o),
    /** The agent is active: delays the logout for inactivity. @param {O} [o] @returns {A} */
    triggerActivity: (o) => call("system.triggerActivity", undefined, o),
    /** @param {KeyValues} toast @param {O} [o] @returns {A} */
    popupToast: (toast, o) => call("system.popupToast", [toast], o),
    /** @param {Id} id @param {KeyValues} toast @param {O} [o] @returns {A} */
    updateToast: (id, toast, o) => call("system.updateToast", [id, toast], o),
    /** @param {Id} id @param {O} [o] @returns {A} */
    closeToast: (id, o) => call("system.closeToast", [id], o),
  }),

  /** @param {Call} call */
  configuration: (call) => ({
    /**
     * Without a section the desktop looks into its own. An omitted section is not sent, as the desktop's script does.
     * @param {string | object[]} option @param {string} [section] @param {O} [o] @returns {A}
     */
    getOption: (option, section, o) => call("configuration.getOption", section === undefined ? [option] : [option, section], o),
    /**
     * As `getOption`, with the values that the routing strategy set for this interaction.
     * @param {string | object[]} option @param {string | undefined} section @param {Id} interactionId @param {O} [o] @returns {A}
     */
    getContextualOption: (option, section, interactionId, o) =>
      call("configuration.getContextualOption", [option, section, interactionId], o),
  }),
};
