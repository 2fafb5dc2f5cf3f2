/**
 * Guards the ES module that speaks the Service Client API: the wire form of every method, whom it believes, and what
 * it does when the desktop is late, silent, double or false. The module runs in a real frame of a real browser,
 * embedded by the simulator of the desktop on another origin.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { startBrowser, until } from "./support/browser.mjs";
import { ImitatedGateway, startFiles } from "./support/servers.mjs";

const U = undefined;
const DATA = { a: 1, nested: { b: [2] } };
/** Method, arguments, and `parameters` on the wire; none of the latter means that the member is absent. */
const METHODS = [
  ["auth.getJwtToken", []],
  ["agent.get", []],
  ["agent.getStateList", []],
  ["agent.getState", []],
  ["agent.setState", ["READY"], ["READY"]],
  ["interaction.getInteractions", []],
  ["interaction.getByInteractionId", ["1"], ["1"]],
  ["interaction.getByBundleId", ["b"], ["b"]],
  ["interaction.getByCaseId", ["c"], ["c"]],
  ["interaction.setUserData", ["1", DATA], ["1", DATA]],
  ["interaction.deleteUserData", ["1", "key"], ["1", "key"]],
  ["interaction.selectCaseByCaseId", ["c"], ["c"]],
  ["interaction.markdone", ["1"], ["1"]],
  ["interaction.blockMarkdone", ["1", "Wait"], ["1", "Wait"]],
  ["interaction.unblockMarkdone", ["1"], ["1"]],
  ["interaction.accept", ["1"], ["1"]],
  ["interaction.reject", ["1"], ["1"]],
  ["interaction.consult", ["1", "+15550100"], ["1", "+15550100", U, U]],
  ["interaction.consult", ["1", { target: "SKILL", destination: "x" }, DATA, DATA], ["1", { target: "SKILL", destination: "x" }, DATA, DATA]],
  ["interaction.completeConference", ["2"], ["2"]],
  ["interaction.completeTransfer", ["2"], ["2"]],
  ["interaction.singleStepConference", ["1", "x", DATA], ["1", "x", DATA, U]],
  ["interaction.singleStepTransfer", ["1", "x"], ["1", "x", U, U]],
  ["voice.dial", ["+15550100"], ["+15550100", U]],
  ["voice.dial", ["+15550100", DATA], ["+15550100", DATA]],
  ["voice.answer", ["1"], ["1"]],
  ["voice.hold", ["1"], ["1"]],
  ["voice.resume", ["1"], ["1"]],
  ["voice.hangUp", ["1"], ["1"]],
  ["voice.startCallRecording", ["1"], ["1"]],
  ["voice.stopCallRecording", ["1"], ["1"]],
  ["voice.pauseCallRecording", ["1"], ["1"]],
  ["voice.resumeCallRecording", ["1"], ["1"]],
  ["sipEndpoint.muteMicrophone", []],
  ["sipEndpoint.unmuteMicrophone", []],
  ["sipEndpoint.muteSpeaker", []],
  ["sipEndpoint.unmuteSpeaker", []],
  ["sipEndpoint.isMicrophoneMute", []],
  ["sipEndpoint.isSpeakerMute", []],
  ["email.create", ["a@example.com"], ["a@example.com", U]],
  ["media.getMediaList", []],
  ["media.getMediaByName", ["voice"], ["voice"]],
  ["media.setState", ["voice", "READY"], ["voice", "READY"]],
  ["system.getAllowedServices", []],
  ["system.triggerActivity", []],
  ["system.popupToast", [DATA], [DATA]],
  ["system.updateToast", ["t", DATA], ["t", DATA]],
  ["system.closeToast", ["t"], ["t"]],
  ["configuration.getOption", ["name"], ["name"]],
  ["configuration.getOption", ["name", "section"], ["name", "section"]],
  ["configuration.getOption", [[{ name: "a" }]], [[{ name: "a" }]]],
  ["configuration.getContextualOption", ["name", U, "1"], ["name", U, "1"]],
];

let gateway, desktop, stranger, browser;
before(async () => {
  [gateway, desktop, stranger, browser] = await Promise.all([ImitatedGateway.start(), startFiles(), startFiles(), startBrowser()]);
});
after(() => Promise.all([browser?.close(), gateway?.close(), desktop?.close(), stranger?.close()]));

