/**
 * Guards the page in Agent Desktop: what it reports, when, how often it asks, what the agent reads, and what the
 * desktop gets back. The simulator of the desktop embeds it on another origin, under the policy of the gateway; the
 * intake is imitated.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { ImitatedGateway, startFiles } from "./support/servers.mjs";

const ID = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
const RECORD = { recordId: "0197c2a4-0000-7000-8000-000000000001", source: "notification", eventTime: "2026-01-08T15:35:12.345Z",
  receivedAt: "2026-01-08T15:35:12.600Z", state: "queued", attempts: 0 };
const DELIVERED = { ...RECORD, state: "delivered", attempts: 1, deliveredAt: "2026-01-08T15:35:13.000Z" };

let gateway, desktop, browser;
before(async () => {
  [gateway, desktop, browser] = await Promise.all([ImitatedGateway.start(), startFiles(), startBrowser()]);
});
after(() => Promise.all([browser?.close(), gateway?.close(), desktop?.close()]));

let page, frame;
/**
 * Opens the simulator, prepares it, embeds the page.
 * @param {object} [options]
 */
async function open({ query = "", config = {}, switches = {}, prepare = () => {}, connected = true } = {}) {
  gateway.config = { desktopOrigins: [desktop.origin], ...config };
  page ??= await browser.context.newPage();
  await page.goto(`${desktop.origin}/desktop-simulator.html`);
  await page.evaluate((it) => window.simulator.set(it), switches);
  await page.evaluate(prepare);
  await page.evaluate((url) => window.simulator.embed(url).then(() => {}), `${gateway.origin}/agent-desktop/${query}`);
  frame = page.frameLocator("iframe[name=page]");
  if (connected) await frame.locator("#desktop[data-level=good]").waitFor();
}
beforeEach(() => gateway.forget());
afterEach(async () => {
  await page?.close();
  page = null;
  browser.assertClean([gateway.host, desktop.host]);
});

const ring = (userData, members) => page.evaluate(([data, rest]) => window.simulator.ring(data, rest), [userData, members]);
const move = (id, type, members) => page.evaluate(([it, event, rest]) => window.simulator.move(it, event, rest), [id, type, members]);
const toasts = () => page.evaluate(() => [...window.simulator.toasts.values()]);
const card = () => frame.locator("article");
const text = (pattern) => card().filter({ hasText: pattern }).first().waitFor();
const posted = (count = 1) => until(`${count} report(s)`, () => gateway.posts().length >= count && gateway.posts());

