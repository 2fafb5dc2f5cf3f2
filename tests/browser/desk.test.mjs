/**
 * Whole contacts with real parts only: the desktop simulator and the page on two origins, the gateway, the platform
 * simulator and the history receiver, all of the real binary (`demo --desktop`). `GATEWAY_BIN` names it; if that is
 * empty these tests are skipped.
 */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { Demo, Desks } from "./support/demo.mjs";

const { GATEWAY_BIN, SCREENSHOTS } = process.env;

describe("a whole contact", { skip: GATEWAY_BIN ? false : "GATEWAY_BIN is not set" }, () => {
  let demo, browser, desks;
  before(async () => {
    [demo, browser] = await Promise.all([Demo.start(), startBrowser()]);
  });
  after(() => Promise.all([browser?.close(), demo?.close()]));
  beforeEach(async () => {
    desks = new Desks(await browser.context.newPage(), demo);
  });
  afterEach(async () => {
    await desks.mood("files");
    await desks.page.close();
    browser.assertClean(demo.hosts);
  });
  const text = (frame, pattern) => frame.locator("article").filter({ hasText: pattern }).first().waitFor();

  for (const media of ["voice", "chat", "email", "callback"]) {
    test(`${media}: from ring to filed, and written to the interaction`, async () => {
      await desks.open();
      const id = await desks.act("alice", "begin", media);
      await text(desks.alice, /reported when you answer/);
      await desks.act("alice", "answer", id);
      await text(desks.alice, /Your wrap-up is filed when you have finished it/);
      await desks.watched(desks.alice);
      await desks.act("alice", "release", id);
      await text(desks.alice, /Waits for you/);
      await desks.act("alice", "wrapUp", id, "resolved", "");
      const at = performance.now();
      await text(desks.alice, /wrap-up: filed at/);
      assert.ok(performance.now() - at < 3_000, `news after ${performance.now() - at} ms`);
      const conversation = await desks.conversation("alice", id);
      const [filed] = await desks.filed(conversation);
      assert.ok(filed, "the history manager has it");
      const written = await until("attached data", () => desks.page.evaluate((it) => window.desks.alice.interactions.get(it).userData.CommunicationRecord, id));
      assert.equal(written.recordId, filed.recordId);
      assert.deepEqual(await desks.toasts(), []);
      await desks.desk("alice", "remove", id);
      await desks.alice.getByText("Earlier (1)").waitFor();
    });
  }

  test("a person finds the way by the buttons alone", async () => {
    const { page } = desks;
    await page.goto(demo.url);
    await page.getByRole("button", { name: "Call", exact: true }).first().click();
    for (const name of ["Answer", "Hang up", "Finish the after-call work"]) await page.getByRole("button", { name, exact: true }).click();
    await page.locator("#history li").first().waitFor();
    await text(page.frameLocator("iframe").first(), /filed at/);
    await page.getByRole("button", { name: "Mark done" }).click();
    await page.frameLocator("iframe").first().getByText("Earlier (1)").waitFor();
  });

  test("transfer: both agents' panels, two records, each knows its own", async () => {
    await desks.open({ second: true });
    const id = await desks.act("alice", "begin", "voice");
    await desks.act("alice", "answer", id);
    await desks.watched(desks.alice);
    const theirs = await desks.act("alice", "transfer", id);
    await text(desks.bob, /Ringing/);
    await text(desks.alice, /Waits for you/);
    await desks.act("bob", "answer", theirs);
    await text(desks.bob, /You are on the call/);
    await desks.act("alice", "wrapUp", id, "resolved", "");
    await text(desks.alice, /Your wrap-up: filed at/);
    await text(desks.bob, /(Another agent's|A) wrap-up: filed at/);
    assert.equal(await desks.page.evaluate((it) => window.desks.bob.interactions.get(it).userData.CommunicationRecord, theirs), undefined, "not written as Bob's while he is on the call");
    await desks.act("bob", "release", theirs);
    await desks.act("bob", "wrapUp", theirs, "resolved", "");
    await text(desks.bob, /Your wrap-up: filed at/);
    await text(desks.alice, /Another agent's wrap-up: filed at|A wrap-up: filed at/);
    const conversation = await desks.conversation("alice", id);
    await until("both records", async () => (await desks.filed(conversation)).length === 2);
    assert.equal(await desks.alice.locator(".records li").count(), 2, "each once");
  });

  test("consultation: one card, and the call that is handed over is the other agent's", async () => {
    await desks.open({ second: true });
    const id = await desks.act("alice", "begin", "voice");
    await desks.act("alice", "answer", id);
    await desks.watched(desks.alice);
    const consultation = await desks.act("alice", "consult", id);
    await text(desks.alice, /Consultation with Bob Baker is ringing/);
    await text(desks.bob, /consultation/);
    const theirs = await desks.page.evaluate(() => [...window.desks.bob.interactions.keys()].at(-1));
    await desks.act("bob", "answer", theirs);
    await text(desks.alice, /Consultation with Bob Baker is going on/);
    assert.equal(await desks.alice.locator("article").count(), 1);
    await desks.act("alice", "completeTransfer", consultation);
    await desks.act("alice", "wrapUp", id, "resolved", "");
    await text(desks.alice, /Your wrap-up: filed at/);
    await desks.act("bob", "release", theirs);
    await desks.act("bob", "wrapUp", theirs, "resolved", "");
    await text(desks.bob, /Your wrap-up: filed at/);
    const conversation = await desks.conversation("alice", id);
    await until("both records", async () => (await desks.filed(conversation)).length === 2);
  });

  test("a missed call says so and goes", async () => {
    await desks.open();
    const id = await desks.act("alice", "begin", "voice");
    await text(desks.alice, /Ringing/);
    await desks.act("alice", "miss", id);
    await text(desks.alice, /Missed/);
    await until("the card to go", async () => (await desks.alice.locator("article").count()) === 0, 20_000);
  });

  test("a dead record is told in words and by a toast", async () => {
    await desks.open();
    await desks.mood("refuses");
    const id = await desks.act("alice", "begin", "chat");
    await desks.act("alice", "answer", id);
    await desks.watched(desks.alice);
    await desks.act("alice", "release", id);
    await desks.act("alice", "wrapUp", id, "resolved", "");
    await text(desks.alice, /The operators of the gateway are told.*: not filed/s);
    await until("a toast", async () => (await desks.toasts()).length === 1);
    assert.equal((await desks.filed(await desks.conversation("alice", id))).length, 0);
  });

  test("after a reload the page goes on with what it had, with its token's successor", async () => {
    await desks.open();
    const id = await desks.act("alice", "begin", "email");
    await desks.act("alice", "answer", id);
    await desks.watched(desks.alice);
    await desks.page.evaluate(() => new Promise((done) => {
      const frame = document.querySelector("iframe");
      frame.addEventListener("load", () => done(), { once: true });
      frame.src += "?again";
    }));
    await text(desks.alice, /E-mail · inbound/);
    await desks.act("alice", "release", id);
    await desks.act("alice", "wrapUp", id, "", "");
    await text(desks.alice, /wrap-up: filed at/);
  });

  test("from the fact on the platform to the card, with twenty panels open", { skip: process.env.LATENCY ? false : "LATENCY is not set" }, async () => {
    await desks.open();
    for (let n = 2; n <= 20; n += 1) await desks.page.evaluate(([url, name]) => window.simulator.embed(url, name).then(() => {}), [demo.setup.pageUrl, `panel-${n}`]);
    const took = [];
    for (let n = 0; n < 50; n += 1) {
      const id = await desks.act("alice", "begin", "voice");
      await desks.act("alice", "answer", id);
      const conversation = await desks.conversation("alice", id);
      const card = desks.alice.locator("article").filter({ hasText: conversation });
      await until("it to be watched", async () => ["watching", "settling"].includes(await card.getAttribute("data-state")));
      await desks.act("alice", "release", id);
      const at = performance.now();
      await desks.act("alice", "wrapUp", id, "", "");
      await until("the record", async () => (await card.locator(".records li").count()) > 0);
      took.push(performance.now() - at);
      await desks.desk("alice", "remove", id);
    }
    took.sort((a, b) => a - b);
    console.log(`from fact to card: median ${Math.round(took[25])} ms, worst ${Math.round(took[49])} ms`);
    assert.ok(took[49] < 3_000);
  });

  for (const colorScheme of SCREENSHOTS ? ["light", "dark"] : []) {
    test(`pictures (${colorScheme})`, async () => {
      await desks.page.setViewportSize({ width: 1280, height: 900 });
      await desks.page.emulateMedia({ colorScheme });
      await desks.open();
      await mkdir(SCREENSHOTS, { recursive: true });
      await desks.page.evaluate(() => (document.querySelector("iframe").style.width = "400px"));
      const shot = (name) => desks.page.locator("iframe").first().screenshot({ path: join(SCREENSHOTS, `desk-${name}-${colorScheme}.png`) });
      await shot("empty");
      const id = await desks.act("alice", "begin", "voice");
      await text(desks.alice, /Ringing/);
      await shot("ringing");
      await desks.act("alice", "answer", id);
      await desks.watched(desks.alice);
      await shot("live");
      await desks.act("alice", "release", id);
      await text(desks.alice, /Waits for you/);
      await shot("after-call-work");
      await desks.act("alice", "wrapUp", id, "resolved", "");
      await text(desks.alice, /filed at/);
      await shot("filed");
      await desks.page.screenshot({ path: join(SCREENSHOTS, `desk-whole-${colorScheme}.png`) });
      await desks.mood("refuses");
      const chat = await desks.act("alice", "begin", "chat");
      await desks.act("alice", "answer", chat);
      await desks.watched(desks.alice);
      await desks.act("alice", "release", chat);
      await desks.act("alice", "wrapUp", chat, "", "");
      await text(desks.alice, /not filed/);
      await shot("failed");
    });
  }
});
