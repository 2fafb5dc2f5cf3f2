/**
 * One page in one desktop, with the gateway imitated: what the tests of the page do over and over.
 */
import { until } from "./browser.mjs";

export const ID = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
export const OTHER_ID = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c48";
export const RECORD = { recordId: "0197c2a4-0000-7000-8000-000000000001", source: "notification", eventTime: "2026-01-08T15:35:12.345Z",
  receivedAt: "2026-01-08T15:35:12.600Z", state: "queued", attempts: 0 };
export const DELIVERED = { ...RECORD, state: "delivered", attempts: 1, deliveredAt: "2026-01-08T15:35:13.000Z" };

export class Stage {
  constructor(browser, gateway, desktop) {
    Object.assign(this, { browser, gateway, desktop, page: null, frame: null });
  }

  /**
   * Opens the desktop, prepares it, embeds the page.
   * @param {{query?: string, config?: object, switches?: object, prepare?: (id: string) => void, connected?: boolean, clock?: boolean, second?: boolean}} [options]
   */
  async open({ query = "", config = {}, switches = {}, prepare = () => {}, connected = true, clock = false, second = false } = {}) {
    this.gateway.config = { desktopOrigins: [this.desktop.origin], ...config };
    this.page ??= await this.browser.context.newPage();
    if (clock) await this.page.clock.install();
    await this.page.goto(`${this.desktop.origin}/?alone`);
    await this.page.waitForFunction(() => window.simulator !== undefined);
    await this.set(switches);
    await this.page.evaluate(prepare, ID);
    this.url = `${this.gateway.origin}/agent-desktop/${query}`;
    await this.page.evaluate((url) => window.simulator.embed(url).then(() => {}), this.url);
    if (second) await this.page.evaluate((url) => window.second(url), this.url);
    this.frame = this.page.frameLocator("iframe[name=page]");
    this.other = this.page.frameLocator("iframe[name=page-bob]");
    if (connected) await this.frame.locator("#desktop[data-level=good]").waitFor();
    if (connected && second) await this.other.locator("#desktop[data-level=good]").waitFor();
  }

  async close() {
    await this.page?.close();
    this.page = null;
  }

  /** Loads the embedded page again; the desktop stays. */
  async reload() {
    await this.page.evaluate(() => new Promise((done) => {
      const frame = document.querySelector("iframe");
      frame.addEventListener("load", () => done(), { once: true });
      frame.src += frame.src.includes("?") ? "&again" : "?again";
    }));
    await this.frame.locator("#desktop[data-level=good]").waitFor();
  }

  /** One more panel of the same agent. */
  async panel(name = "panel-2") {
    await this.page.evaluate(([url, it]) => window.simulator.embed(url, it).then(() => {}), [this.url, name]);
    const frame = this.page.frameLocator(`iframe[name=${name}]`);
    await frame.locator("#desktop[data-level=good]").waitFor();
    return frame;
  }

  /** An act of `Desktop`. @param {string} method @param {...any} args */
  call(method, ...args) {
    return this.page.evaluate(([it, rest]) => window.simulator[it](...rest), [method, args]);
  }

  ring(userData = {}, members = {}, media = "voice") {
    return this.call("ring", userData, members, media);
  }

  answer(id) {
    return this.call("answer", id);
  }

  /** A call that is answered. */
  async live(userData = {}, members = {}) {
    const id = await this.ring(userData, members);
    await this.answer(id);
    return id;
  }

  move(id, event, members = {}) {
    return this.call("move", id, event, members);
  }

  set(switches) {
    return this.page.evaluate((it) => window.simulator.set(it), switches);
  }

  toasts() {
    return this.page.evaluate(() => [...window.simulator.toasts.values()]);
  }

  received() {
    return this.page.evaluate(() => window.simulator.received.map(({ data }) => data));
  }

  userData(id) {
    return this.page.evaluate((it) => window.simulator.interactions.get(it)?.userData, id);
  }

  card(frame = this.frame) {
    return frame.locator("article");
  }

  text(pattern, frame = this.frame) {
    return this.card(frame).filter({ hasText: pattern }).first().waitFor();
  }

  posted(count = 1) {
    return until(`${count} report(s)`, () => this.gateway.posts().length >= count && this.gateway.posts());
  }

  /** Time for what should not happen to happen: everything that was sent has come, and a moment more. */
  async settle() {
    await this.frame.locator("body").evaluate(() => fetch("config.json").then((it) => it.text()).then(() => new Promise((done) => setTimeout(done, 300))));
  }
}