describe("reporting", () => {
  test("an interaction that comes in is reported once and looked up from then on", async () => {
    await open();
    const id = await ring({ conversationId: ID.toUpperCase() });
    await posted();
    await move(id, "ESTABLISHED", { state: "TALKING" });
    await move(id, "ATTACHED_DATA_CHANGED", { userData: { conversationId: ID, more: 1 } });
    await move(id, "RELEASED", { state: "IDLE" });
    await until("the look after the release", () => gateway.looks().length >= 2);
    assert.equal(gateway.posts().length, 1);
    const [first, second] = gateway.requests;
    assert.equal(first.method, "POST");
    assert.deepEqual([second.method, second.path], ["GET", `/customers/supportInteraction/${ID}`]);
    const [{ body, path, contentType, authorization }] = gateway.posts();
    assert.equal(path, "/customers/supportInteraction");
    assert.equal(contentType, "application/json");
    assert.equal(authorization, undefined);
    const { startedAt, ...told } = body.agentDesktop;
    assert.ok(Math.abs(Date.parse(startedAt) - Date.now()) < 60_000);
    assert.deepEqual({ ...body, agentDesktop: told }, {
      conversationId: ID,
      agentDesktop: { interactionId: id, caseId: `case-${id}`, callUuid: `UUID${id}`, media: "voice", direction: "IN", callType: "Inbound",
        agent: { employeeId: "1001", username: "kmilburn" } },
    });
  });

  test("an interaction that is there already when the page loads is reported too", async () => {
    await open({ prepare: () => void window.simulator.ring({ conversationId: "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47" }) });
    assert.equal((await posted())[0].body.conversationId, ID);
  });

  test("what the desktop's scripts send as numbers of customers is not reported", async () => {
    await open();
    await ring({ conversationId: ID, name: "A. Customer" });
    const [{ body }] = await posted();
    assert.doesNotMatch(JSON.stringify(body), /15550100|A\. Customer/);
  });

  test("attached data goes along where the gateway names its keys", async () => {
    await open({ config: { forwardKeys: ["CaseNumber", "absent"] } });
    await ring({ conversationId: ID, CaseNumber: "4711", other: "x" });
    const [{ body }] = await posted();
    assert.deepEqual(body.agentDesktop.userData, { CaseNumber: "4711" });
  });

  test("without a conversation id nothing is reported, until one is attached", async () => {
    await open();
    const id = await ring({ conversationId: "not-a-uuid" });
    await text(/carries no conversation id/);
    assert.deepEqual(gateway.requests, []);
    await move(id, "ATTACHED_DATA_CHANGED", { userData: { conversationId: ID } });
    await posted();
  });

  test("the key may be another one, nested, and named by gateway or address", async () => {
    await open({ config: { conversationIdKey: "genesys.cloud.id" } });
    await ring({ Genesys: { Cloud: { ID } } });
    await posted();
    // Else the page may still ask for what is forgotten.
    await text(/Reported/);
    gateway.forget();
    await open({ config: { conversationIdKey: "unused" }, query: "?conversation-id-key=GC_Conversation" });
    await ring({ GC_Conversation: ID });
    await posted();
  });

  test("a consultation of the same conversation is not reported again", async () => {
    await open();
    await ring({ conversationId: ID });
    await posted();
    await ring({ conversationId: ID }, { isConsultation: true, parentInteractionId: "1" });
    await card().nth(1).waitFor();
    await until("the state on both cards", async () => (await frame.locator("article[data-state=accepted]").count()) === 2);
    assert.equal(gateway.posts().length, 1);
  });

  test("loading the page again does not start what is over, and does not tell it again", async () => {
    await open();
    await ring({ conversationId: ID });
    await posted();
    await text(/Reported/);
    gateway.forget();
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await page.evaluate((id) => {
      window.simulator.interactions.get("1").userData = { conversationId: id };
      return new Promise((done) => {
        const frame = document.querySelector("iframe");
        frame.addEventListener("load", () => done());
        frame.src += "?again";
      });
    }, ID);
    await text(/The wrap-up is filed/);
    assert.deepEqual(gateway.posts(), []);
    assert.deepEqual(await toasts(), [], "the page before this one told it");
  });

  test("what is over and comes to the agent anew is reported again", async () => {
    gateway.put(ID, { state: "finished", finishedAt: "2026-01-08T15:35:13Z", records: [DELIVERED] });
    await open();
    await ring({ conversationId: ID });
    await posted();
    await frame.locator("article[data-state=accepted]").waitFor();
    assert.deepEqual(await toasts(), [], "what was filed before is not news");
  });

  test("a conversation that the gateway has forgotten is reported again", async () => {
    await open();
    await ring({ conversationId: ID });
    await posted();
    await text(/Reported/);
    gateway.forget();
    browser.excuse(/404/);
    await frame.getByRole("button", { name: "Check now" }).click();
    await posted();
  });
});

