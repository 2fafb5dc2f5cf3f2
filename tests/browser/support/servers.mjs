/**
 * Small servers on ports of their own: the page with the two calls of the gateway imitated, and static files.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
export const source = join(dirname(dirname(here)), "src");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css" };

/** Listens on a free port. @param {import("node:http").RequestListener} listener */
export async function listen(listener) {
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = `127.0.0.1:${server.address().port}`;
  const close = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  return { host, origin: `http://${host}`, close };
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

/** Files of this directory, as a host of their own: the desktop, or a stranger. */
export function startFiles() {
  return listen((request, response) => sendFile(response, here, new URL(request.url, "http://x").pathname));
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

/**
 * The intake, as far as the page sees it. `answer` may take the place of the imitation for one or more requests.
 */
export class ImitatedGateway {
  /** What came in: `{method, path, body, authorization, at}`. */ requests = [];
  /** By conversation id, as `GET` answers. */ conversations = new Map();
  /** What `config.json` says. */ config = {};
  /** Answers that come before the imitation: functions of `(request)` giving `[status, body, headers]`. */ next = [];
  /** A token that is asked for. @type {string | null} */ token = null;

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
    this.token = null;
  }

  /** Puts a conversation there, or changes it. */
  put(conversationId, members) {
    const present = this.conversations.get(conversationId) ?? { conversationId, acceptedAt: new Date().toISOString(), interaction: {}, records: [] };
    this.conversations.set(conversationId, { ...present, ...members });
  }

  posts() {
    return this.requests.filter(({ method }) => method === "POST");
  }

  looks() {
    return this.requests.filter(({ method }) => method === "GET");
  }

  async #serve(request, response) {
    const { pathname } = new URL(request.url, "http://x");
    if (pathname === "/agent-desktop/config.json") return this.#json(response, 200, this.config);
    if (pathname.startsWith("/agent-desktop/")) {
      const ancestors = this.config.desktopOrigins?.join(" ") || "'none'";
      const headers = { "Content-Security-Policy": `${this.policy}; frame-ancestors ${ancestors}`, "X-Content-Type-Options": "nosniff" };
      return sendFile(response, join(source, "agent_desktop"), pathname.slice(15) || "index.html", headers);
    }
    if (pathname.startsWith("/harness/")) return sendFile(response, here, pathname.slice(9));
    if (!pathname.startsWith("/customers/supportInteraction")) return response.writeHead(404).end();

    const taken = { method: request.method, path: pathname, authorization: request.headers.authorization, at: performance.now() };
    const text = await bodyOf(request);
    if (request.method === "POST") taken.body = JSON.parse(text);
    taken.contentType = request.headers["content-type"];
    this.requests.push(taken);
    const [status, body, headers] = this.next.shift()?.(taken) ?? this.#answer(taken);
    this.#json(response, status, body, headers);
  }

  #answer({ method, path, body, authorization }) {
    if (this.token !== null && authorization !== `Bearer ${this.token}`) {
      return [401, { title: "Unauthorized", status: 401 }, { "WWW-Authenticate": "Bearer" }];
    }
    if (method === "POST") {
      const { conversationId, ...members } = body;
      const known = this.conversations.get(conversationId);
      const live = known && ["accepted", "watching", "settling"].includes(known.state);
      this.put(conversationId, { state: live ? known.state : "accepted", interaction: { ...known?.interaction, ...members } });
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
