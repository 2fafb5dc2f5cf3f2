/**
 * Small servers on ports of their own: the page with the calls of the gateway imitated, and static files.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
export const source = join(dirname(dirname(here)), "src");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css" };

/**
 * Listens on a free port.
 * @param {import("node:http").RequestListener} listener @param {{cert: Buffer, key: Buffer}} [tls] Speaks TLS with it.
 */
export async function listen(listener, tls) {
  const server = tls ? createSecureServer(tls, listener) : createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = `127.0.0.1:${server.address().port}`;
  const close = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  return { host, origin: `http${tls ? "s" : ""}://${host}`, close };
}

/** @param {import("node:http").ServerResponse} response @param {string} directory @param {string} path @param {object} headers */
export async function sendFile(response, directory, path, headers = {}) {
  const file = join(directory, normalize(`/${path}`));
  try {
    const body = await readFile(file);
    response.writeHead(200, { "Content-Type": `${TYPES[extname(file)]}; charset=utf-8`, ...headers }).end(body);
  } catch {
    response.writeHead(404).end();
  }
}

/** The desktop's files, and those of this directory, as a host of their own: the desktop, or a stranger. */
export function startFiles(/** @type {{cert: Buffer, key: Buffer} | undefined} */ tls = undefined) {
  return listen((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    const ours = ["/stranger.html", "/stranger.js"].includes(pathname);
    return sendFile(response, ours ? here : join(source, "desktop_simulator"), pathname === "/" ? "index.html" : pathname);
  }, tls);
}

/** @param {import("node:http").IncomingMessage} request */
export async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** A constant of the Rust source, so that the pages are tested under the policy that is really sent. */
export async function rustText(file, name) {
  const text = await readFile(join(source, file), "utf8");
  const found = text.match(new RegExp(`const ${name}: &str =\\s*"((?:[^"\\\\]|\\\\[\\s\\S])*)"`));
  if (!found) throw new Error(`${name} is not in ${file}`);
  return found[1].replace(/\\\n\s*/g, "");
}

/** How long a request for news is held, in milliseconds. */
const HELD = 25_000;

/**
 * The intake, as far as the page sees it. `answer` may take the place of the imitation for one or more requests.
 */
export class ImitatedGateway {
  /** What came in: `{method, path, body, authorization, at}`. */ requests = [];
  /** By conversation id, as `GET` answers. */ conversations = new Map();
  /** What `config.json` says. */ config = {};
  /** Answers that come before the imitation: functions of `(request)` giving `[status, body, headers]`. */ next = [];
  /** The same for requests for a page token. */ nextToken = [];
  /** A token that is asked for. @type {string | null} */ token = null;
  /** How long a page token lives, in seconds. */ tokenSeconds = 600;
  /** Page tokens that were given, and those that are no longer accepted. */ given = [];
  refused = new Set();
  /** Requests for news that are held. @type {Set<() => void>} */ #held = new Set();
  #turn = 0;

