/**
 * Guards what the page in Agent Desktop does when things are withheld from it or go wrong: tokens, refused methods,
 * limits and quarantine, a desktop that goes away, several panels of one agent, and windows that are not the desktop.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { DELIVERED, ID, OTHER_ID, RECORD, Stage } from "./support/stage.mjs";
import { ImitatedGateway, startFiles } from "./support/servers.mjs";

let gateway, desktop, stranger, browser, stage;
before(async () => {
  [gateway, desktop, stranger, browser] = await Promise.all([ImitatedGateway.start(), startFiles(), startFiles(), startBrowser()]);
});
after(() => Promise.all([browser?.close(), gateway?.close(), desktop?.close(), stranger?.close()]));
beforeEach(() => {
  gateway.forget();
  stage = new Stage(browser, gateway, desktop);
});
afterEach(async () => {
  await stage.close();
  browser.assertClean([gateway.host, desktop.host, stranger.host]);
});

const counted = async (request) => (await stage.received()).filter((one) => one.request === request).length;

describe("the token", () => {
  test("the page asks for its own, renews it before it ends, and shows the one before", async () => {
    gateway.tokenSeconds = 2;
    await stage.open({ config: { access: "page" } });
    const id = await stage.live({ conversationId: ID });
    const [{ authorization }] = await stage.posted();
    assert.equal(authorization, "Bearer page-token-1");
    assert.deepEqual([gateway.given[0].before, gateway.given[0].site], [undefined, "same-origin"]);
    await until("the time to renew it", () => performance.now() - gateway.posts()[0].at > 2_500);
    gateway.put(ID, { state: "watching" });
    await until("a successor", () => gateway.given.length > 1);
    assert.equal(gateway.given[1].before, "Bearer page-token-1");
    await stage.call("release", id);
    await stage.text(/Finish the after-call work/);
    assert.equal(await stage.frame.locator("#access").isVisible(), false);
  });

  test("one that the gateway no longer accepts is replaced, and what was refused goes out", async () => {
    await stage.open({ config: { access: "page" } });
    await stage.live({ conversationId: OTHER_ID });
    await stage.posted();
    gateway.refused.add("page-token-1");
    browser.excuse(/401/);
    await stage.live({ conversationId: ID });
    await until("the report with the next token", () => gateway.posts().some(({ body, authorization }) => body.conversationId === ID && authorization === "Bearer page-token-2"));
    await until("no complaint", async () => !(await stage.frame.locator("#gateway").isVisible()));
  });

  test("where none is given the agent is told why, and it is asked for again", async () => {
    gateway.nextToken.push(() => [503, { title: "Service Unavailable" }, { "Retry-After": "1" }]);
    browser.excuse(/503|401/);
    await stage.open({ config: { access: "page" } });
    await stage.live({ conversationId: ID });
    await stage.frame.getByText(/Too many pages ask the gateway/).waitFor();
    await until("the report", () => gateway.posts().some(({ authorization }) => authorization === "Bearer page-token-1"), 45_000);
    await until("no complaint", async () => !(await stage.frame.locator("#gateway").isVisible()));
  });

  test("a typed token: asked for, said to be wrong, taken, and not stored", async () => {
    gateway.token = "t0ken";
    await stage.open({ config: { access: "token" } });
    await stage.live({ conversationId: ID });
    browser.excuse(/401/);
    const field = stage.frame.getByLabel("Access token of the gateway");
    await stage.frame.getByText("This gateway asks for an access token.").waitFor();
    await field.fill("wr0ng");
    await field.press("Enter");
    await stage.frame.getByText("The gateway does not accept this token").waitFor();
    await field.fill("a token");
    await field.press("Enter");
    await stage.frame.getByText("No token looks like this").waitFor();
    await field.fill("t0ken");
    await field.press("Enter");
    await until("the form to go", async () => !(await field.isVisible()));
    await stage.text(/Your wrap-up is filed/);
    // It expires.
    gateway.token = "an0ther";
    await stage.live({ conversationId: OTHER_ID });
    await stage.frame.getByText("The gateway does not accept this token").waitFor();
    const stored = await stage.frame.locator("body").evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.doesNotMatch(stored, /t0ken/);
  });
});

describe("what the desktop refuses", () => {
  const ALL = ["agent.get", "interaction.getInteractions", "interaction.setUserData", "system.popupToast", "voice.dial", "voice.startCallRecording",
    "voice.stopCallRecording", "voice.pauseCallRecording", "voice.resumeCallRecording", "interaction.selectCaseByCaseId", "system.getAllowedServices"];
  const config = { writeBackKey: "Record", dial: true, recording: true, toast: "all" };
  const limits = {
    "agent.get": /does not say who you are/,
    "interaction.getInteractions": /does not say which contacts are there already/,
    "interaction.setUserData": /does not let this page write attached data/,
    "system.popupToast": /does not let this page show messages/,
    "voice.dial": /does not let this page dial/,
    "voice.startCallRecording": /does not let this page start recordings/,
    "voice.pauseCallRecording": /does not let this page pause recordings/,
  };
  for (const [without, words] of Object.entries(limits)) {
    test(`without ${without} the rest goes on, and it is said`, async () => {
      await stage.open({ config, switches: { accepted: `${gateway.origin} (${ALL.filter((it) => it !== without).join(", ")})` } });
      await stage.frame.locator("#limits summary", { hasText: "withholds one thing" }).click();
      await stage.frame.locator("#limits li", { hasText: words }).waitFor();
      const id = await stage.live({ conversationId: ID, });
      const [{ body }] = await stage.posted();
      assert.deepEqual(Object.keys(body.agentDesktop), [without === "agent.get" ? "unknown" : "alice"]);
      await until("a held request", () => gateway.holding === 1);
      gateway.put(ID, { state: "settling", records: [DELIVERED] });
      await stage.text(/filed at/);
      if (without !== "interaction.setUserData") await until("attached data", async () => (await stage.userData(id)).Record);
      if (without !== "system.popupToast") await until("a toast", async () => (await stage.toasts()).length === 1);
      assert.equal(await counted(without), 0, "it is not even asked for");
      assert.equal(await stage.frame.getByRole("button", { name: /^Call/ }).count(), without === "voice.dial" ? 0 : 1);
    });
  }

  test("a desktop that does not say what is allowed is asked for each thing, and a refusal is not repeated for ever", async () => {
    await stage.open({ clock: true, switches: { accepted: `${gateway.origin} (agent.get)` } });
    await stage.page.clock.runFor(1_000);
    for (let minutes = 0; minutes < 30; minutes += 1) await stage.page.clock.runFor(60_000);
    await until("the requests", async () => (await counted("interaction.getInteractions")) >= 3);
    await stage.page.clock.runFor(600_000);
    assert.ok((await counted("interaction.getInteractions")) <= 3);
    assert.ok((await counted("system.getAllowedServices")) <= 3);
    await stage.live({ conversationId: ID });
    await stage.page.clock.runFor(2_000);
    await stage.posted();
  });

  test("rate limit and quarantine: the page keeps to them and works again afterwards", async () => {
    await stage.open({ clock: true, switches: { rateLimit: 2, quarantineMs: 30_000 } });
    await stage.live({ conversationId: ID });
    await stage.page.clock.runFor(1_000);
    await stage.posted();
    const before = (await stage.received()).filter(({ request }) => request).length;
    assert.ok(before <= 4, `${before} requests`);
    await stage.page.clock.runFor(20_000);
    assert.equal((await stage.received()).filter(({ request }) => request).length, before, "nothing is asked while it is kept out");
    await stage.set({ rateLimit: 0 });
    for (let seconds = 0; seconds < 70; seconds += 10) await stage.page.clock.runFor(10_000);
    await until("what was refused to be asked once more", async () => (await stage.received()).filter(({ request }) => request).length > before);
    await until("no limits", async () => !(await stage.frame.locator("#limits").isVisible()));
  });

  test("an origin that is not on the list is told, and tries ever more rarely", async () => {
    await stage.open({ clock: true, switches: { accepted: "http://elsewhere.example" }, connected: false });
    await stage.page.clock.runFor(1_000);
    await stage.frame.getByText(/Agent Desktop refuses this page \(Origin not accepted\)/).waitFor();
    for (let minutes = 0; minutes < 60; minutes += 1) await stage.page.clock.runFor(60_000);
    const subscribes = (await stage.received()).filter(({ event }) => event === "subscribe").length;
    assert.ok(subscribes >= 5 && subscribes <= 25, `${subscribes} tries in an hour`);
  });
});

describe("a desktop that goes away", () => {
  test("is looked for again; when it is back the page hears it and has what happened meanwhile", async () => {
    await stage.open({ clock: true });
    await stage.live({ conversationId: ID });
    await stage.page.clock.runFor(1_000);
    await stage.posted();
    await stage.set({ away: true });
    for (let seconds = 0; seconds < 150; seconds += 10) await stage.page.clock.runFor(10_000);
    await stage.frame.getByText(/Agent Desktop does not answer/).waitFor();
    const other = await stage.live({ conversationId: OTHER_ID });
    await stage.call("remove", "1");
    await stage.set({ away: false });
    for (let seconds = 0; seconds < 60; seconds += 5) await stage.page.clock.runFor(5_000);
    await stage.frame.locator("#desktop[data-level=good]").waitFor();
    await stage.posted(2);
    await stage.call("move", other, "HELD", { state: "HELD" });
    await stage.text(/It is on hold/);
    assert.equal(await stage.page.evaluate(() => window.simulator.subscriptions.size), 1);
    await until("the one that went", async () => (await stage.card().filter({ hasText: /Waits for you/ }).count()) === 1);
  });

  test("that does not answer at all is said, and found when it does", async () => {
    await stage.open({ clock: true, switches: { answers: "never" }, connected: false });
    await stage.page.clock.runFor(11_000);
    await stage.frame.getByText(/Agent Desktop does not answer/).waitFor();
    await stage.set({ answers: "prompt" });
    await stage.page.clock.runFor(20_000);
    await stage.frame.locator("#desktop[data-level=good]").waitFor();
  });

  test("that was silent when a call was answered has it reported once it answers again, and not called missed", async () => {
    await stage.open({ clock: true });
    const id = await stage.ring({ conversationId: ID });
    await stage.page.clock.runFor(1_000);
    await stage.set({ away: true });
    for (let turn = 0; turn < 15; turn += 1) await stage.page.clock.runFor(10_000);
    await stage.frame.getByText(/does not answer/).waitFor();
    await stage.answer(id);
    await stage.set({ away: false });
    await until("the report", async () => (await stage.page.clock.runFor(10_000), gateway.posts().length > 0));
    assert.equal(await stage.frame.locator("article").getAttribute("data-stage"), "live");
    await stage.call("release", id);
    await stage.call("remove", id);
    await until("its end", async () => (await stage.page.clock.runFor(1_000), (await stage.frame.locator("article").getAttribute("data-stage")) === "done"));
    assert.equal(gateway.posts().length, 1);
  });

  test("late, double and unasked answers and unknown events change nothing", async () => {
    await stage.open({ switches: { answers: "twice", eventBeforeAnswer: true, frameId: "f1" } });
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    await stage.page.evaluate(() => window.sendEvent(window.simulator, "NOT_IN_ANY_LIST", ""));
    await stage.text(/You are on the call/);
    await stage.call("release", id);
    await stage.text(/Waits for you/);
    assert.equal(await stage.card().count(), 1);
  });
});

describe("several panels of one agent", () => {
  test("report once, listen once, tell once; and another takes over when the first is closed", async () => {
    await stage.open({ config: { access: "page", toast: "all", writeBackKey: "Record" } });
    const second = await stage.panel();
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    await stage.text(/Your wrap-up is filed/, second);
    await until("one held request", () => gateway.holding === 1);
    await stage.call("release", id);
    gateway.put(ID, { state: "settling", records: [DELIVERED] });
    for (const frame of [stage.frame, second]) await stage.text(/filed at/, frame);
    await until("a toast", async () => (await stage.toasts()).length > 0);
    await stage.settle();
    assert.equal((await stage.toasts()).length, 1);
    assert.equal(gateway.posts().length, 1);
    assert.equal(gateway.holding, 1);
    assert.equal(await counted("interaction.setUserData"), 1);
    // The one that leads goes.
    await stage.page.evaluate(() => document.querySelector("iframe[name=page]").remove());
    await until("the other to listen", () => gateway.holding === 1 && gateway.asked().length > 0);
    const other = await stage.live({ conversationId: OTHER_ID });
    await stage.posted(2);
    await until("a request about it to be held", () => gateway.holding === 1 && gateway.asked().at(-1).query.get("ids").includes(OTHER_ID) && gateway.asked().at(-1).query.has("since"));
    gateway.put(OTHER_ID, { state: "settling", records: [{ ...DELIVERED, recordId: "0197c2a4-0000-7000-8000-000000000009" }] });
    await stage.text(/filed at/, second);
    await until("the second toast", async () => (await stage.toasts()).length === 2);
    assert.ok(other);
    assert.deepEqual([...new Set(gateway.posts().map(({ authorization }) => authorization))], ["Bearer page-token-1"], "the token is handed on");
  });

  test("where the browser withholds channel and locks they still act as one", async () => {
    await stage.close();
    stage.page = await browser.context.newPage();
    await stage.page.addInitScript(() => {
      delete window.BroadcastChannel;
      Object.defineProperty(Navigator.prototype, "locks", { get: () => ({ request: () => Promise.reject(new DOMException("", "SecurityError")) }) });
    });
    await stage.open({ config: { toast: "all" } });
    const second = await stage.panel();
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    await stage.text(/Your wrap-up is filed/, second);
    await until("one held request", () => gateway.holding === 1);
    await stage.call("release", id);
    gateway.put(ID, { state: "settling", records: [DELIVERED] });
    for (const frame of [stage.frame, second]) await stage.text(/filed at/, frame);
    await until("a toast", async () => (await stage.toasts()).length > 0);
    await stage.settle();
    assert.deepEqual([(await stage.toasts()).length, gateway.posts().length], [1, 1]);
  });

  test("two agents in one browser do not take each other for one", async () => {
    await stage.open({ second: true });
    await stage.live({ conversationId: ID });
    await stage.posted();
    await stage.page.evaluate((id) => window.desks.bob.answer(window.desks.bob.ring({ conversationId: id })), ID);
    const posts = await stage.posted(2);
    assert.deepEqual(posts.map(({ body }) => Object.keys(body.agentDesktop)[0]), ["alice", "bob"]);
    assert.deepEqual(Object.keys(gateway.conversations.get(ID).interaction.agentDesktop), ["alice", "bob"]);
  });
});

describe("whom it trusts", () => {
  test("a desktop that is not configured cannot embed it", async () => {
    browser.excuse(/frame-ancestors/);
    await stage.open({ config: { desktopOrigins: ["https://desktop.example.com"] }, connected: false });
    const embedded = stage.page.frames().find((one) => one.name() === "page");
    assert.notEqual(new URL(embedded.url()).origin, gateway.origin);
    assert.deepEqual(gateway.requests, []);
  });

  test("the address cannot name a desktop, a key or anything else", async () => {
    gateway.config = { desktopOrigins: ["https://desktop.example.com"] };
    stage.page = await browser.context.newPage();
    await stage.page.goto(`${desktop.origin}/?alone`);
    await stage.page.waitForFunction(() => window.simulator !== undefined);
    const [popup] = await Promise.all([
      stage.page.waitForEvent("popup"),
      stage.page.evaluate((url) => void window.open(url), `${gateway.origin}/agent-desktop/?desktopOrigins=${desktop.origin}&desktop-origin=${desktop.origin}&access=token`),
    ]);
    await popup.locator("#desktop").waitFor();
    await stage.page.waitForTimeout(300);
    // The browser drops what is meant for another origin, and says so.
    browser.excuse(/target origin provided/);
    assert.deepEqual(await stage.received(), []);
    await popup.close();
  });

  test("windows that imitate the desktop are not believed, of whatever origin", async () => {
    await stage.open();
    await stage.page.evaluate(() => window.imitate());
    const interaction = { interactionId: "false", userData: { conversationId: ID }, state: "TALKING" };
    const message = { userAgent: "WWE Server", protocolVersion: 2, event: "interaction", data: { eventType: "ESTABLISHED", media: "voice", interaction } };
    for (const origin of [desktop.origin, stranger.origin]) {
      await stage.page.evaluate(async ([url, it]) => {
        const frame = document.createElement("iframe");
        frame.src = url;
        await new Promise((done) => (frame.addEventListener("load", done), document.body.append(frame)));
        frame.contentWindow.postMessage({ imitate: it }, "*");
      }, [`${origin}/stranger.html`, message]);
    }
    await stage.settle();
    assert.equal(await stage.card().count(), 0);
    assert.deepEqual(gateway.requests, []);
  });

  test("opened by itself it says where it belongs", async () => {
    gateway.config = { desktopOrigins: [desktop.origin] };
    stage.page = await browser.context.newPage();
    await stage.page.goto(`${gateway.origin}/agent-desktop/`);
    await stage.page.getByText("Open it from there").waitFor();
  });
});

describe("how it looks", () => {
  for (const colorScheme of ["light", "dark"]) {
    test(`it fits 320 px, every control has a name and enough contrast (${colorScheme})`, async () => {
      await stage.open({ config: { dial: true, recording: true, writeBackKey: "CommunicationRecord" } });
      await stage.page.emulateMedia({ colorScheme });
      await stage.page.evaluate(() => (document.querySelector("iframe").style.width = "320px"));
      await stage.live({ conversationId: ID }, { parties: [{ name: "W".repeat(60) }] });
      await stage.posted();
      gateway.put(ID, { state: "settling", records: [DELIVERED, { ...RECORD, recordId: "0197c2a4-0000-7000-8000-000000000002", state: "dead", lastError: "x".repeat(300) }] });
      await stage.text(/not filed/);
      await stage.frame.getByText("Details").click();
      const seen = await stage.frame.locator("html").evaluate((html) => {
        const rgb = (color) => color.match(/[\d.]+/g).slice(0, 3).map(Number);
        const light = (color) => rgb(color).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = (it) => { for (let one = it; one; one = one.parentElement) { const color = getComputedStyle(one).backgroundColor; if (!/, 0\)$|transparent/.test(color)) return color; } };
        const poor = [...document.querySelectorAll("h1, h2, h3, p, span, li, small, summary, button, dt, code")].filter((it) => it.textContent.trim() && it.getClientRects().length > 0).filter((it) => {
          const [a, b] = [light(getComputedStyle(it).color), light(ground(it))].sort((x, y) => y - x);
          return (a + 0.05) / (b + 0.05) < 4.5;
        });
        return {
          wide: html.scrollWidth > html.clientWidth,
          nameless: [...document.querySelectorAll("button, input")].filter((it) => !it.textContent.trim() && !it.labels?.length).length,
          poor: poor.map((it) => it.className || it.tagName),
          ground: rgb(getComputedStyle(document.body).backgroundColor).reduce((sum, part) => sum + part, 0) / 3 > 128,
        };
      });
      assert.deepEqual(seen, { wide: false, nameless: 0, poor: [], ground: colorScheme === "light" });
    });
  }
});
