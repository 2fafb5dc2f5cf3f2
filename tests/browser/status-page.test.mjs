/**
 * Guards the status page: the verdict first, pictures that fit the snapshot, old figures that look old, and acts on
 * records that work. A real browser, a stub of the operators' listener, the policy of the gateway.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { OperatorsStub, healthy, historyClosed, manyDead } from "./support/snapshots.mjs";

let stub, browser, page;
before(async () => {
  [stub, browser] = await Promise.all([OperatorsStub.start(), startBrowser()]);
});
after(() => Promise.all([browser?.close(), stub?.close()]));
beforeEach(async () => {
  stub.reset();
  page = await browser.context.newPage();
});
afterEach(async () => {
  await page.close();
  browser.assertClean([stub.host]);
});

const open = async (snapshot = healthy) => {
  stub.snapshot = snapshot;
  await page.goto(`${stub.origin}/`);
  await page.locator("body:not([data-link=asking])").waitFor();
};
const text = (selector) => page.locator(selector).innerText();
const level = () => page.locator("#now").getAttribute("data-level");
const link = (state) => page.locator(`body[data-link=${state}]`).waitFor();
const row = (id) => page.locator(`[data-record="${id}"]`);

describe("the verdict", () => {
  test("comes first, in the gateway's words, and nothing else is claimed when all is well", async () => {
    await open();
    assert.equal(await text("h1"), healthy().verdict);
    assert.equal(await level(), "ok");
    assert.equal(await page.locator("#reasons li").count(), 0);
    assert.equal(await page.locator("#nobody").isVisible(), true);
    assert.match(await page.title(), /^✓ All is well/);
    assert.equal(await page.locator("#verdict").getAttribute("aria-live"), "polite");
    const first = await page.evaluate(() => document.querySelector("main").innerText.trim().split("\n")[0]);
    assert.equal(first, healthy().verdict);
  });

  test("a closed history manager is bad, with its reasons", async () => {
    await open(historyClosed);
    assert.equal(await level(), "bad");
    assert.deepEqual(await page.locator("#reasons li").allInnerTexts(), historyClosed().reasons);
    assert.match(await text("#connections"), /refuses us\s*401 Unauthorized/);
  });

  test("changes without a reload", async () => {
    await open();
    stub.snapshot = manyDead;
    await page.locator("h1", { hasText: "73 records are dead" }).waitFor();
    assert.equal(await level(), "warn");
    stub.snapshot = healthy;
    await page.locator("h1", { hasText: "All is well" }).waitFor();
    assert.equal(await page.locator("#reasons li").count(), 0);
  });

  test("a snapshot with members missing is shown as far as it goes", async () => {
    await open(() => ({ verdict: "Starting.", level: "warn", at: new Date().toISOString() }));
    assert.equal(await text("h1"), "Starting.");
    assert.equal(await page.locator("#channels").isVisible(), false);
    await open(() => ({}));
    assert.match(await text("h1"), /no verdict/);
    await open(() => ({ ...healthy(), level: "purple", channels: [{ slot: 1, state: "sideways" }], minutes: [null, {}], shape: [{ state: "queued" }], token: {}, rest: {}, history: {}, gaps: {}, checks: {}, nextWake: {}, topics: {}, oldest: undefined }));
    assert.equal(await level(), "warn");
    assert.match(await text("#channels"), /sideways/);
  });

  test("words of the gateway are text, never markup", async () => {
    await open(() => ({ ...healthy(), verdict: "<img src=x>", reasons: ["<b>bold</b>"] }));
    assert.equal(await text("h1"), "<img src=x>");
    assert.equal(await page.locator("main img, main b").count(), 0);
  });
});

describe("old figures", () => {
  test("a gateway that cannot be reached is said so at once, and the figures look old", async () => {
    await open();
    const verdict = await text("h1");
    stub.dead = true;
    browser.excuse(/ERR_EMPTY_RESPONSE|ERR_CONNECTION|Failed to load resource/);
    await link("lost");
    assert.equal(await text("h1"), "The gateway cannot be reached.");
    assert.equal(await level(), "bad");
    const reasons = await text("#reasons");
    assert.match(reasons, /There is no connection/);
    assert.ok(reasons.includes(`it said: ${verdict}`), reasons);
    assert.ok(Number(await page.locator("#figures").evaluate((it) => getComputedStyle(it).opacity)) < 0.6);
    assert.match(await text("#link"), /^Not reachable, last answer \d+ s ago/);
    stub.dead = false;
    await link("live");
    assert.equal(await text("h1"), verdict);
  });

  test("a page opened while the gateway is failing shows no figures, and gets them later", async () => {
    stub.instead = [503, { detail: "The loop does not turn" }];
    browser.excuse(/503/);
    await open();
    await link("lost");
    assert.match(await text("#reasons"), /It answered 503: The loop does not turn/);
    assert.equal(await page.locator("#figures").isVisible(), false);
    stub.instead = [200, ["not a snapshot"]];
    await page.locator("#reasons", { hasText: "not a snapshot" }).waitFor();
    stub.instead = null;
    await link("live");
    assert.equal(await page.locator("#figures").isVisible(), true);
  });

  test("figures that stand still are not passed off as new", async () => {
    const born = new Date(Date.now() - 90_000);
    await open(() => healthy(born));
    await link("stale");
    assert.equal(await text("h1"), "The figures stand still.");
    assert.match(await text("#reasons"), /its loop may be stuck[\s\S]*All is well/);
  });

  test("figures that stop while the page is open are noticed by the page's own clock", async () => {
    await page.clock.install();
    const fixed = new Date();
    // The stub's Date header would give it away sooner; it moves with real time, which hardly passes here.
    await open(() => healthy(fixed));
    await link("live");
    for (let i = 0; i < 60 && (await page.locator("body").getAttribute("data-link")) === "live"; i += 1) {
      await page.clock.runFor(1000);
      await page.evaluate(() => fetch("words.js").then((it) => it.text()));
    }
    await link("stale");
  });

  test("a gateway that announced a long sleep is not called stuck", async () => {
    const born = new Date(Date.now() - 50_000);
    await open(() => ({ ...healthy(born), nextWake: { inSeconds: 60, why: "budget of the minute" } }));
    assert.equal(await page.locator("body").getAttribute("data-link"), "live");
  });

  test("a token is asked for, used, and kept out of the address and the store", async () => {
    stub.token = "t0ken";
    browser.excuse(/401/);
    await open();
    await page.getByLabel("Operators' token").fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("does not accept this token").waitFor();
    await page.getByLabel("Operators' token").fill("t0ken");
    await page.keyboard.press("Enter");
    await link("live");
    assert.equal(await page.locator("#access").isVisible(), false);
    assert.doesNotMatch(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, document.cookie])), /t0ken/);
  });
});

describe("the pictures", () => {
  test("channels are bars of their topics, with state, age and heartbeat in words", async () => {
    await open(manyDead);
    const lines = page.locator("#channels li");
    assert.equal(await lines.count(), 5);
    assert.match(await lines.nth(0).innerText(), /live[\s\S]*1,000 of 1,000[\s\S]*heartbeat 12 s ago · 8 h 36 min old · ends in 15 h 23 min · …3f9c/);
    assert.match(await lines.nth(3).innerText(), /lost[\s\S]*heartbeat 71 s ago/);
    assert.match(await lines.nth(4).innerText(), /connecting[\s\S]*no heartbeat yet/);
    const widths = await page.locator("#channels .bar").evaluateAll((bars) => bars.map((bar) => bar.firstChild.style.width));
    assert.deepEqual(widths, ["100%", "100%", "99.8%", "100%", "21.4%"]);
    assert.equal(await text("#topics"), "3,212 topics live, 1,000 being subscribed, 12 waiting for a place.");
  });

  test("what is not filed is a table of states by age", async () => {
    await open(manyDead);
    const rows = await page.locator("#shape tr").evaluateAll((all) => all.map((one) => [...one.cells].map((cell) => cell.innerText)));
    assert.deepEqual(rows[0], ["State", "≤ 1m", "≤ 10m", "≤ 1h", "≤ 6h", "≤ 1d", "older", "Total", "Oldest"]);
    assert.deepEqual(rows.find(([state]) => state === "dead"), ["dead", "·", "2", "14", "40", "16", "1", "73", "26 h 56 min"]);
  });

  test("the last hour is three rows of bars with their sums in words", async () => {
    const snapshot = manyDead();
    await open(() => snapshot);
    const sum = (member) => snapshot.minutes.reduce((total, minute) => total + minute[member], 0).toLocaleString("en-GB");
    const labels = await page.locator("#charts svg").evaluateAll((all) => all.map((svg) => svg.getAttribute("aria-label")));
    assert.equal(labels.length, 3);
    for (const [index, [name, member]] of [["Events", "events"], ["Filed", "filed"], ["Failed", "failed"]].entries()) {
      assert.ok(labels[index].startsWith(`${name}: ${sum(member)} in the last hour`), labels[index]);
    }
    const bars = await page.locator("#charts svg").nth(2).locator("rect").count();
    assert.equal(bars, snapshot.minutes.filter(({ failed }) => failed > 0).length);
  });

  test("a pause in the minutes is a gap in the bars", async () => {
    const now = Date.now();
    const minutes = [50, 49, 1, 0].map((back) => ({ at: new Date(now - back * 60_000).toISOString(), events: 5, filed: 5, failed: 0 }));
    await open(() => ({ ...healthy(), minutes }));
    const places = await page.locator("#charts svg").first().locator("rect").evaluateAll((all) => all.map((it) => Math.floor(Number(it.getAttribute("x")))));
    assert.deepEqual(places, [9, 10, 58, 59]);
  });

  test("counts and connections say what the snapshot says", async () => {
    await open(manyDead);
    assert.match(await text("#counts"), /Watched\s*4,212[\s\S]*Waiting to be filed\s*46\s*41 deferred, oldest 22 min[\s\S]*Dead\s*73\s*oldest 26 h 56 min/);
    assert.match(await text("#connections"), /REST requests\s*0 of 300 left\s*held back for 18 s[\s\S]*Next wake\s*in 9 s\s*heartbeat of channel 3/);
  });
});

describe("records that wait for a person", () => {
  const withRecords = async (fill) => {
    fill();
    await open(() => stub.counted(manyDead()));
  };

  test("a dead record shows its reason and is retried by its button", async () => {
    await withRecords(() => stub.fill("dead", 3));
    const [first] = stub.records.keys();
    await row(first).waitFor();
    assert.match(await row(first).innerText(), /member "afterCallWork\.wrapup" is missing[\s\S]*41 tries[\s\S]*0197c2a4-1b2c-7000-8000-000000000001 · conversation 7c1f4b9e/);
    await row(first).getByRole("button", { name: /^Retry now/ }).click();
    await page.getByText("Asked for again; it is queued now.").waitFor();
    assert.deepEqual(stub.acts(), [`POST /records/${first}/retry`]);
    assert.match(await text("#news"), new RegExp(`Record ${first}: asked for again`));
    await row(first).waitFor({ state: "detached" });
    await page.getByText("2 records are dead").waitFor();
    assert.equal(await page.locator('.list[data-state="dead"] li').count(), 2);
  });

  test("discarding asks once more", async () => {
    await withRecords(() => stub.fill("dead", 1));
    const [id] = stub.records.keys();
    await row(id).getByRole("button", { name: /^Discard:/ }).click();
    assert.deepEqual(stub.acts(), []);
    await row(id).getByRole("button", { name: /^Discard for good\?/ }).click();
    await page.getByText("Discarded; it is discarded now.").waitFor();
    assert.deepEqual(stub.acts(), [`POST /records/${id}/discard`]);
  });

  test("held records are released, deferred ones are listed when asked for", async () => {
    await withRecords(() => (stub.fill("held", 1), stub.fill("deferred", 2)));
    const [held, deferred] = stub.records.keys();
    await row(held).getByRole("button", { name: /^Release/ }).click();
    await until("the release", () => stub.acts().includes(`POST /records/${held}/release`));
    assert.equal(stub.requests.some((line) => line.includes("state=deferred")), false);
    await page.getByText("2 records are deferred").click();
    await row(deferred).getByRole("button", { name: /^Hold/ }).click();
    await until("the hold", () => stub.acts().includes(`POST /records/${deferred}/hold`));
    await page.getByText("1 record is held").waitFor();
  });

  test("a refusal is shown where the button is, and the record stays", async () => {
    await withRecords(() => stub.fill("dead", 1));
    browser.excuse(/409/);
    stub.refusal = [409, { title: "Wrong state", detail: "The record is delivered; retry is not possible from there." }];
    const [id] = stub.records.keys();
    await row(id).getByRole("button", { name: /^Retry/ }).click();
    await row(id).getByText("Not asked for again: The record is delivered").waitFor();
    stub.dead = true;
    browser.excuse(/Failed to load resource/);
    await row(id).getByRole("button", { name: /^Retry/ }).click();
    await row(id).getByText("the gateway cannot be reached").waitFor();
  });

  test("only the first fifty are shown, with the command for the rest, and all shown are retried one by one", async () => {
    await withRecords(() => stub.fill("dead", 73));
    await page.locator("[data-record]").nth(49).waitFor();
    assert.equal(await page.locator("[data-record]").count(), 50);
    assert.match(await text("summary"), /73 records are dead[\s\S]*genesys-gateway records retry --state dead/);
    assert.ok(stub.requests.includes("GET /records?state=dead&limit=50"));
    await page.getByRole("button", { name: "Retry now: all 50 below" }).click();
    await until("fifty acts", () => stub.acts().length === 50);
    await page.getByText("50 records asked for again.").waitFor();
    await page.getByText("23 records are dead").waitFor();
    await until("the other records", async () => (await page.locator("[data-record]:not([data-done])").count()) === 23);
    assert.equal(new Set(stub.acts()).size, 50);
  });

  test("the keyboard reaches every act, and the focus is not lost when a row goes", async () => {
    await withRecords(() => stub.fill("dead", 2));
    const [first, second] = stub.records.keys();
    await row(second).waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("href")), "#people");
    await page.keyboard.press("Enter");
    const seen = [];
    for (let i = 0; i < 8; i += 1) {
      await page.keyboard.press("Tab");
      seen.push(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.tagName));
      if (seen.at(-1) === `Retry now: record ${first}`) break;
    }
    assert.equal(seen.at(-1), `Retry now: record ${first}`, seen.join(", "));
    // Several polls pass; the focus stays where it is.
    const polls = stub.requests.filter((line) => line === "GET /status").length;
    await until("two more polls", () => stub.requests.filter((line) => line === "GET /status").length >= polls + 2);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), `Retry now: record ${first}`);
    await page.keyboard.press("Enter");
    await row(first).waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), `Retry now: record ${second}`);
  });
});

describe("how it looks", () => {
  const MOODS = { healthy, "history-closed": historyClosed, "many-dead": manyDead };
  const SIZES = { wide: { width: 1280, height: 900 }, phone: { width: 360, height: 780 } };
  for (const [mood, snapshot] of Object.entries(MOODS)) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      for (const colorScheme of ["light", "dark"]) {
        test(`${mood}, ${size}, ${colorScheme}: it fits, and text stands out from its ground`, async () => {
          if (mood === "many-dead") (stub.fill("dead", 6), stub.fill("held", 2), stub.fill("deferred", 4));
          await page.setViewportSize(viewport);
          await page.emulateMedia({ colorScheme });
          await open(snapshot);
          if (mood === "many-dead") await page.locator("[data-record]").first().waitFor();
          const { wide, faint, nameless } = await page.evaluate(inspect);
          assert.equal(wide, false, "the page scrolls sideways");
          assert.deepEqual(faint, [], "contrast below 4.5 to 1");
          assert.equal(nameless, 0);
          if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${mood}-${size}-${colorScheme}.png`, fullPage: true });
        });
      }
    }
  }

  test("unreachable, for the picture", async () => {
    await open(manyDead);
    stub.dead = true;
    browser.excuse(/Failed to load resource/);
    await link("lost");
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/unreachable-wide-light.png`, fullPage: true });
  });
});

/** Runs in the page: overflow, contrast of every piece of text, controls without a name. */
function inspect() {
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor;
      if (/^rgb\(/.test(colour)) return rgb(colour);
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    // A dot in an empty cell is decoration; what is not shown needs no contrast.
    if (!own || element.matches(".zero, title, .skip, script, noscript") || element.getClientRects().length === 0) continue;
    const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push(`${element.tagName} ${element.className} "${element.textContent.slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return {
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    faint,
    nameless: [...document.querySelectorAll("button, input, summary, a")].filter((it) => !it.textContent.trim() && !it.labels?.length && !it.closest("[hidden], .all")).length,
  };
}
