/**
 * Guards the documented global `genesys.wwe.service`, and that every event type of the documentation is named, sent
 * by the desktop's simulator and heard.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { ImitatedGateway, startFiles } from "./support/servers.mjs";

/** The documented types, by group. */
const TYPES = {
  all: ["UNKNOWN", "ADDED", "REMOVED", "ATTACHED_DATA_CHANGED", "CASE_OR_BUNDLE_ID_CHANGED", "NEW_MESSAGE", "ERROR"],
  voice: ["CALL_RECORDING_STATE_CHANGED", "DIALING", "ESTABLISHED", "HELD", "PARTY_CHANGED", "RELEASED", "RINGING"],
  openMedia: ["ACCEPTED", "COMPLETED", "COMPOSING", "CREATED", "INSERT_STANDARD_RESPONSE", "INVITED", "INVITED_CONFERENCE", "IN_QUEUE_FAILED",
    "IN_WORKBIN", "IN_WORKBIN_FAILED", "LEFT_CONFERENCE", "PULLED", "PULL_FAILED", "PULL_WORKBIN_FAILED", "REVOKED", "TRANSFER_COMPLETED"],
  chat: ["ENDED", "JOIN_FAILED", "JOIN_PENDING"],
  outboundEmail: ["CANCELLED", "SENT"],
  case: ["CASE_COLLAPSED", "CASE_EXPANDED", "CASE_SELECTED"],
  agent: ["STATE_CHANGED"],
  system: ["CUSTOM_TOAST_BUTTON_CLICK"],
};

let gateway, desktop, browser, page, frame;
before(async () => {
  [gateway, desktop, browser] = await Promise.all([ImitatedGateway.start(), startFiles(), startBrowser()]);
});
after(() => Promise.all([browser?.close(), gateway?.close(), desktop?.close()]));
beforeEach(async () => {
  page = await browser.context.newPage();
  await page.goto(`${desktop.origin}/?alone`);
  await page.waitForFunction(() => window.simulator !== undefined);
  const address = `${gateway.origin}/harness/global-harness.html?origins=${desktop.origin}`;
  await page.evaluate((url) => window.simulator.embed(url).then(() => {}), address);
  frame = page.frames().find((one) => one.url() === address);
  await frame.waitForFunction(() => window.module !== undefined);
});
afterEach(async () => {
  await page.close();
  browser.assertClean([gateway.host, desktop.host]);
});

/** Calls a method of the global and tells which callback came with what. */
const call = (name, args = []) =>
  frame.evaluate(([path, values]) => new Promise((resolve) => {
    const [space, method] = path.split(".");
    window.genesys.wwe.service[space][method](...values, (done) => resolve({ done }), (fail) => resolve({ fail }));
  }), [name, args]);
const received = () => page.evaluate(() => window.simulator.received.map(({ data }) => data));

describe("event types", () => {
  test("the module lists every documented one, by its group", async () => {
    const listed = await frame.evaluate(() => [window.module.EVENT_TYPES_BY_GROUP, window.module.EVENT_TYPES, window.module.isEventType("RINGING"), window.module.isEventType("x")]);
    assert.deepEqual(listed[0], TYPES);
    assert.deepEqual(listed[1], Object.values(TYPES).flat());
    assert.deepEqual(listed.slice(2), [true, false]);
  });

  test("the simulator sends each of them, and each is heard", async () => {
    await frame.evaluate(() => window.client.subscribe(["agent", "interaction", "system"], (data, { event }) => window.events.push([event, data.eventType])));
    const all = Object.values(TYPES).flat();
    await page.evaluate((types) => {
      window.simulator.ring();
      for (const type of types) window.sendEvent(window.simulator, type, "");
    }, all);
    // `ring` sends two of its own.
    const heard = await until("the events", async () => {
      const events = await frame.evaluate(() => window.events);
      return events.length >= all.length + 2 && events.slice(2);
    });
    const names = { STATE_CHANGED: "agent", CUSTOM_TOAST_BUTTON_CLICK: "system" };
    assert.deepEqual(heard, all.map((type) => [names[type] ?? "interaction", type]));
    const offered = await page.evaluate(() => [...document.querySelectorAll("#events option")].map((one) => one.value));
    for (const type of all) assert.ok(offered.includes(type), `${type} can be chosen`);
  });

  test("the page itself takes each of them in any order without a fault", async () => {
    gateway.forget();
    gateway.config = { desktopOrigins: [desktop.origin] };
    await page.evaluate((url) => window.simulator.embed(url, "the-page").then(() => {}), `${gateway.origin}/agent-desktop/`);
    const embedded = page.frameLocator("iframe[name=the-page]");
    await embedded.locator("#desktop[data-level=good]").waitFor();
    const all = Object.values(TYPES).flat();
    await page.evaluate((types) => {
      window.simulator.ring({ conversationId: "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47" });
      for (const type of [...types, ...types.toReversed(), "NOT_IN_ANY_LIST", ""]) window.sendEvent(window.simulator, type, "");
      for (const data of [null, 7, "x", {}, { eventType: null }, { eventType: "RINGING", interaction: {} }]) window.simulator.emit("interaction", data);
    }, all);
    await embedded.locator("article").first().waitFor();
    assert.equal(await embedded.locator("article").count(), 1);
    gateway.forget();
  });
});

