/** Puts the documented global there, for the origins of the address, as an application does in its own document. */
import { install } from "/agent-desktop/service-client-global.js";

install({ origins: new URLSearchParams(location.search).get("origins").split(",") });
