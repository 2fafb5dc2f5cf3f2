/**
 * The page of the real binary in a real browser where the world is not kind: TLS on both sides, a gateway that is
 * killed under an open page, a thief of page tokens. `GATEWAY_BIN` names the binary; if that is empty these tests are
 * skipped.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { fingerprint, Gateway, tls } from "./support/gateway.mjs";
import { listen, startFiles } from "./support/servers.mjs";

const skip = process.env.GATEWAY_BIN ? false : "GATEWAY_BIN is not set";

/** Opens the desktop with the gateway's page in it. @param {any} page @param {string} desktop @param {Gateway} gateway */
async function open(page, desktop, gateway) {
  await page.goto(`${desktop}/?alone`);
  await page.evaluate((url) => window.simulator.embed(url).then(() => {}), `${gateway.origin}/agent-desktop/`);
  const frame = page.frameLocator("iframe[name=page]");
  await frame.locator("#desktop[data-level=good]").waitFor();
  return frame;
}

/** A contact that the agent takes. @returns {Promise<string>} Its interaction id. */
const take = (page, conversationId) => page.evaluate((id) => {
  const one = window.simulator.ring({ conversationId: id });
  window.simulator.answer(one);
  return one;
}, conversationId);

const filedAt = (frame) => frame.locator("article").filter({ hasText: /wrap-up: filed at/ }).first().waitFor({ timeout: 30_000 });

describe("over TLS", { skip }, () => {
  let browser, desktop, gateway;
  before(async () => {
    desktop = await startFiles(tls);
    [browser, gateway] = await Promise.all([
      startBrowser([`--ignore-certificate-errors-spki-list=${fingerprint}`]),
      Gateway.start({ desktopOrigins: [desktop.origin], secure: true }),
    ]);
  });
  after(() => Promise.all([browser?.close(), gateway?.close(), desktop?.close()]));

  test("a desktop on https embeds the page, and a contact is watched and filed", async () => {
    assert.match(desktop.origin, /^https:/);
    const page = await browser.context.newPage();
    const frame = await open(page, desktop.origin, gateway);
    const id = await gateway.conversation();
    await take(page, id);
    await frame.locator("article[data-state=watching]").waitFor();
    await gateway.wrapUp(id);
    await filedAt(frame);
    assert.deepEqual(gateway.filed.map((it) => it.conversationId), [id]);
    await page.close();
    browser.assertClean([desktop.host, gateway.host]);
  });

  test("who asks it without TLS gets no page", async () => {
    const answer = await fetch(`http://${gateway.host}/agent-desktop/`);
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /TLS/);
  });
});

describe("without TLS", { skip }, () => {
  let browser, desktop, foreign, gateway, page;
  before(async () => {
    [desktop, foreign] = await Promise.all([startFiles(), listen((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><link rel=icon href=data:,><title>elsewhere</title>"))]);
    [browser, gateway] = await Promise.all([startBrowser(), Gateway.start({ desktopOrigins: [desktop.origin] })]);
  });
  after(() => Promise.all([browser?.close(), gateway?.close(), desktop?.close(), foreign?.close()]));
  afterEach(() => page.close());

  test("a gateway that is killed under an open page is missed, found again, and nothing is filed twice", async () => {
    browser.excuse(/ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY|401/);
    page = await browser.context.newPage();
    const frame = await open(page, desktop.origin, gateway);
    const [before, during] = [await gateway.conversation(), await gateway.conversation()];
    await take(page, before);
    await frame.locator("article[data-state=watching]").waitFor();
    await gateway.kill();
    // What comes in while it is away is reported once it is back.
    await take(page, during);
    await frame.locator("#gateway").waitFor({ timeout: 20_000 });
    await gateway.begin();
    await until("both to be watched", async () => (await frame.locator("article[data-state=watching]").count()) === 2, 60_000);
    await frame.locator("#gateway").waitFor({ state: "hidden" });
    for (const id of [before, during]) await gateway.wrapUp(id);
    await until("both records", async () => gateway.filed.length >= 2, 30_000);
    await until("both cards to say so", async () => (await frame.locator("article").filter({ hasText: /wrap-up: filed at/ }).count()) === 2, 30_000);
    assert.deepEqual(gateway.filed.map((it) => it.conversationId).sort(), [before, during].sort());
    browser.assertClean([desktop.host, gateway.host]);
  });

  test("a page on a foreign origin gets nothing with a page token that it has stolen", async () => {
    browser.excuse(/CORS|ERR_FAILED|Failed to load resource/);
    page = await browser.context.newPage();
    const tokens = [];
    page.on("request", (request) => {
      const token = request.headers().authorization;
      if (token) tokens.push(token);
    });
    const frame = await open(page, desktop.origin, gateway);
    const [seen, invented] = [await gateway.conversation(), await gateway.conversation()];
    await take(page, seen);
    await frame.locator("article[data-state=watching]").waitFor();
    const stolen = await until("a token", () => tokens.at(-1));
    // Outside of browsers it is accepted.
    const path = `/customers/supportInteraction/${seen}`;
    assert.equal((await fetch(`${gateway.origin}${path}`, { headers: { Authorization: stolen } })).status, 200);

    const thief = await browser.context.newPage();
    await thief.goto(`${foreign.origin}/`);
    const attempts = [
      ["GET", path], ["GET", `/agent-desktop/news?ids=${seen}`], ["POST", "/agent-desktop/token"],
      ["POST", "/customers/supportInteraction"], ["POST", "/customers/supportResult"],
    ];
    for (const mode of ["cors", "no-cors"]) {
      for (const [method, at] of attempts) {
        const got = await thief.evaluate(async ([url, how, way, token, id]) => {
          const body = how === "POST" ? JSON.stringify({ conversationId: id, result: { x: 1 } }) : undefined;
          try {
            const answer = await fetch(url, { method: how, mode: way, headers: { Authorization: token, "Content-Type": "application/json" }, body });
            return { status: answer.status, text: await answer.text() };
          } catch (error) {
            return { refused: String(error) };
          }
        }, [`${gateway.origin}${at}`, method, mode, stolen, invented]);
        // Refused by the browser, or an answer of which nothing can be seen.
        assert.ok(got.refused !== undefined || (got.status === 0 && got.text === ""), `${mode} ${method} ${at}: ${JSON.stringify(got)}`);
      }
    }
    const there = await fetch(`${gateway.origin}/customers/supportInteraction/${invented}`);
    assert.equal(there.status, 404, "and nothing was taken from it");
    assert.equal((await fetch(`${gateway.origin}${path}`).then((it) => it.json())).records.length, 0);
    await thief.close();
    browser.assertClean([desktop.host, gateway.host, foreign.host]);
  });
});
