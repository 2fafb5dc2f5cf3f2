/**
 * The pages as the real binary serves them: `GATEWAY_BIN` names it, and if that is empty these tests are skipped.
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
import { configure, freePort } from "./support/gateway.mjs";
import { bodyOf, listen, startFiles } from "./support/servers.mjs";

const { GATEWAY_BIN, SCREENSHOTS } = process.env;
const TOKEN = "an-operators-token-0123456789abcdef";
const ID = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";

describe("the real binary", { skip: GATEWAY_BIN ? false : "GATEWAY_BIN is not set" }, () => {
  const children = [];
  let directory, browser, desktop, history, page, platform, intake, status;
  const filed = [];
  /** Conversations whose records the history manager refuses for now. */
  const refused = new Set();
  /** And those for which it has no time. */
  const late = new Set();

  function start(args) {
    const child = spawn(GATEWAY_BIN, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, STATE_DIRECTORY: directory, RUST_LOG: "warn" } });
    children.push(child);
    return child;
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "gateway-pages-"));
    [browser, desktop] = await Promise.all([startBrowser(), startFiles()]);
    history = await listen(async (request, response) => {
      const record = JSON.parse(await bodyOf(request));
      if (late.has(record.conversationId)) return response.writeHead(503).end();
      if (refused.has(record.conversationId)) return response.writeHead(422).end('{"error":"unknown wrap-up code"}');
      filed.push(record);
      response.writeHead(201).end();
    });
    const [line] = await once(createInterface({ input: start(["simulate", "--port", "0", "--control-port", "0"]).stdout }), "line");
    platform = JSON.parse(line);
    [intake, status] = await run("gateway");
  });

  /** Starts a gateway of its own on free ports. @param {string} name @param {string} [more] Lines of `[status]`. */
  async function run(name, more = "") {
    const [http, operators] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    await configure(join(directory, `${name}.toml`), { host: http, operators, platform, history, desktopOrigins: [desktop.origin], store: `${name}.db`, status: more, more: process.env.GATEWAY_EXTRA_CONFIG });
    start(["--config", join(directory, `${name}.toml`), "run"]).stdout.resume();
    await until("the gateway to be ready", () => fetch(`http://${operators}/healthz`, { headers: { Authorization: `Bearer ${TOKEN}` } }).then((it) => it.ok, () => false), 20_000);
    return [http, operators];
  }

  /** One call that must succeed. @param {string} url @param {object} [body] */
  async function post(url, body = {}) {
    const answer = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    assert.ok(answer.ok, `${url}: ${answer.status} ${await answer.clone().text()}`);
    return answer.json();
  }
  const interaction = async (id) => (await fetch(`http://${intake}/customers/supportInteraction/${id}`)).json();

  /** A conversation from its beginning until its record is in a state. @param {string} state */
  async function wrapUp(state) {
    const { conversation, id = conversation } = await post(`${platform.controlUrl}/conversations`);
    if (state === "dead") refused.add(id);
    if (state === "deferred") late.add(id);
    await post(`http://${intake}/customers/supportInteraction`, { conversationId: id });
    await until("the subscription", async () => (await interaction(id)).state === "watching");
    await post(`${platform.controlUrl}/conversations/${id}/end`);
    await post(`${platform.controlUrl}/conversations/${id}/wrap-up`, { code: "done" });
    const record = await until(`a ${state} record`, async () => (await interaction(id)).records.find((it) => it.state === state));
    return { id, record: record.recordId };
  }

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
    await page.goto(`${desktop.origin}/?alone`);
    await page.evaluate((url) => window.simulator.embed(url).then(() => {}), `http://${intake}/agent-desktop/`);
    const frame = page.frameLocator("iframe[name=page]");
    await frame.locator("#desktop[data-level=good]").waitFor();
    await page.evaluate((id) => window.simulator.answer(window.simulator.ring({ conversationId: id })), ID);
    await frame.locator("article[data-state=watching], article[data-state=settling], article[data-state=finished]").waitFor();
    const view = await (await fetch(`http://${intake}/customers/supportInteraction/${ID}`)).json();
    assert.equal(view.interaction.agentDesktop.alice.interactionId, "1");
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
    await page.locator("body[data-link=live]").waitFor();
    const { verdict } = await (await fetch(`http://${status}/status`)).json();
    assert.match(verdict, /\S/);
    await until("the verdict", async () => (await page.locator("#verdict").textContent()) === verdict);
  });

  test("the pictures are drawn from what happened", async () => {
    for (let n = 0; n < 3; n += 1) await wrapUp("delivered");
    await post(`http://${intake}/customers/supportInteraction`, { conversationId: (await post(`${platform.controlUrl}/conversations`)).conversation });
    page = await browser.context.newPage();
    await page.goto(`http://${status}/`);
    const label = (name) => page.locator(`#charts svg[aria-label^="${name}:"]`).getAttribute("aria-label");
    await until("three filings in the chart", async () => /: [3-9]\d* in the last hour/.test(await label("Filed")));
    assert.match(await label("Events"), /: [3-9]\d* in the last hour/);
    assert.ok((await page.locator("#charts svg[aria-label^='Filed:'] rect").count()) >= 1);
    const channel = page.locator("#channels li:not(.head)").first();
    assert.match(await channel.innerText(), /live[\s\S]*of 1,000[\s\S]*heartbeat[\s\S]*ago/);
    assert.notEqual(await channel.locator(".bar span").evaluate((it) => it.style.width), "0%");
    const rows = await page.locator("#shape tr").evaluateAll((all) => all.map((one) => one.cells[0].innerText));
    assert.deepEqual(rows, ["State", "queued", "deferred", "dead", "held"]);
    assert.match(await page.locator("#connections").innerText(), /takes records[\s\S]*Token\s*held[\s\S]*of 300 left/);
  });

  test("a dead record is retried by its button and filed; another one dies again and is discarded", async () => {
    const [mended, given] = [await wrapUp("dead"), await wrapUp("dead")];
    page = await browser.context.newPage();
    await page.goto(`http://${status}/`);
    const row = ({ record }) => page.locator(`[data-record="${record}"]`);
    await row(mended).waitFor();
    assert.match(await row(mended).innerText(), /refused it with 422: .*unknown wrap-up code/);
    assert.match(await page.locator("#now").innerText(), /dead and need a person/);
    if (SCREENSHOTS) {
      for (const [size, viewport] of Object.entries({ wide: { width: 1280, height: 900 }, phone: { width: 360, height: 780 } })) {
        for (const colorScheme of ["light", "dark"]) {
          await page.setViewportSize(viewport);
          await page.emulateMedia({ colorScheme });
          await page.screenshot({ path: join(SCREENSHOTS, `real-${size}-${colorScheme}.png`), fullPage: true });
        }
      }
    }
    refused.delete(mended.id);
    await row(mended).getByRole("button", { name: /^Retry now/ }).click();
    await row(mended).waitFor({ state: "detached" });
    await until("the record to be filed", () => filed.some((it) => it.recordId === mended.record));
    await until("the state", async () => (await interaction(mended.id)).records[0].state === "delivered");
    // The other one dies again, and then nobody wants it any more.
    await row(given).getByRole("button", { name: /^Retry now/ }).click();
    await until("the second death", async () => (await interaction(given.id)).records[0].attempts === 2);
    await row(given).getByRole("button", { name: /^Discard:/ }).click();
    await row(given).getByRole("button", { name: /^Discard for good\?/ }).click();
    await until("the state", async () => (await interaction(given.id)).records[0].state === "discarded");
    await row(given).waitFor({ state: "detached" });
    await until("nobody to be waiting", () => page.locator("#nobody").isVisible());
    assert.equal(filed.filter((it) => it.recordId === given.record).length, 0);
  });

  test("a deferred record is held, released and filed", async () => {
    const one = await wrapUp("deferred");
    page = await browser.context.newPage();
    await page.goto(`http://${status}/`);
    await page.getByText("1 record is deferred").click();
    const row = page.locator(`[data-record="${one.record}"]`);
    await row.getByRole("button", { name: /^Hold/ }).click();
    await until("the state", async () => (await interaction(one.id)).records[0].state === "held");
    await page.getByText("1 record is held by an operator").waitFor();
    late.delete(one.id);
    const held = page.locator('.list[data-state="held"]').locator(`[data-record="${one.record}"]`);
    await held.getByRole("button", { name: /^Release/ }).click();
    await until("the state", async () => (await interaction(one.id)).records[0].state === "delivered");
    await until("nobody to be waiting", () => page.locator("#nobody").isVisible());
  });

  test("a listener with tokens asks for one, and the page works with it", async () => {
    await writeFile(join(directory, "operators"), `${TOKEN}\n`, { mode: 0o600 });
    const [, locked] = await run("locked", `api-tokens-file = "${join(directory, "operators")}"`);
    page = await browser.context.newPage();
    browser.excuse(/401/);
    await page.goto(`http://${locked}/`);
    await page.getByText("The gateway wants a token.").waitFor();
    await page.getByLabel("Operators' token").fill("not-the-token-0123456789abcdef");
    await page.keyboard.press("Enter");
    await page.getByText("does not accept this token").waitFor();
    await page.getByLabel("Operators' token").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator("body[data-link=live]").waitFor();
    await page.locator("#channels li:not(.head)").first().waitFor();
    assert.equal(await page.locator("#access").isVisible(), false);
    await page.close();
    browser.assertClean([locked]);
  });
});
