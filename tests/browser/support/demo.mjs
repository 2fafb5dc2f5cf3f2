/**
 * The whole thing with real parts: `genesys-gateway demo --desktop` runs the platform simulator, the history
 * receiver, the gateway and the desktop simulator, which embeds the page on another origin.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { until } from "./browser.mjs";

export class Demo {
  static async start() {
    const child = spawn(process.env.GATEWAY_BIN, ["demo", "--desktop"], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RUST_LOG: "warn" } });
    const demo = new Demo();
    demo.child = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const address = line.match(/^desktop: (http:\S+)/)?.[1];
      if (!address) continue;
      demo.url = address;
      break;
    }
    child.stdout.resume();
    assert.ok(demo.url, "the demo printed no address");
    demo.setup = await (await fetch(new URL("setup.json", demo.url))).json();
    demo.hosts = [new URL(demo.url).host, new URL(demo.setup.pageUrl).host];
    return demo;
  }

  async close() {
    this.child.kill("SIGTERM");
    if (this.child.exitCode === null) await once(this.child, "exit");
  }
}

/** The desktop in a browser page. Acts go through `window.works`, as the buttons do. */
export class Desks {
  /** @param {any} page @param {Demo} demo */
  constructor(page, demo) {
    this.page = page;
    this.demo = demo;
  }

  /**
   * Opens the desktop with the page embedded.
   * @param {{switches?: object, connected?: boolean, second?: boolean}} [options]
   */
  async open({ switches = {}, connected = true, second = false } = {}) {
    await this.page.goto(`${this.demo.url}?page=`);
    await this.page.waitForFunction(() => window.works !== undefined);
    await this.page.evaluate((it) => window.simulator.set(it), switches);
    await this.page.evaluate((url) => window.simulator.embed(url).then(() => {}), this.demo.setup.pageUrl);
    if (second) await this.page.evaluate((url) => window.second(url), this.demo.setup.pageUrl);
    this.alice = this.page.frameLocator("iframe[name=page]");
    this.bob = this.page.frameLocator("iframe[name=page-bob]");
    if (connected) await this.alice.locator("#desktop[data-level=good]").waitFor();
    if (connected && second) await this.bob.locator("#desktop[data-level=good]").waitFor();
  }

  /** @param {string} agent @param {string} act Of `Work` @param {...any} args */
  act(agent, act, ...args) {
    return this.page.evaluate(([name, method, rest]) => window.works[name][method](...rest), [agent, act, args]);
  }

  /** @param {string} agent @param {string} act Of `Desktop` @param {...any} args */
  desk(agent, act, ...args) {
    return this.page.evaluate(([name, method, rest]) => window.desks[name][method](...rest), [agent, act, args]);
  }

  /** @param {object} switches */
  set(switches) {
    return this.page.evaluate((it) => window.simulator.set(it), switches);
  }

  toasts(agent = "alice") {
    return this.page.evaluate((name) => [...window.desks[name].toasts.values()], agent);
  }

  received(agent = "alice") {
    return this.page.evaluate((name) => window.desks[name].received.map(({ data }) => data), agent);
  }

  /** What the history manager has of a conversation. @param {string} id */
  async filed(id) {
    return (await (await fetch(new URL("history", this.demo.url))).json()).filter(({ conversationId }) => conversationId === id);
  }

  conversation(agent, id) {
    return this.page.evaluate(([name, it]) => window.works[name].cases.get(it).conversationId, [agent, id]);
  }

  /** The mood of the history manager. */
  async mood(mood) {
    await this.page.evaluate((it) => fetch("/history", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ mood: it }) }), mood);
  }

  /** Waits until the gateway watches what is on the card. @param {any} frame */
  watched(frame) {
    return until("the conversation to be watched", async () => (await frame.locator("article[data-state=watching], article[data-state=settling]").count()) > 0);
  }
}