let page, frame;
/** Opens the simulator with a harness whose client allows these origins. */
async function open(origins) {
  page = await browser.context.newPage();
  await page.goto(`${desktop.origin}/?alone`);
  const address = `${gateway.origin}/harness/client-harness.html${origins ? `?origins=${origins}` : ""}`;
  await page.evaluate((url) => window.simulator.embed(url).then(() => {}), address);
  frame = page.frames().find((one) => one.url() === address);
  await frame.waitForFunction(() => window.module !== undefined);
}
beforeEach(() => open(desktop.origin));
afterEach(async () => {
  await page.close();
  browser.assertClean([gateway.host, desktop.host, stranger.host]);
});

const set = (switches) => page.evaluate((it) => window.simulator.set(it), switches);
const received = () => page.evaluate(() => window.simulator.received.map(({ data }) => data));
/** Calls in the frame and tells how it ended. */
const call = (method, args = [], options = {}) =>
  frame.evaluate(
    ([name, values, rest]) => {
      const [space, member] = name.split(".");
      const client = window.client;
      // The options come last, after every argument that the method declares.
      const places = client[space][member].length - 1;
      return window.outcome(client[space][member](...Array.from({ length: places }, (_, i) => values[i]), rest));
    },
    [method, args, options],
  );

describe("what goes over the wire", () => {
  test("every method has its name, its parameters and the envelope", async () => {
    for (const [method, args] of METHODS) await call(method, args);
    const messages = await received();
    assert.equal(messages.length, METHODS.length);
    for (const [index, [method, , parameters]] of METHODS.entries()) {
      const { referenceId, ...rest } = messages[index];
      const expected = { request: method, userAgent: "WWE Client", protocolVersion: 2 };
      if (parameters) expected.parameters = parameters;
      assert.deepEqual(rest, expected, method);
      assert.equal("parameters" in rest, parameters !== undefined, method);
      assert.equal(referenceId, String(index), method);
    }
  });

  test("the table names every method of the module, and no other", async () => {
    const own = await frame.evaluate(() =>
      Object.entries(window.client).flatMap(([space, methods]) => Object.keys(methods).map((name) => `${space}.${name}`)),
    );
    assert.deepEqual(own.sort(), [...new Set(METHODS.map(([name]) => name))].sort());
    assert.equal(own.length, 48);
  });

  test("two clients of one page never use the same reference", async () => {
    await frame.evaluate(async (origin) => {
      const other = new window.module.ServiceClient({ origins: [origin] });
      await Promise.all([window.client.agent.get(), other.agent.get(), window.client.agent.getState(), other.agent.getState()]);
      other.unload();
    }, desktop.origin);
    assert.deepEqual((await received()).map(({ referenceId }) => referenceId), ["0", "1", "2", "3"]);
  });

  test("a frame id is repeated once the desktop has told it, by that instance only", async () => {
    await set({ frameId: { row: 7 } });
    await frame.evaluate(() => window.client.subscribe("agent", () => {}));
    await frame.evaluate(async (origin) => {
      const other = new window.module.ServiceClient({ origins: [origin] });
      await other.agent.get();
      await window.client.agent.get();
    }, desktop.origin);
    const [subscribe, others, own] = await received();
    assert.equal("frameId" in subscribe, false);
    assert.equal("frameId" in others, false);
    assert.deepEqual(own.frameId, { row: 7 });
    assert.equal(await frame.evaluate(() => "frameId" in window), false);
  });

  test("an argument that cannot be sent is refused and leaves nothing behind", async () => {
    const outcome = await frame.evaluate(() => window.outcome(window.client.voice.dial("1", { f: () => {} })));
    assert.equal(outcome.kind, "not-sent");
    assert.deepEqual(await received(), []);
    assert.ok((await call("agent.get")).ok);
  });
});