  static async start() {
    const gateway = new ImitatedGateway();
    gateway.policy = await rustText("agent_desktop/mod.rs", "POLICY");
    Object.assign(gateway, await listen((request, response) => gateway.#serve(request, response)));
    return gateway;
  }

  forget() {
    this.requests = [];
    this.conversations = new Map();
    this.next = [];
    this.nextToken = [];
    this.token = null;
    this.tokenSeconds = 600;
    this.given = [];
    this.refused = new Set();
    this.#wake();
  }

  /** Puts a conversation there, or changes it. */
  put(conversationId, members) {
    const present = this.conversations.get(conversationId) ?? { conversationId, acceptedAt: new Date().toISOString(), interaction: {}, records: [] };
    this.conversations.set(conversationId, { ...present, ...members, turn: ++this.#turn });
    this.#wake();
  }

  posts() {
    return this.requests.filter(({ method }) => method === "POST");
  }

  looks() {
    return this.requests.filter(({ method, path }) => method === "GET" && path !== "/agent-desktop/news");
  }

  /** Requests for news. */
  asked() {
    return this.requests.filter(({ path }) => path === "/agent-desktop/news");
  }

  /** How many requests for news are held now. */
  get holding() {
    return this.#held.size;
  }

  #wake() {
    for (const wake of [...this.#held]) wake();
  }

  async #serve(request, response) {
    const { pathname, searchParams } = new URL(request.url, "http://x");
    if (pathname === "/agent-desktop/config.json") return this.#json(response, 200, this.config);
    if (pathname === "/agent-desktop/token") return this.#json(response, ...this.#give(request));
    if (pathname.startsWith("/agent-desktop/") && pathname !== "/agent-desktop/news") {
      const ancestors = this.config.desktopOrigins?.join(" ") || "'none'";
      const headers = { "Content-Security-Policy": `${this.policy}; frame-ancestors ${ancestors}`, "X-Content-Type-Options": "nosniff" };
      return sendFile(response, join(source, "agent_desktop"), pathname.slice(15) || "index.html", headers);
    }
    if (pathname.startsWith("/harness/")) return sendFile(response, here, pathname.slice(9));
    const news = pathname === "/agent-desktop/news";
    if (!news && !pathname.startsWith("/customers/supportInteraction")) return response.writeHead(404).end();

    const taken = { method: request.method, path: pathname, query: searchParams, authorization: request.headers.authorization, at: performance.now() };
    const text = await bodyOf(request);
    if (request.method === "POST") taken.body = JSON.parse(text);
    taken.contentType = request.headers["content-type"];
    this.requests.push(taken);
    const instead = this.next.length > 0 && !news ? this.next.shift()(taken) : null;
    const [status, body, headers] = instead ?? (news ? await this.#news(taken, request) : this.#answer(taken));
    this.#json(response, status, body, headers);
  }

  /** A page token. */
  #give({ method, headers }) {
    if (this.config.access !== "page" || method !== "POST") return [404, { title: "Not Found", status: 404 }];
    const instead = this.nextToken.shift()?.(headers);
    if (instead) return instead;
    const token = `page-token-${this.given.length + 1}`;
    this.given.push({ token, before: headers.authorization, site: headers["sec-fetch-site"] });
    return [200, { token, expiresAt: new Date(Date.now() + this.tokenSeconds * 1000).toISOString(), expiresInSeconds: this.tokenSeconds }];
  }

  #unauthorised(authorization) {
    const token = authorization?.replace("Bearer ", "");
    const wrong = this.config.access === "page" ? !this.given.some((one) => one.token === token) || this.refused.has(token) : this.token !== null && token !== this.token;
    return wrong ? [401, { title: "Unauthorized", status: 401 }, { "WWW-Authenticate": "Bearer" }] : null;
  }

  async #news({ query, authorization }, request) {
    const refusal = this.#unauthorised(authorization);
    if (refusal) return refusal;
    const ids = query.get("ids").split(",");
    const since = query.has("since") ? Number(query.get("since")) : -1;
    const changed = () => ids.map((id) => this.conversations.get(id) ?? { conversationId: id, state: "unknown", turn: 0 }).filter((one) => one.turn > since || one.state === "unknown");
    if (changed().length === 0) {
      await new Promise((done) => {
        const wake = () => {
          if (changed().length === 0) return;
          this.#held.delete(wake);
          done();
        };
        this.#held.add(wake);
        const leave = () => (this.#held.delete(wake), done());
        request.socket.once("close", leave);
        setTimeout(leave, HELD).unref();
      });
    }
    const conversations = changed().map(({ interaction, turn, ...view }) => view);
    return [200, { cursor: String(this.#turn), conversations, pauseMs: 0 }];
  }

  #answer({ method, path, body, authorization }) {
    const refusal = this.#unauthorised(authorization);
    if (refusal) return refusal;
    if (method === "POST") {
      const { conversationId, ...members } = body;
      const known = this.conversations.get(conversationId);
      const live = known && ["accepted", "watching", "settling"].includes(known.state);
      const interaction = { ...known?.interaction, ...members, agentDesktop: { ...known?.interaction?.agentDesktop, ...members.agentDesktop } };
      this.put(conversationId, { state: live ? known.state : "accepted", interaction });
      const { state, acceptedAt } = this.conversations.get(conversationId);
      return [live ? 200 : 202, { conversationId, state, acceptedAt }];
    }
    const known = this.conversations.get(path.split("/").at(-1));
    return known ? [200, known] : [404, { title: "Not Found", status: 404, detail: "No such interaction" }];
  }

  #json(response, status, body, headers = {}) {
    const type = status < 400 ? "application/json" : "application/problem+json";
    response.writeHead(status, { "Content-Type": type, ...headers }).end(JSON.stringify(body));
  }
}
