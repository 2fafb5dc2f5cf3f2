/**
 * The pages as the real binary serves them: `GATEWAY_BIN` names it, and without it these tests are skipped.
 * The platform is the binary's own simulator, the history manager a small server, the desktop its simulator.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach, before, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { bodyOf, listen, startFiles } from "./support/servers.mjs";

const { GATEWAY_BIN } = process.env;
const ID = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";

/** A port that was free a moment ago: the configuration must name one. */
async function freePort() {
  const taken = await listen(() => {});
  await taken.close();
  return taken.host.split(":")[1];
}

describe("the real binary", { skip: GATEWAY_BIN ? false : "GATEWAY_BIN is not set" }, () => {
  const children = [];
  let directory, browser, desktop, history, page, intake, status;
  const filed = [];

  function start(args) {
    const child = spawn(GATEWAY_BIN, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, STATE_DIRECTORY: directory, RUST_LOG: "warn" } });
    children.push(child);
    return child;
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "gateway-pages-"));
    [browser, desktop] = await Promise.all([startBrowser(), startFiles()]);
    history = await listen(async (request, response) => {
      filed.push(JSON.parse(await bodyOf(request)));
      response.writeHead(201).end();
    });
    const [line] = await once(createInterface({ input: start(["simulate", "--port", "0", "--control-port", "0"]).stdout }), "line");
    const platform = JSON.parse(line);
    const [http, operators] = [await freePort(), await freePort()];
    intake = `127.0.0.1:${http}`;
    status = `127.0.0.1:${operators}`;
    await writeFile(join(directory, "client-secret"), platform.clientSecret, { mode: 0o600 });
    await writeFile(join(directory, "gateway.toml"), `
[http]
listen = "${intake}"
allowed-origins = ["${desktop.origin}"]
[status]
listen = "${status}"
[genesys]
login-url = "${platform.loginUrl}"
api-url = "${platform.apiUrl}"
[genesys.oauth]
grant = "client-credentials"
client-id = "${platform.clientId}"
client-secret-file = "${join(directory, "client-secret")}"
[history]
url = "${history.origin}/communications"
[store]
path = "gateway.db"
${process.env.GATEWAY_EXTRA_CONFIG ?? ""}
`);
    start(["--config", join(directory, "gateway.toml"), "run"]).stdout.resume();
    await until("the gateway to be ready", () => fetch(`http://${status}/readyz`).then((it) => it.ok, () => false), 20_000);
  });
  after(async () => {
    for (const child of children) {
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
    }
    await Promise.all([browser?.close(), desktop?.close(), history?.close()]);
    if (directory) await rm(directory, { recursive: true, force: true });
  });
  afterEach(async () => {
    await page?.close();
    browser.assertClean([intake, status, desktop.host]);
  });

  test("the page for the desktop reports an interaction and sees it watched", async () => {
    page = await browser.context.newPage();
    await page.goto(`${desktop.origin}/desktop-simulator.html`);
    await page.evaluate((url) => window.simulator.embed(url).then(() => {}), `http://${intake}/agent-desktop/`);
    const frame = page.frameLocator("iframe[name=page]");
    await frame.locator("#desktop[data-level=good]").waitFor();
    await page.evaluate((id) => window.simulator.ring({ conversationId: id }), ID);
    await frame.locator("article[data-state=watching], article[data-state=settling], article[data-state=finished]").waitFor();
    const view = await (await fetch(`http://${intake}/customers/supportInteraction/${ID}`)).json();
    assert.equal(view.interaction.agentDesktop.interactionId, "1");
  });

  test("every file of the page has its type, its policy, and no sniffing", async () => {
    for (const [name, type] of [["", "text/html"], ["page.js", "text/javascript"], ["page.css", "text/css"], ["config.json", "application/json"]]) {
      const { status: code, headers } = await fetch(`http://${intake}/agent-desktop/${name}`);
      assert.equal(code, 200, name);
      assert.ok(headers.get("Content-Type").startsWith(type), name);
      assert.equal(headers.get("X-Content-Type-Options"), "nosniff", name);
    }
    const policy = (await fetch(`http://${intake}/agent-desktop/`)).headers.get("Content-Security-Policy");
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, new RegExp(`frame-ancestors ${desktop.origin}(;|$)`));
  });

  test("the status page shows the verdict of the snapshot", async () => {
    page = await browser.context.newPage();
    const answer = await page.goto(`http://${status}/`);
    assert.match(answer.headers()["content-security-policy"], /frame-ancestors 'none'/);
    const { verdict } = await (await fetch(`http://${status}/status`)).json();
    await page.locator("#verdict", { hasText: /\S/ }).waitFor();
    assert.equal(typeof verdict, "string");
    await until("the verdict", async () => (await page.locator("#verdict").textContent()) !== "");
    assert.equal(await page.locator("body").getAttribute("data-link"), "live");
  });
});