describe("answers", () => {
  test("an answer comes without its envelope", async () => {
    const { ok } = await call("agent.get");
    assert.deepEqual(Object.keys(ok).sort(), ["employeeId", "firstname", "lastname", "roles", "username"]);
  });

  test("a list is found in whichever member it came", async () => {
    const lists = await frame.evaluate(() => {
      const { listIn } = window.module;
      return [listIn({ a: 1, rows: [1] }), listIn({ other: [1], mine: [2] }, "mine"), listIn([3]), listIn({ a: 1 }), listIn(null)];
    });
    assert.deepEqual(lists, [[1], [2], [3], [], []]);
  });

  test("an error of the desktop rejects with all that it said", async () => {
    const outcome = await call("interaction.markdone", ["404"]);
    assert.equal(outcome.kind, "refused");
    assert.equal(outcome.name, "DesktopError");
    assert.equal(outcome.request, "interaction.markdone");
    assert.equal(outcome.message, "Interaction 404 not found");
    assert.deepEqual(outcome.answer, { errorMessage: "Interaction 404 not found" });
  });

  test("silence ends at the timeout, even where nobody listens for success", async () => {
    await set({ answers: "never" });
    const outcome = await call("agent.get", [], { timeout: 60 });
    assert.equal(outcome.kind, "timeout");
    assert.match(outcome.message, /agent\.get within 60 ms/);
  });

  test("a late answer is ignored and the next request has its own", async () => {
    await set({ answers: "late", lateMs: 150 });
    assert.equal((await call("agent.get", [], { timeout: 30 })).kind, "timeout");
    await until("the late answer", () => page.evaluate(() => window.simulator.sent.length === 1));
    await set({ answers: "prompt" });
    assert.deepEqual((await call("agent.getState")).ok, { state: "READY" });
  });

  test("a second answer and an answer to nothing are ignored", async () => {
    await set({ answers: "twice" });
    assert.equal((await call("agent.get")).ok.username, "alice");
    assert.equal((await call("agent.getState")).ok.state, "READY");
    await set({ answers: "unknown-reference" });
    assert.equal((await call("agent.get", [], { timeout: 60 })).kind, "timeout");
  });

  test("a signal ends the request with its reason, before and after it is sent", async () => {
    await set({ answers: "never" });
    const [before, after, reason] = await frame.evaluate(async () => {
      const controller = new AbortController();
      const pending = window.outcome(window.client.agent.get({ signal: controller.signal }));
      controller.abort(new Error("Enough"));
      const late = window.client.agent.get({ signal: AbortSignal.abort() });
      return [await pending, await window.outcome(late), (await late.catch((it) => it)).name];
    });
    assert.equal(before.message, "Enough");
    assert.equal(after.kind, undefined);
    assert.equal(reason, "AbortError");
    assert.equal((await received()).length, 1);
  });

  test("more requests than may be under way are refused, not stored", async () => {
    await set({ answers: "never" });
    const kinds = await frame.evaluate(async () => {
      const { MAX_PENDING } = window.module;
      const all = Array.from({ length: MAX_PENDING + 2 }, () => window.outcome(window.client.agent.get({ timeout: 300 })));
      return (await Promise.all(all)).map(({ kind }) => kind);
    });
    assert.deepEqual([kinds[0], kinds.at(-3), kinds.at(-2), kinds.at(-1)], ["timeout", "timeout", "overloaded", "overloaded"]);
  });
});