describe("following", () => {
  test("the agent reads each state as it comes, and is told by a toast what was filed", async () => {
    await open();
    const id = await ring({ conversationId: ID });
    await posted();
    await text(/Reported/);
    gateway.put(ID, { state: "watching" });
    await frame.getByRole("button", { name: "Check now" }).click();
    await text(/filed when you finish the after-call work/);
    gateway.put(ID, { state: "settling", records: [RECORD] });
    await move(id, "RELEASED");
    await text(/Waits to be filed/);
    assert.deepEqual(await toasts(), []);
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await page.evaluate((it) => window.simulator.remove(it), id);
    await text(/The wrap-up is filed/);
    await text(/record 0197c2a4-0000-7000-8000-000000000001/);
    const [toast] = await until("a toast", async () => (await toasts()).length > 0 && toasts());
    assert.equal(toast.message, "The wrap-up is filed.");
    assert.equal((await toasts()).length, 1);
    const looks = gateway.looks().length;
    await frame.getByRole("button", { name: "Check now" }).click();
    await until("one more look", () => gateway.looks().length > looks);
    assert.equal((await toasts()).length, 1, "one toast per record");
  });

  test("it asks ever more rarely, and not at all when all is filed", async () => {
    page = await browser.context.newPage();
    await page.clock.install();
    await open();
    await ring({ conversationId: ID });
    await posted();
    // A virtual hour, in steps that let the answers in.
    const times = [];
    let now = 0;
    let seen = gateway.looks().length;
    while (now < 3600) {
      await page.clock.runFor(5000);
      now += 5;
      // Real time for the answers to arrive; the page's own clock stands still meanwhile.
      await frame.locator("body").evaluate(() => fetch("config.json").then((it) => it.text()));
      const looks = gateway.looks().length;
      for (; seen < looks; seen += 1) times.push(now);
      if (now === 600) gateway.put(ID, { state: "finished", records: [DELIVERED] });
    }
    const first = times.filter((time) => time <= 60).length;
    assert.ok(first >= 3 && first <= 8, `${first} looks in the first minute`);
    const later = times.filter((time) => time > 300 && time <= 600).length;
    assert.ok(later >= 3 && later <= 7, `${later} looks in five minutes later on`);
    assert.ok(times.at(-1) <= 700, `still asking after ${times.at(-1)} s`);
  });

  test("a gateway that is full or gone is asked again, and the agent is told", async () => {
    await open();
    gateway.next.push(() => [503, { title: "Service Unavailable", detail: "The store cannot commit" }, { "Retry-After": "1" }]);
    await ring({ conversationId: ID });
    await text(/The store cannot commit/);
    browser.excuse(/503/);
    assert.equal(gateway.posts().length, 1);
    await posted(2);
    await text(/Reported/);
    assert.equal(await frame.getByText("The store cannot commit").isVisible(), false);
  });

  test("a refusal is shown in the gateway's words and not repeated", async () => {
    await open();
    gateway.next.push(() => [422, { title: "Unprocessable Content", detail: "The members are too large" }]);
    await ring({ conversationId: ID });
    await text(/The members are too large/);
    browser.excuse(/422/);
    assert.equal(gateway.requests.length, 1);
  });

  test("a token that the gateway asks for is asked of the reader, used, and not stored", async () => {
    gateway.token = "t0ken";
    await open();
    await ring({ conversationId: ID });
    browser.excuse(/401/);
    const field = frame.getByLabel("Access token of the gateway");
    await field.fill("t0ken");
    await field.press("Enter");
    const [refused, taken] = await posted(2);
    assert.deepEqual([refused.authorization, taken.authorization], [undefined, "Bearer t0ken"]);
    await text(/Reported/);
    await until("the form to go", async () => !(await field.isVisible()));
    const stored = await frame.locator("body").evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.doesNotMatch(stored, /t0ken/);
  });

  test("words of the gateway are text, never markup", async () => {
    await open();
    await ring({ conversationId: ID });
    await posted();
    gateway.put(ID, { state: "refused", reason: { code: "x", detail: "<img src=x onerror=alert(1)>" } });
    await frame.getByRole("button", { name: "Check now" }).click();
    await text(/<img src=x/);
    assert.equal(await frame.locator("img").count(), 0);
  });
});

describe("writing back", () => {
  const file = async (id) => {
    // The first look comes after the report; what is filed from then on is news.
    await text(/Reported/);
    gateway.put(ID, { state: "settling", records: [DELIVERED] });
    await move(id, "RELEASED");
  };
  const userData = (id) => page.evaluate((it) => window.simulator.interactions.get(it)?.userData, id);
  const expected = { state: "filed", recordId: DELIVERED.recordId, deliveredAt: DELIVERED.deliveredAt };

  test("attached data takes the result while the interaction is there", async () => {
    await open({ query: "?write-back=attached-data&write-back-key=Record" });
    const id = await ring({ conversationId: ID });
    await file(id);
    await until("attached data", async () => (await userData(id)).Record);
    assert.deepEqual((await userData(id)).Record, expected);
    assert.deepEqual(await toasts(), []);
  });

  test("where the interaction is gone, the agent gets a toast instead", async () => {
    await open({ config: { writeBack: "attached-data" } });
    const id = await ring({ conversationId: ID });
    await text(/Reported/);
    gateway.put(ID, { state: "finished", records: [DELIVERED] });
    await page.evaluate((it) => window.simulator.remove(it), id);
    await until("a toast", async () => (await toasts()).length === 1);
  });

  test("a key that may not be written is told, and the agent can try again by keyboard", async () => {
    await open({ config: { writeBack: "both" }, switches: { writeAllowed: "nothing" } });
    const id = await ring({ conversationId: ID });
    await file(id);
    await text(/could not be written to the interaction: Key communicationRecord may not be written/);
    await until("a toast", async () => (await toasts()).length === 1);
    await page.evaluate(() => window.simulator.set({ writeAllowed: "communicationRecord" }));
    const button = frame.getByRole("button", { name: "Write to the interaction" });
    await frame.getByRole("button", { name: "Check now" }).focus();
    await page.keyboard.press("Tab");
    assert.ok(await button.evaluate((it) => it === document.activeElement), "the button is next in line");
    await page.keyboard.press("Enter");
    await until("attached data", async () => (await userData(id)).communicationRecord);
    await until("the complaint to go", async () => !(await frame.locator(".problem").first().isVisible()));
  });

  test("none means none", async () => {
    await open({ config: { writeBack: "none" } });
    const id = await ring({ conversationId: ID });
    await file(id);
    await text(/Filed/);
    assert.equal(await frame.getByRole("button", { name: "Write to the interaction" }).isVisible(), false);
    assert.deepEqual(await toasts(), []);
    assert.deepEqual(await userData(id), { conversationId: ID });
  });
});

