/**
 * A real Chromium with nothing in it, and an ear for what no page of ours may do: log an error, throw, break its
 * policy, or ask another host.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.BROWSER_TEST_HOME, "package.json"))("playwright-core");

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** How long anything in a test may take before it says what it waited for. */
export const DEADLINE = 10_000;

/** @param {string[]} [more] Flags. @returns a browser; `close()` ends it and removes its directory. */
export async function startBrowser(more = []) {
  const directory = await mkdtemp(join(tmpdir(), "gateway-browser-"));
  const context = await chromium.launchPersistentContext(directory, {
    executablePath: process.env.CHROMIUM,
    headless: true,
    args: [...FLAGS, ...more],
    chromiumSandbox: false,
    locale: "en-GB",
  });
  context.setDefaultTimeout(DEADLINE);
  const complaints = [];
  const excused = [];
  const hosts = new Set();
  context.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== "data:" && protocol !== "about:" && protocol !== "blob:") hosts.add(host);
  });
  context.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
  return {
    context,
    /** Says that this complaint belongs to the test. @param {RegExp} pattern */
    excuse: (pattern) => excused.push(pattern),
    /** Fails if a page complained or asked a host other than these; then forgets. @param {string[]} allowed */
    assertClean(allowed) {
      const rest = complaints.splice(0).filter((text) => !excused.some((pattern) => pattern.test(text)));
      excused.length = 0;
      const foreign = [...hosts].filter((host) => !allowed.includes(host));
      hosts.clear();
      assert.deepEqual(rest, [], "the browser's console complained");
      assert.deepEqual(foreign, [], "a page asked another host");
    },
    async close() {
      await context.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/**
 * Waits until the condition gives something truthy and returns it; at the deadline it fails and says what was missing.
 * @template T @param {string} what @param {() => T | Promise<T>} condition @param {number} [deadline]
 * @returns {Promise<T>}
 */
export async function until(what, condition, deadline = DEADLINE) {
  const end = performance.now() + deadline;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) assert.fail(`waited ${deadline} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