describe("whom it believes", () => {
  const FALSE = { referenceId: "0", username: "false", userAgent: "WWE Server", protocolVersion: 2 };

  test("another window is not believed, whether of the desktop's origin or of another", async () => {
    await set({ answers: "late", lateMs: 400 });
    const pending = call("agent.get");
    await until("the request", async () => (await received()).length === 1);
    for (const origin of [desktop.origin, stranger.origin]) {
      await page.evaluate(async ([url, message]) => {
        const other = await window.simulator.embed(url, "stranger");
        other.contentWindow.postMessage({ imitate: message }, "*");
      }, [`${origin}/stranger.html`, FALSE]);
    }
    assert.equal((await pending).ok.username, "alice");
  });

  test("what does not name the desktop as its sender is no answer", async () => {
    await set({ answers: "late", lateMs: 300 });
    const pending = call("agent.get");
    await until("the request", async () => (await received()).length === 1);
    for (const userAgent of ["WWE Client", "", null, 7, undefined]) {
      await page.evaluate((message) => window.simulator.post(message), { ...FALSE, userAgent });
    }
    for (const message of [null, "WWE Server", 7, [], {}, { userAgent: "WWE Server" }]) {
      await page.evaluate((it) => window.simulator.post(it), message);
    }
    assert.equal((await pending).ok.username, "alice");
  });

  test("an embedder that is not allowed gets no message at all", async () => {
    await page.close();
    await open(stranger.origin);
    const outcome = await call("agent.get");
    assert.equal(outcome.kind, "foreign-desktop");
    assert.match(outcome.message, new RegExp(desktop.origin));
    assert.deepEqual(await received(), []);
  });

  test("with nobody allowed nothing is sent", async () => {
    const kind = await frame.evaluate(async () => (await window.outcome(new window.module.ServiceClient({ origins: [] }).agent.get())).kind);
    assert.equal(kind, "foreign-desktop");
    assert.deepEqual(await received(), []);
  });

  test("a page without opener and embedder says so", async () => {
    const alone = await browser.context.newPage();
    await alone.goto(`${gateway.origin}/harness/client-harness.html?origins=${desktop.origin}`);
    await alone.waitForFunction(() => window.client);
    assert.equal((await alone.evaluate(() => window.outcome(window.client.agent.get()))).kind, "no-desktop");
    await alone.close();
  });

  /** A client whose desktop is an object of ours, so that the target origins can be seen. */
  const targets = (origins, surroundings) =>
    frame.evaluate(
      async ([allowed, { ancestors, referrer }]) => {
        const sent = [];
        const target = { postMessage: (message, origin) => sent.push([message.referenceId, origin]) };
        let listener;
        const self = {
          parent: target,
          opener: null,
          location: { ancestorOrigins: ancestors },
          document: { referrer },
          addEventListener: (_, it) => (listener = it),
          removeEventListener: () => {},
        };
        const client = new window.module.ServiceClient({ origins: allowed, self, timeout: 1000 });
        const base = Number(await new Promise((done) => (client.agent.get().catch(() => {}), done(sent[0]?.[0] ?? 0))));
        const answer = (origin, extra = {}) =>
          listener({ source: target, origin, data: { referenceId: String(base), userAgent: "WWE Server", protocolVersion: 2, ...extra } });
        const first = sent.splice(0).map(([, origin]) => origin);
        answer("https://evil.example");
        const afterEvil = client.origin;
        answer("https://two.example");
        client.agent.get().catch(() => {});
        const second = sent.splice(0).map(([, origin]) => origin);
        answer("https://one.example");
        return { first, afterEvil, second, origin: client.origin };
      },
      [origins, surroundings],
    );

  test("with several desktops each gets a copy until one has answered, then only that one", async () => {
    const seen = await targets(["https://one.example", "https://two.example/"], { referrer: "" });
    assert.deepEqual(seen, {
      first: ["https://one.example", "https://two.example"],
      afterEvil: null,
      second: ["https://two.example"],
      origin: "https://two.example",
    });
  });

  test("where the browser tells the embedder, only that one is ever a target", async () => {
    const seen = await targets(["https://one.example", "https://two.example"], { ancestors: ["https://two.example"], referrer: "" });
    assert.deepEqual(seen.first, ["https://two.example"]);
  });

  test("the referrer helps where it is allowed and is ignored where it is not", async () => {
    const both = ["https://one.example", "https://two.example"];
    assert.deepEqual((await targets(both, { referrer: "https://two.example/x" })).first, ["https://two.example"]);
    assert.deepEqual((await targets(both, { referrer: "https://evil.example/x" })).first, both);
  });

  test("a star is a target only until the desktop is known", async () => {
    await page.close();
    await open();
    const seen = await frame.evaluate(async () => {
      const sent = [];
      const target = { postMessage: (message, origin) => sent.push([message.referenceId, origin]) };
      let listener;
      const self = { parent: target, opener: null, location: {}, document: { referrer: "" }, addEventListener: (_, it) => (listener = it), removeEventListener() {} };
      const client = new window.module.ServiceClient({ origins: ["*"], self, timeout: 1000 });
      const pending = client.agent.get();
      listener({ source: target, origin: "https://any.example", data: { referenceId: sent[0][0], userAgent: "WWE Server" } });
      await pending;
      client.agent.get().catch(() => {});
      return [sent.map(([, origin]) => origin), client.origin];
    });
    assert.deepEqual(seen, [["*", "https://any.example"], "https://any.example"]);
  });
});