describe("whom it trusts", () => {
  test("a desktop that is not configured cannot embed it", async () => {
    browser.excuse(/frame-ancestors/);
    await open({ config: { desktopOrigins: ["https://desktop.example.com"] }, connected: false });
    const embedded = page.frames().find((one) => one.name() === "page");
    assert.notEqual(new URL(embedded.url()).origin, gateway.origin);
    assert.deepEqual(gateway.requests, []);
  });

  test("the address cannot name a desktop", async () => {
    gateway.config = { desktopOrigins: ["https://desktop.example.com"], timeoutMs: 200 };
    page = await browser.context.newPage();
    await page.goto(`${desktop.origin}/desktop-simulator.html`);
    const [popup] = await Promise.all([
      page.waitForEvent("popup"),
      page.evaluate((url) => void window.open(url), `${gateway.origin}/agent-desktop/?desktopOrigins=${desktop.origin}&desktop-origin=${desktop.origin}`),
    ]);
    await popup.locator("#desktop[data-level=bad]").waitFor();
    // The browser drops what is meant for another origin, and says so.
    browser.excuse(/target origin provided/);
    assert.deepEqual(await page.evaluate(() => window.simulator.received), []);
    await popup.close();
  });

  test("opened by itself it says where it belongs", async () => {
    gateway.config = { desktopOrigins: [desktop.origin] };
    page = await browser.context.newPage();
    await page.goto(`${gateway.origin}/agent-desktop/`);
    await page.getByText("Open it from Agent Desktop").waitFor();
  });

  test("a desktop that does not answer is looked for again", async () => {
    await open({ switches: { answers: "never" }, config: { timeoutMs: 100 }, connected: false });
    await frame.getByText(/did not answer system\.getAllowedServices within 100 ms.* Trying again/).waitFor();
  });

  test("a filter of the desktop that leaves out what is needed is named", async () => {
    await open({ switches: { accepted: `${gateway.origin} (agent.*, interaction.*, system.getAllowedServices)` }, connected: false });
    await frame.getByText("does not allow system.popupToast").waitFor();
    await ring({ conversationId: ID });
    await posted();
  });
});

describe("how it looks", () => {
  for (const colorScheme of ["light", "dark"]) {
    test(`it fits a narrow tab and every control has a name (${colorScheme})`, async () => {
      await open();
      await page.emulateMedia({ colorScheme });
      await page.evaluate(() => (document.querySelector("iframe").style.width = "320px"));
      await ring({ conversationId: ID });
      await posted();
      gateway.put(ID, { state: "settling", records: [DELIVERED, { ...RECORD, recordId: "0197c2a4-0000-7000-8000-000000000002", state: "dead", lastError: "The history manager answered 422: " + "x".repeat(200) }] });
      await frame.getByRole("button", { name: "Check now" }).click();
      await text(/operations looks at it/);
      const { wide, nameless, lang, ground } = await frame.locator("html").evaluate((html) => ({
        wide: html.scrollWidth > html.clientWidth,
        nameless: [...document.querySelectorAll("button, input")].filter((it) => !it.textContent.trim() && !it.labels?.length).length,
        lang: html.lang,
        ground: getComputedStyle(document.body).backgroundColor,
      }));
      assert.deepEqual({ wide, nameless, lang }, { wide: false, nameless: 0, lang: "en" });
      const brightness = ground.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
      assert.equal(brightness > 128, colorScheme === "light");
      if (process.env.SCREENSHOTS) await page.locator("iframe").screenshot({ path: `${process.env.SCREENSHOTS}/desktop-${colorScheme}.png` });
    });
  }
});
