/** Puts the module under test where a test can reach it. `?origins=a,b` makes a client at once. */
import * as module from "/agent-desktop/service-client.js";

window.module = module;
window.events = [];
const origins = new URLSearchParams(location.search).get("origins");
if (origins) window.client = new module.ServiceClient({ origins: origins.split(",") });
/** Calls and tells how it ended: `{ok}` or `{kind, message, request, answer, name}`. */
window.outcome = (promise) =>
  promise.then(
    (ok) => ({ ok }),
    ({ kind, message, request, answer, name }) => ({ kind, message, request, answer, name }),
  );
