/**
 * The global `genesys.wwe.service`, as the documentation of the Service Client API describes it, on top of
 * `service-client.js`: an application that was written for the desktop's own script changes one line.
 *
 *     <script type="module" src="service-client-global.js?origins=https://desktop.example.com"></script>
 *
 * `origins` names the desktops that may be believed, comma-separated. A module runs when the document is parsed:
 * code that uses the global runs after it, in a `defer` script, another module or on `DOMContentLoaded`.
 *
 * What an application sees is what it saw before: callbacks `done` and `fail` after the documented arguments, the
 * whole message in `done`, the whole message or `"Request timeout"` in `fail`, the whole event in a handler, called
 * with the `context` of `subscribe`. What it no longer sees are the faults: handlers with the same text are two,
 * a second subscriber takes nothing away from the first, a failure reaches `fail` without a `done`, and nobody but
 * the desktop is believed.
 *
 * @module service-client-global
 */

import { PROTOCOL_VERSION, ServiceClient } from "./service-client.js";

const NAMESPACES = /** @type {const} */ (["agent", "auth", "configuration", "email", "interaction", "media", "sipEndpoint", "system", "voice"]);
/** The envelope that the desktop puts around all it says. */
const ENVELOPE = { userAgent: "WWE Server", protocolVersion: PROTOCOL_VERSION };

/** @typedef {(message: any) => void} Callback */
/** @typedef {{name: string, handler: Callback, leave: () => void, asked: Promise<import("./service-client.js").Subscription>}} Heard */

/**
 * The members of `genesys.wwe.service` for this client.
 * @param {ServiceClient} client
 * @returns {Record<string, any>}
 */
export function serviceFor(client) {
  /** @type {Record<string, any>} */
  const service = {};
  for (const space of NAMESPACES) {
    const methods = /** @type {Record<string, (...args: any[]) => Promise<any>>} */ (client[space]);
    service[space] = Object.fromEntries(
      Object.entries(methods).map(([name, method]) => [name, (/** @type {unknown[]} */ ...args) => callBack(method, args)]),
    );
  }
  /** @type {Heard[]} */ let heard = [];
  service.subscribe = (/** @type {string | string[]} */ events, /** @type {Callback} */ handler, /** @type {unknown} */ context, /** @type {Callback} */ done, /** @type {Callback} */ fail) => {
    const fresh = [...new Set([events].flat())].map((name) => {
      const one = { name, handler, left: false };
      const asked = client.subscribe(name, (data, { event }) => {
        if (!one.left) handler.call(context, { ...ENVELOPE, event, data });
      });
      return { ...one, leave: () => (one.left = true), asked };
    });
    heard.push(...fresh);
    settle(Promise.all(fresh.map(({ asked }) => asked)).then(() => ({})), done, fail);
  };
  /** Ends what was subscribed under these names: of this handler, or of all where none is given. */
  service.unsubscribe = (/** @type {string | string[]} */ events, /** @type {Callback} */ handler, /** @type {Callback} */ done, /** @type {Callback} */ fail) => {
    const leaving = heard.filter((one) => [events].flat().includes(one.name) && (!handler || one.handler === handler));
    heard = heard.filter((one) => !leaving.includes(one));
    for (const one of leaving) one.leave();
    const left = leaving.map(({ asked }) => asked.then((subscription) => subscription.unsubscribe(), () => {}));
    settle(Promise.all(left).then(() => ({})), done, fail);
  };
  service.unload = () => client.unload();
  return service;
}

/**
 * @param {(...args: any[]) => Promise<any>} method
 * @param {unknown[]} args The documented ones, and then perhaps `done` and `fail`.
 */
function callBack(method, args) {
  // The options come last in the module and are not part of the documented form.
  const places = Math.max(method.length - 1, 0);
  // Optional arguments may be left out: the first function is `done`, wherever it stands.
  const first = args.findIndex((arg) => typeof arg === "function");
  const documented = first === -1 ? args.slice(0, places) : args.slice(0, Math.min(first, places));
  const after = args.slice(first === -1 ? places : Math.min(first, places));
  const [done, fail] = /** @type {(Callback | undefined)[]} */ (after);
  while (documented.length < places) documented.push(undefined);
  settle(method(...documented), done, fail);
}

/** @param {Promise<any>} promise @param {Callback} [done] @param {Callback} [fail] */
function settle(promise, done, fail) {
  promise.then(
    (answer) => done?.({ ...answer, ...ENVELOPE }),
    (reason) => {
      if (reason?.kind === "timeout") return fail?.("Request timeout");
      fail?.({ ...(reason?.answer ?? { errorMessage: String(reason?.message ?? reason) }), ...ENVELOPE });
    },
  );
}

/**
 * Puts `genesys.wwe.service` there.
 * @param {{origins: string[], target?: Window | null, global?: any}} options
 * @returns {ServiceClient}
 */
export function install({ origins, target, global = globalThis }) {
  const client = new ServiceClient({ origins, target });
  global.genesys ??= {};
  global.genesys.wwe ??= {};
  global.genesys.wwe.service = serviceFor(client);
  return client;
}

// The address of this script is written by the application itself, not by whoever opens it.
const named = new URL(import.meta.url).searchParams.get("origins");
if (named !== null) install({ origins: named.split(",").map((origin) => origin.trim()).filter(Boolean) });
