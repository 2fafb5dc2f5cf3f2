/**
 * A real gateway that can be stopped and started again, with a real platform simulator and a small history manager.
 */
import { spawn } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { until } from "./browser.mjs";
import { bodyOf, listen } from "./servers.mjs";

const certificates = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "tls");
const CERTIFICATE = join(certificates, "test-only-server.certificate.pem");
const KEY = join(certificates, "test-only-server.key.pem");

/** For `listen`: a server with the tests' certificate. */
export const tls = { cert: readFileSync(CERTIFICATE), key: readFileSync(KEY) };

/** By what a browser knows the tests' certificate, and believes that one alone. */
export const fingerprint = createHash("sha256").update(new X509Certificate(tls.cert).publicKey.export({ type: "spki", format: "der" })).digest("base64");

/** A port that was free a moment ago: the configuration must name one. */
export async function freePort() {
  const taken = await listen(() => {});
  await taken.close();
  return taken.host.split(":")[1];
}

/**
 * Writes a configuration, and the client's secret beside it.
 * @param {string} path
 * @param {{host: string, operators: string, platform: any, history: {origin: string}, desktopOrigins: string[], store: string, http?: string, status?: string, more?: string}} what
 *   `http`, `status`: more lines of these tables; `more`: whole tables.
 */
export async function configure(path, { host, operators, platform, history, desktopOrigins, store, http = "", status = "", more = "" }) {
  await writeFile(join(dirname(path), "client-secret"), platform.clientSecret, { mode: 0o600 });
  await writeFile(path, `
[http]
listen = "${host}"
${http}
[agent-desktop]
desktop-origins = ${JSON.stringify(desktopOrigins)}
[status]
listen = "${operators}"
${status}
[genesys]
login-url = "${platform.loginUrl}"
api-url = "${platform.apiUrl}"
[genesys.oauth]
grant = "client-credentials"
client-id = "${platform.clientId}"
client-secret-file = "./client-secret"
[history]
url = "${history.origin}/communications"
[store]
path = "${store}"
${more}
`);
}

export class Gateway {
  /** What the history manager has. @type {any[]} */ filed = [];
  /** @type {import("node:child_process").ChildProcess[]} */ #children = [];

  /** @param {{desktopOrigins: string[], secure?: boolean}} options */
  static async start({ desktopOrigins, secure = false }) {
    const gateway = new Gateway();
    const directory = (gateway.directory = await mkdtemp(join(tmpdir(), "gateway-real-")));
    gateway.history = await listen(async (request, response) => {
      gateway.filed.push(JSON.parse(await bodyOf(request)));
      response.writeHead(201).end();
    });
    const simulator = gateway.#spawn(["simulate", "--port", "0", "--control-port", "0"]);
    const [line] = await once(createInterface({ input: simulator.stdout }), "line");
    const platform = (gateway.platform = JSON.parse(line));
    gateway.host = `127.0.0.1:${await freePort()}`;
    gateway.operators = `127.0.0.1:${await freePort()}`;
    gateway.origin = `http${secure ? "s" : ""}://${gateway.host}`;
    const http = secure ? `certificate-file = "${CERTIFICATE}"\nprivate-key-file = "${await gateway.#key()}"` : "";
    await configure(join(directory, "gateway.toml"), { ...gateway, platform, desktopOrigins, http, store: "gateway.db" });
    await gateway.begin();
    return gateway;
  }

  /** A key that others may read is refused. */
  async #key() {
    const path = join(this.directory, "key.pem");
    await writeFile(path, tls.key, { mode: 0o600 });
    return path;
  }

  #spawn(args) {
    const child = spawn(process.env.GATEWAY_BIN, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, STATE_DIRECTORY: this.directory, RUST_LOG: "warn" } });
    this.#children.push(child);
    return child;
  }

  /** Starts the gateway, again after `kill`. */
  async begin() {
    this.child = this.#spawn(["--config", join(this.directory, "gateway.toml"), "run"]);
    this.child.stdout.resume();
    await until("the gateway to be ready", () => fetch(`http://${this.operators}/readyz`).then((it) => it.ok, () => false), 20_000);
  }

  /** Ends it without a word. */
  async kill() {
    this.child.kill("SIGKILL");
    await once(this.child, "exit");
  }

  /** A call to the platform's control port. @param {string} path @param {object} [body] */
  async control(path, body = {}) {
    const answer = await fetch(`${this.platform.controlUrl}${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** A new conversation of the platform. @returns {Promise<string>} */
  async conversation() {
    const { conversation, id = conversation } = await this.control("/conversations");
    return id;
  }

  /** It ends, and is wrapped up. @param {string} id */
  async wrapUp(id) {
    await this.control(`/conversations/${id}/end`);
    await this.control(`/conversations/${id}/wrap-up`, { code: "done" });
  }

  async close() {
    for (const child of this.#children) {
      child.kill("SIGTERM");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    }
    await this.history.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}