describe("events", () => {
  const subscribe = (count, events = "agent") =>
    frame.evaluate(
      async ([times, names]) => {
        window.subscriptions = [];
        // The same source each time: handlers must be told apart all the same.
        for (let i = 0; i < times; i += 1) {
          window.subscriptions.push(await window.client.subscribe(names, (data, { event }) => window.events.push([i, event, data])));
        }
      },
      [count, events],
    );
  const emit = (event, data) => page.evaluate(([name, it]) => window.simulator.emit(name, it), [event, data]);
  const events = () => frame.evaluate(() => window.events.splice(0));
  /** After this, everything that was posted before has been heard. */
  const settle = () => call("agent.getState");

  test("each handler hears each event once, over one subscription on the wire", async () => {
    await subscribe(2);
    await emit("agent", { eventType: "STATE_CHANGED", mediaState: "READY" });
    await settle();
    assert.deepEqual(await events(), [0, 1].map((i) => [i, "agent", { eventType: "STATE_CHANGED", mediaState: "READY" }]));
    const sent = (await received()).filter(({ event }) => event);
    assert.equal(sent.length, 1);
    assert.equal(sent[0].event, "subscribe");
    assert.equal(sent[0].data, "agent");
    assert.equal("request" in sent[0], false);
  });

  test("one handler leaves without the other; the last one ends the subscription on the wire", async () => {
    await subscribe(2);
    await frame.evaluate(() => window.subscriptions[0].unsubscribe());
    await emit("agent", { eventType: "STATE_CHANGED" });
    await settle();
    assert.deepEqual((await events()).map(([who]) => who), [1]);
    await frame.evaluate(() => window.subscriptions[1].unsubscribe());
    const last = (await received()).at(-1);
    assert.deepEqual([last.event, last.data], ["unsubscribe", "sub-1"]);
    assert.equal(await page.evaluate(() => window.simulator.subscriptions.size), 0);
    await subscribe(1);
    await emit("agent", { eventType: "STATE_CHANGED" });
    await settle();
    assert.equal((await events()).length, 1);
  });

  test("a handler may hear several names and leave them all at once", async () => {
    await subscribe(1, ["agent", "interaction", "agent"]);
    await emit("interaction", { eventType: "RINGING" });
    await emit("agent", { eventType: "STATE_CHANGED" });
    await emit("system", { eventType: "CUSTOM_TOAST_BUTTON_CLICK" });
    await settle();
    assert.deepEqual((await events()).map(([, event]) => event), ["interaction", "agent"]);
    await frame.evaluate(() => window.subscriptions[0].unsubscribe());
    assert.equal(await page.evaluate(() => window.simulator.subscriptions.size), 0);
  });

  test("an event that comes before the answer to subscribe is heard", async () => {
    await set({ eventBeforeAnswer: true });
    await subscribe(1);
    assert.deepEqual(await events(), [[0, "agent", { eventType: "UNKNOWN", early: true }]]);
  });

  test("an unknown event type goes through, an unknown event name disturbs nobody", async () => {
    await subscribe(1);
    await emit("agent", { eventType: "NOT_IN_ANY_LIST" });
    for (const event of ["weather", 7, null, "toString"]) {
      await page.evaluate((name) => window.simulator.post({ event: name, data: {}, userAgent: "WWE Server" }), event);
    }
    await settle();
    assert.deepEqual(await events(), [[0, "agent", { eventType: "NOT_IN_ANY_LIST" }]]);
  });

  test("a handler that throws stops no other handler", async () => {
    browser.excuse(/handler is broken/);
    await frame.evaluate(() => window.client.subscribe("agent", () => { throw new Error("This handler is broken"); }));
    await subscribe(1);
    await emit("agent", { eventType: "STATE_CHANGED" });
    await settle();
    assert.equal((await events()).length, 1);
  });

  test("a subscription that was given up and answered late is undone in the desktop", async () => {
    await set({ answers: "late", lateMs: 150 });
    const outcome = await frame.evaluate(() => window.outcome(window.client.subscribe("agent", () => window.events.push("heard"), { timeout: 30 })));
    assert.equal(outcome.kind, "timeout");
    await until("the unsubscribe", () => page.evaluate(() => window.simulator.subscriptions.size === 0 && window.simulator.received.length === 2));
    await set({ answers: "prompt" });
    await subscribe(1);
    await emit("agent", { eventType: "STATE_CHANGED" });
    await settle();
    assert.equal((await events()).length, 1);
  });

  test("subscribing and leaving in one breath ends with what was asked last", async () => {
    await set({ answers: "late", lateMs: 40 });
    await frame.evaluate(async () => {
      const { client } = window;
      const one = await client.subscribe("agent", () => window.events.push("one"));
      const leaving = one.unsubscribe();
      await client.subscribe("agent", () => window.events.push("two"));
      await leaving;
    });
    await set({ answers: "prompt" });
    await emit("agent", { eventType: "STATE_CHANGED" });
    await settle();
    assert.deepEqual(await events(), ["two"]);
    assert.equal(await page.evaluate(() => window.simulator.subscriptions.size), 1);
  });

  test("unload rejects what is under way, unsubscribes, and is deaf from then on", async () => {
    await subscribe(1);
    await set({ answers: "never" });
    const [under, later] = await frame.evaluate(async () => {
      const pending = window.outcome(window.client.agent.get());
      window.client.unload();
      window.client.unload();
      return [await pending, await window.outcome(window.client.agent.get())];
    });
    assert.deepEqual([under.kind, later.kind], ["unloaded", "unloaded"]);
    await until("the unsubscribe", () => page.evaluate(() => window.simulator.subscriptions.size === 0));
    await page.evaluate(() => window.simulator.post({ event: "agent", data: {}, userAgent: "WWE Server" }));
    assert.deepEqual(await events(), []);
  });
});

