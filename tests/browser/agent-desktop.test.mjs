/**
 * Guards the page in Agent Desktop: what it reports, when and how often, what the agent reads, what it does in the
 * desktop, and how it does without what is refused. The simulator of the desktop embeds it on another origin, under
 * the policy of the gateway; the intake is imitated.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { DELIVERED, ID, OTHER_ID, RECORD, Stage } from "./support/stage.mjs";
import { ImitatedGateway, startFiles } from "./support/servers.mjs";

let gateway, desktop, browser, stage;
before(async () => {
  [gateway, desktop, browser] = await Promise.all([ImitatedGateway.start(), startFiles(), startBrowser()]);
});
after(() => Promise.all([browser?.close(), gateway?.close(), desktop?.close()]));
beforeEach(() => {
  gateway.forget();
  stage = new Stage(browser, gateway, desktop);
});
afterEach(async () => {
  await stage.close();
  browser.assertClean([gateway.host, desktop.host]);
});

describe("reporting", () => {
  test("a call is reported when it is answered, once, under the agent's name", async () => {
    await stage.open();
    const id = await stage.ring({ conversationId: ID.toUpperCase() });
    await stage.text(/reported when you answer/);
    assert.deepEqual(gateway.requests, []);
    await stage.answer(id);
    const [{ body, path, contentType, authorization }] = await stage.posted();
    await stage.move(id, "ATTACHED_DATA_CHANGED", { userData: { conversationId: ID, more: 1 } });
    await stage.move(id, "HELD", { state: "HELD" });
    await stage.move(id, "RELEASED", { state: "IDLE" });
    await stage.text(/After-call work|Waits for you/);
    assert.equal(gateway.posts().length, 1);
    assert.equal(path, "/customers/supportInteraction");
    assert.equal(contentType, "application/json");
    assert.equal(authorization, undefined);
    const { startedAt, ...told } = body.agentDesktop.alice;
    assert.ok(Math.abs(Date.parse(startedAt) - Date.now()) < 60_000);
    assert.deepEqual({ ...body, agentDesktop: { alice: told } }, {
      conversationId: ID,
      agentDesktop: { alice: { interactionId: id, caseId: `case-${id}`, callUuid: `UUID${id}`, media: "voice", direction: "IN", callType: "Inbound",
        agent: { employeeId: "1001", username: "alice" } } },
    });
    assert.doesNotMatch(JSON.stringify(body), /15550100|"A"/, "neither number nor name of the customer");
  });

  test("chat, e-mail and an outgoing e-mail are reported by the events that take them", async () => {
    await stage.open();
    const media = ["chat", "email", "callback"];
    for (const [index, medium] of media.entries()) {
      const id = await stage.ring({ conversationId: ID.replace(/..$/, `0${index}`) }, {}, medium);
      await stage.answer(id);
      assert.equal((await stage.posted(index + 1)).at(-1).body.agentDesktop.alice.media, medium);
    }
    await stage.call("write", "a@example.com", { conversationId: OTHER_ID });
    const { direction, media: medium } = (await stage.posted(4)).at(-1).body.agentDesktop.alice;
    assert.deepEqual([direction, medium], ["OUT", "email"]);
  });

  test("a call that nobody answers says missed, is not reported, and goes", async () => {
    await stage.open({ clock: true });
    const id = await stage.ring({ conversationId: ID });
    await stage.text(/Ringing/);
    await stage.call("miss", id);
    await stage.text(/Missed/);
    await stage.page.clock.runFor(20_000);
    await until("the card to go", async () => (await stage.card().count()) === 0);
    assert.deepEqual(gateway.requests, []);
  });

  test("`seen` reports at first sight, and any other event may be named", async () => {
    await stage.open({ config: { reportOn: ["seen"] } });
    await stage.ring({ conversationId: ID });
    await stage.posted();
    await stage.close();
    gateway.forget();
    await stage.open({ config: { reportOn: ["RELEASED"] } });
    const id = await stage.ring({ conversationId: ID });
    await stage.answer(id);
    await stage.text(/You are on the call/);
    assert.deepEqual(gateway.posts(), []);
    await stage.move(id, "RELEASED", { state: "IDLE" });
    await stage.posted();
  });

  test("what is there already when the page loads is reported, unless it rings", async () => {
    await stage.open({ prepare: (id) => {
      window.simulator.answer(window.simulator.ring({ conversationId: id }));
      window.simulator.ring({ conversationId: "7c1f4b9e-5d0a-4c58-9a3e-000000000009" });
    } });
    const [{ body }] = await stage.posted();
    assert.equal(body.conversationId, ID);
    await stage.card().nth(1).waitFor();
    assert.equal(gateway.posts().length, 1);
  });

  test("attached data that is forwarded goes along, and again when it comes later", async () => {
    await stage.open({ config: { forwardKeys: ["CaseNumber", "absent"] } });
    const id = await stage.live({ conversationId: ID, other: "x" });
    assert.equal((await stage.posted())[0].body.agentDesktop.alice.userData, undefined);
    await stage.move(id, "ATTACHED_DATA_CHANGED", { userData: { conversationId: ID, other: "y" } });
    await stage.move(id, "ATTACHED_DATA_CHANGED", { userData: { conversationId: ID, CaseNumber: "4711" } });
    const posts = await stage.posted(2);
    assert.deepEqual(posts[1].body.agentDesktop.alice.userData, { CaseNumber: "4711" });
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await stage.text(/A wrap-up: filed/);
    await stage.move(id, "ATTACHED_DATA_CHANGED", { userData: { conversationId: ID, CaseNumber: "4712" } });
    await stage.settle();
    assert.equal(gateway.posts().length, 2, "what is over is not started again by attached data");
  });

  test("no report leaves before the desktop said who the agent is", async () => {
    await stage.open({ switches: { answers: "late", lateMs: 400 }, connected: false, prepare: (id) => window.simulator.answer(window.simulator.ring({ conversationId: id })) });
    const [{ body }] = await stage.posted();
    assert.deepEqual(Object.keys(body.agentDesktop), ["alice"]);
  });

  test("the id is found under any of its keys and goes where the gateway looks for it", async () => {
    await stage.open({ config: { conversationIdKeys: ["genesys.cloud.id", "GC_Conversation"], conversationIdAt: "/call/a~1b/id" } });
    await stage.live({ Genesys: { Cloud: { ID: "not-a-uuid" } }, gc_conversation: ID });
    gateway.next.push(() => [202, { conversationId: ID, state: "accepted" }]);
    const [{ body }] = await stage.posted();
    assert.deepEqual(body.call, { "a/b": { id: ID } });
    assert.equal("conversationId" in body, false);
    assert.ok(body.agentDesktop.alice);
    browser.excuse(/404/);
  });

  test("without a conversation id nothing is reported, until one is attached", async () => {
    await stage.open();
    const id = await stage.live({ conversationId: "not-a-uuid" });
    await stage.text(/carries no conversation id/);
    assert.deepEqual(gateway.requests, []);
    await stage.move(id, "ATTACHED_DATA_CHANGED", { userData: { conversationId: ID } });
    await stage.posted();
  });

  test("a consultation is part of its main call, on the card and in the report", async () => {
    await stage.open();
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    const consultation = await stage.ring({ conversationId: ID }, { isConsultation: true, parentInteractionId: id, parties: [{ name: "Bob Baker" }] });
    await stage.text(/Consultation with Bob Baker is ringing/);
    await stage.move(consultation, "ESTABLISHED", { state: "TALKING" });
    await stage.text(/Consultation with Bob Baker is going on/);
    await stage.call("release", consultation);
    await stage.call("remove", consultation);
    await stage.text(/Consultation with Bob Baker is over/);
    await stage.text(/You are on the call/);
    assert.equal(await stage.card().count(), 1);
    assert.equal(gateway.posts().length, 1);
  });

  test("a contact that comes back after it was over is reported again", async () => {
    await stage.open();
    const id = await stage.ring({ conversationId: ID }, {}, "email");
    await stage.move(id, "ACCEPTED", { state: "ACCEPTED" });
    await stage.posted();
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await stage.call("release", id);
    await stage.call("remove", id);
    await stage.frame.locator("#earlier").waitFor();
    const again = await stage.ring({ conversationId: ID }, {}, "email");
    await stage.move(again, "ACCEPTED", { state: "ACCEPTED" });
    await stage.posted(2);
    assert.equal(await stage.card().count(), 1);
  });

  test("loading the page again reports nothing anew, remembers the medium, and shows what is over", async () => {
    await stage.open();
    const over = await stage.live({ conversationId: OTHER_ID });
    await stage.posted();
    const id = await stage.ring({ conversationId: ID }, { callUuid: undefined }, "email");
    await stage.move(id, "ACCEPTED", { state: "ACCEPTED" });
    await stage.posted(2);
    gateway.put(OTHER_ID, { state: "finished", records: [DELIVERED] });
    await stage.text(/A wrap-up: filed/);
    await stage.call("release", over);
    await stage.call("remove", over);
    await stage.reload();
    await stage.text(/E-mail · inbound/);
    await stage.frame.getByText("Earlier (1)").click();
    await stage.text(/A wrap-up: filed|Your wrap-up: filed/);
    await stage.settle();
    assert.equal(gateway.posts().length, 2);
    assert.deepEqual(await stage.toasts(), []);
  });
});

describe("what becomes of it", () => {
  test("the agent reads each state as it comes, within a moment, over one request at a time", async () => {
    await stage.open();
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    await stage.text(/Your wrap-up is filed when you have finished it/);
    gateway.put(ID, { state: "watching" });
    await stage.call("release", id);
    await stage.text(/Finish the after-call work/);
    await until("a held request", () => gateway.holding === 1);
    const at = performance.now();
    gateway.put(ID, { state: "settling", records: [RECORD] });
    await stage.text(/being filed/);
    assert.ok(performance.now() - at < 3000, "news within 3 s");
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await stage.text(/filed at/);
    await until("nothing to be asked any more", () => gateway.holding === 0);
    const asked = gateway.asked().length;
    assert.ok(asked <= 6, `${asked} requests for news`);
    assert.deepEqual(await stage.toasts(), [], "success is no reason for a toast");
  });

  test("each wrap-up is said once, failure in plain words, with the error among the details", async () => {
    await stage.open();
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    await until("a held request", () => gateway.holding === 1);
    await stage.call("release", id);
    gateway.put(ID, { state: "settling", records: [{ ...RECORD, state: "dead", lastError: "The history manager answered 422" }] });
    await stage.text(/The operators of the gateway are told.*: not filed/s);
    const [toast] = await until("a toast", async () => (await stage.toasts()).length > 0 && stage.toasts());
    assert.match(toast.message, /could not be filed/);
    await stage.settle();
    assert.equal((await stage.toasts()).length, 1);
    await stage.frame.getByText("Details").click();
    await stage.frame.getByText("The history manager answered 422").waitFor();
    await stage.frame.getByRole("button", { name: "Copy Conversation" }).click();
    await stage.frame.locator("#news", { hasText: "Copied." }).waitFor({ state: "attached" });
  });

  test("toasts as configured: never, and all", async () => {
    await stage.open({ config: { toast: "never" } });
    let id = await stage.live({ conversationId: ID });
    await stage.posted();
    gateway.put(ID, { state: "settling", records: [{ ...RECORD, state: "dead" }] });
    await stage.call("release", id);
    await stage.text(/not filed/);
    assert.deepEqual(await stage.toasts(), []);
    await stage.close();
    gateway.forget();
    await stage.open({ config: { toast: "all" } });
    id = await stage.live({ conversationId: ID });
    await stage.posted();
    await stage.text(/You are on the call/);
    await until("a held request", () => gateway.holding === 1);
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await until("a toast", async () => (await stage.toasts())[0]?.message === "The wrap-up is filed.");
  });

  test("a gateway that is full or gone is asked again, and the agent is told", async () => {
    await stage.open();
    gateway.next.push(() => [503, { title: "Service Unavailable", detail: "The store cannot commit" }, { "Retry-After": "1" }]);
    await stage.live({ conversationId: ID });
    await stage.text(/The store cannot commit/);
    browser.excuse(/503/);
    await stage.posted(2);
    await until("the complaint to go", async () => !(await stage.frame.getByText("The store cannot commit").isVisible()));
  });

  test("a refusal is shown in the gateway's words and not repeated", async () => {
    await stage.open();
    gateway.next.push(() => [422, { title: "Unprocessable Content", detail: "The members are too large" }]);
    await stage.live({ conversationId: ID });
    await stage.text(/The members are too large/);
    browser.excuse(/422/);
    await stage.settle();
    assert.equal(gateway.posts().length, 1);
  });

  test("a conversation that the gateway has forgotten is reported again", async () => {
    await stage.open();
    await stage.live({ conversationId: ID });
    await stage.posted();
    await until("a held request", () => gateway.holding === 1);
    gateway.forget();
    await stage.posted();
  });

  test("words of the gateway are text, never markup", async () => {
    await stage.open();
    await stage.live({ conversationId: ID, name: "<b>x</b>" });
    await stage.posted();
    gateway.put(ID, { state: "refused", reason: { code: "x", detail: "<img src=x onerror=alert(1)>" } });
    await stage.text(/<img src=x/);
    assert.equal(await stage.frame.locator("img").count(), 0);
  });

  for (const state of ["delivered", "dead"]) {
    test(`another agent's wrap-up that is ${state} says nothing of this agent's, which is still open`, async () => {
      await stage.open();
      const id = await stage.live({ conversationId: ID });
      await stage.posted();
      const began = Date.now() - 600_000;
      const foreign = { ...DELIVERED, userId: "user-of-another", eventTime: new Date(began + 1_000).toISOString(), wrapupDurationMs: 1_000, state };
      gateway.put(ID, { state: "settling", records: [foreign], interaction: { agentDesktop: { alice: {}, bob: {} } } });
      await until("whose it is", async () => (await stage.frame.locator(".records li").getAttribute("data-whose")) === "other");
      await stage.call("release", id);
      await until("the after-call work", async () => (await stage.frame.locator("article").getAttribute("data-stage")) === "wrapping");
      assert.equal(await stage.frame.locator(".badge").textContent(), "Waits for you");
    });
  }

  test("a last record that the gateway tells no more about is said to be out of sight, not being filed for ever", async () => {
    await stage.open();
    await stage.live({ conversationId: ID });
    await stage.posted();
    gateway.put(ID, { state: "finished", records: [{ ...DELIVERED, state: "deferred" }] });
    await until("the record", async () => (await stage.frame.locator(".records li").count()) === 1);
    gateway.put(ID, { state: "unknown" });
    await stage.text(/can no longer see what becomes of it/);
    assert.equal(gateway.posts().length, 1, "what is over is not begun again");
  });

  test("another agent's wrap-up is said to be that, is no reason for a toast, and is not written", async () => {
    await stage.open({ config: { toast: "all", writeBackKey: "Record" } });
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    gateway.put(ID, { interaction: { agentDesktop: { alice: {}, bob: {} } } });
    await until("a held request", () => gateway.holding === 1);
    // The page's own clock: that of the browser stays wherever a test has put it.
    const clock = () => stage.frame.locator("body").evaluate(() => Date.now());
    const began = (await clock()) - 90_000;
    gateway.put(ID, { state: "settling", records: [{ ...DELIVERED, userId: "user-bob", eventTime: new Date(began + 30_000).toISOString(), wrapupDurationMs: 30_000 }] });
    await stage.text(/Another agent's wrap-up: filed/);
    await stage.settle();
    assert.deepEqual(await stage.toasts(), []);
    assert.equal((await stage.userData(id)).Record, undefined);
    // The agent's own part ends; a record whose after-call work began then is theirs.
    await stage.call("release", id);
    const mine = { ...DELIVERED, recordId: "0197c2a4-0000-7000-8000-000000000002", userId: "user-alice", eventTime: new Date((await clock()) + 20_000).toISOString(), wrapupDurationMs: 20_000 };
    const [first] = gateway.conversations.get(ID).records;
    gateway.put(ID, { state: "settling", records: [first, mine] });
    await stage.text(/Your wrap-up: filed/);
    await until("a toast", async () => (await stage.toasts()).length === 1);
    await until("attached data", async () => (await stage.userData(id)).Record);
    assert.equal((await stage.userData(id)).Record.recordId, mine.recordId);
  });
});

describe("what it can do", () => {
  test("the result is written to the interaction, and that is said before", async () => {
    await stage.open({ config: { writeBackKey: "Record" } });
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    await stage.text(/Once filed, the interaction gets the attached data “Record”/);
    await until("a held request", () => gateway.holding === 1);
    await stage.call("release", id);
    gateway.put(ID, { state: "settling", records: [DELIVERED] });
    await stage.text(/Written to the interaction as Record/);
    assert.deepEqual((await stage.userData(id)).Record, { state: "filed", recordId: DELIVERED.recordId, deliveredAt: DELIVERED.deliveredAt });
  });

  test("a key that may not be written is told, and can be written again by keyboard", async () => {
    await stage.open({ config: { writeBackKey: "Record" }, switches: { writeAllowed: "nothing" } });
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    await until("a held request", () => gateway.holding === 1);
    gateway.put(ID, { state: "settling", records: [DELIVERED] });
    await stage.text(/Not written to the interaction as Record: Key Record may not be written/);
    await stage.set({ writeAllowed: "Record" });
    await stage.frame.getByRole("button", { name: /^Write it again/ }).focus();
    await stage.page.keyboard.press("Enter");
    await until("attached data", async () => (await stage.userData(id)).Record);
    await stage.text(/Written to the interaction as Record/);
  });

  test("recording is controlled where configuration and desktop allow it, with its state shown", async () => {
    await stage.open({ config: { recording: true } });
    await stage.live({ conversationId: ID });
    const press = (name) => stage.frame.getByRole("button", { name }).click();
    await stage.text(/Not recorded/);
    await press(/^Record/);
    await stage.frame.locator(".recording[data-state=RECORDING]").waitFor();
    await press(/^Pause recording/);
    await stage.text(/Recording paused/);
    await press(/^Resume recording/);
    await press(/^Stop recording/);
    await stage.text(/Not recorded/);
    const requests = (await stage.received()).map(({ request }) => request).filter((it) => it?.includes("CallRecording"));
    assert.deepEqual(requests, ["start", "pause", "resume", "stop"].map((it) => `voice.${it}CallRecording`));
  });

  test("numbers are dialled at a press, those of forwarded data too, and not while it rings", async () => {
    await stage.open({ config: { dial: true, forwardKeys: ["Note"] } });
    await stage.ring({ conversationId: OTHER_ID });
    await stage.text(/Ringing/);
    assert.equal(await stage.frame.getByRole("button", { name: /^Call/ }).count(), 0);
    await stage.live({ conversationId: ID, Note: "Mobile +49 (170) 123-4567, since 2026-01-08, order 12345678" });
    const names = await stage.frame.getByRole("button", { name: /^Call/ }).allTextContents();
    assert.deepEqual(names, ["Call +15550100", "Call +491701234567"]);
    await stage.frame.getByRole("button", { name: "Call +491701234567" }).click();
    await until("the call", async () => (await stage.received()).some(({ request, parameters }) => request === "voice.dial" && parameters[0] === "+491701234567"));
  });

  test("a number is dialled as it is meant, and what is none is not offered", async () => {
    await stage.open({ config: { dial: true } });
    const cases = [["+49 (0)30 1234567", "Call +49301234567"], ["tel:+4930123456;ext=5", "Call +4930123456"], ["4930123456;ext=7", "Call 4930123456"], ["sip:1001@10.0.0.1", ""], ["(030) 1234567", "Call 0301234567"]];
    for (const [index, [ani, button]] of cases.entries()) {
      const conversation = ID.replace(/..$/, `a${index}`);
      await stage.live({ conversationId: conversation }, { ani });
      const card = stage.frame.locator("article").filter({ hasText: conversation });
      await card.waitFor();
      await until("it to be live", async () => (await card.getAttribute("data-stage")) === "live");
      assert.equal((await card.getByRole("button", { name: /^Call/ }).allTextContents()).join(), button, ani);
    }
  });

  test("its case is selected in the desktop, and the card says which one is", async () => {
    await stage.open();
    await stage.live({ conversationId: ID });
    await stage.frame.getByRole("button", { name: /^Show in desktop/ }).click();
    await stage.frame.locator("article[aria-current=true]").waitFor();
  });

  test("without the configuration there is none of it", async () => {
    await stage.open();
    const id = await stage.live({ conversationId: ID });
    await stage.posted();
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await stage.text(/filed at/);
    assert.equal(await stage.frame.getByRole("button", { name: /Call|Record|Write/ }).count(), 0);
    assert.deepEqual(await stage.userData(id), { conversationId: ID });
  });

  test("the card is named by the title keys, else by the party, else by the number", async () => {
    await stage.open({ config: { titleKeys: ["Customer.Name"] } });
    const title = () => stage.frame.locator("h3").first().textContent();
    await stage.ring({ conversationId: ID, Customer: { Name: "Nadia Petrov" } });
    await until("the title key", async () => (await title()) === "Nadia Petrov");
    await stage.ring({}, { parties: [{ name: "Somebody" }] });
    await until("the party", async () => (await title()) === "Somebody");
    await stage.ring({}, { parties: [] });
    await until("the number", async () => (await title()) === "+15550100");
  });
});