describe("the documented global", () => {
  test("has every namespace and method of the module", async () => {
    const [global, module] = await frame.evaluate(() => {
      const names = (service) => Object.entries(service).flatMap(([space, methods]) => (typeof methods === "object" ? Object.keys(methods).map((name) => `${space}.${name}`) : []));
      return [names(window.genesys.wwe.service), names(window.client)];
    });
    assert.deepEqual(global.sort(), module.sort());
    assert.equal(global.length, 48);
  });

  test("a success gives the whole message, a failure too, silence a text", async () => {
    const { done } = await call("agent.get");
    assert.deepEqual([done.username, done.userAgent, done.protocolVersion, "referenceId" in done], ["alice", "WWE Server", 2, false]);
    const { fail } = await call("interaction.markdone", ["404"]);
    assert.deepEqual(fail, { errorMessage: "Interaction 404 not found", userAgent: "WWE Server", protocolVersion: 2 });
    await page.clock.install();
    await page.evaluate(() => window.simulator.set({ answers: "never" }));
    const silent = call("agent.get");
    await until("the request", async () => (await received()).length >= 3);
    await page.clock.runFor(11_000);
    assert.deepEqual(await silent, { fail: "Request timeout" });
  });

  test("callbacks stand after the documented arguments, whether optional ones are there or not", async () => {
    await call("voice.dial", ["+15550100"]);
    await call("voice.dial", ["+15550100", { a: 1 }]);
    await call("interaction.consult", ["1", "x"]);
    await frame.evaluate(() => void window.genesys.wwe.service.system.triggerActivity());
    await until("the last one", async () => (await received()).length === 4);
    const sent = (await received()).map(({ request, parameters }) => [request, parameters]);
    assert.deepEqual(sent, [
      ["voice.dial", ["+15550100", undefined]],
      ["voice.dial", ["+15550100", { a: 1 }]],
      ["interaction.consult", ["1", "x", undefined, undefined]],
      ["system.triggerActivity", undefined],
    ]);
  });

  test("a failure is told even where nobody asked for success", async () => {
    const fail = await frame.evaluate(() => new Promise((resolve) => window.genesys.wwe.service.interaction.markdone("404", undefined, resolve)));
    assert.match(fail.errorMessage, /not found/);
  });

  test("handlers hear the whole event with their context, beside each other, until they leave", async () => {
    await frame.evaluate(() => {
      const handler = function (message) { window.events.push([this.name, message.event, message.data.eventType]); };
      window.handlers = [handler, function (message) { window.events.push([this.name, message.event, message.data.eventType]); }];
      const { service } = window.genesys.wwe;
      return new Promise((done) => {
        service.subscribe(["agent", "interaction"], window.handlers[0], { name: "one" });
        service.subscribe("agent", window.handlers[1], { name: "two" }, done);
      });
    });
    const emit = () => page.evaluate(() => { window.simulator.emit("agent", { eventType: "STATE_CHANGED" }); window.simulator.emit("interaction", { eventType: "RINGING" }); });
    const heard = async (count) => {
      await until(`${count} events`, async () => (await frame.evaluate(() => window.events.length)) >= count);
      return frame.evaluate(() => window.events.splice(0));
    };
    await emit();
    assert.deepEqual(await heard(3), [["one", "agent", "STATE_CHANGED"], ["two", "agent", "STATE_CHANGED"], ["one", "interaction", "RINGING"]]);
    await frame.evaluate(() => new Promise((done) => window.genesys.wwe.service.unsubscribe("agent", window.handlers[0], done)));
    await emit();
    assert.deepEqual(await heard(2), [["two", "agent", "STATE_CHANGED"], ["one", "interaction", "RINGING"]]);
    await frame.evaluate(() => new Promise((done) => window.genesys.wwe.service.unsubscribe(["agent", "interaction"], undefined, done)));
    assert.equal(await page.evaluate(() => window.simulator.subscriptions.size), 0);
  });

  test("renew makes the desktop remember a page that it had forgotten, once", async () => {
    await frame.evaluate(() => window.client.subscribe("agent", () => window.events.push("heard")));
    await page.evaluate(() => window.simulator.subscriptions.clear());
    await frame.evaluate(() => window.client.renew());
    await frame.evaluate(() => window.client.renew());
    await page.evaluate(() => window.simulator.emit("agent", { eventType: "STATE_CHANGED" }));
    await call("agent.get");
    assert.deepEqual(await frame.evaluate(() => window.events), ["heard"]);
  });
});