describe("the desktop's security options", () => {
  test("an origin that is not on the list is refused", async () => {
    await set({ accepted: "http://elsewhere.example" });
    assert.match((await call("agent.get")).message, /Origin not accepted/);
  });

  test("a filter is read literally", async () => {
    await set({ accepted: `http://elsewhere.example, ${gateway.origin} (agent.*, voice.dial, system.getAllowedServices)` });
    assert.ok((await call("agent.getState")).ok);
    assert.ok((await call("voice.dial", ["1"])).ok);
    assert.equal((await call("voice.answer", ["1"])).kind, "refused");
    const { services } = (await call("system.getAllowedServices")).ok;
    assert.deepEqual(services.sort(), ["agent.get", "agent.getState", "agent.getStateList", "agent.setState", "system.getAllowedServices", "voice.dial"]);
  });

  test("who asks too often is refused until the quarantine is over", async () => {
    await set({ rateLimit: 2, quarantineMs: 200 });
    assert.ok((await call("agent.get")).ok);
    assert.ok((await call("agent.get")).ok);
    assert.match((await call("agent.get")).message, /Rate limit/);
    await set({ rateLimit: 0 });
    assert.match((await call("agent.get")).message, /Rate limit/);
    await until("the end of the quarantine", async () => (await call("agent.get")).ok);
    await set({ rateLimits: { "voice.dial": 1 } });
    assert.ok((await call("voice.dial", ["1"])).ok);
    assert.ok((await call("agent.get")).ok);
    assert.match((await call("voice.dial", ["1"])).message, /Rate limit/);
  });

  test("attached data is filtered for reading and refused for writing", async () => {
    await set({ readAllowed: "conversationId", writeAllowed: "result" });
    const id = await page.evaluate(() => window.simulator.ring({ conversationId: "c", secret: "s" }));
    const { interaction } = (await call("interaction.getByInteractionId", [id])).ok;
    assert.deepEqual(interaction.userData, { conversationId: "c" });
    assert.equal((await call("interaction.setUserData", [id, { result: 1, other: 2 }])).kind, "refused");
    assert.ok((await call("interaction.setUserData", [id, { result: 1 }])).ok);
    assert.equal((await call("interaction.deleteUserData", [id, "conversationId"])).kind, "refused");
  });

  test("a blocked interaction cannot be marked done until it is unblocked", async () => {
    const id = await page.evaluate(() => window.simulator.ring());
    await call("interaction.blockMarkdone", [id, "The record is not filed yet"]);
    assert.equal((await call("interaction.markdone", [id])).message, "The record is not filed yet");
    await call("interaction.unblockMarkdone", [id]);
    assert.ok((await call("interaction.markdone", [id])).ok);
  });
});
