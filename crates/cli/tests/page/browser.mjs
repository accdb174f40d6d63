// Opens a page in headless Chromium, and records its console messages and its requests.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const TIMEOUT = 60_000;
export const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Opens the page in a new browser, runs `look` and closes the browser. */
export async function withBrowser(page, screenshots, look) {
  const profile = await mkdtemp(join(tmpdir(), "page-test-"));
  await mkdir(screenshots, { recursive: true });
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ARGUMENTS,
    viewport: { width: 1100, height: 900 },
  });
  try {
    const tab = context.pages()[0] ?? await context.newPage();
    const consoleMessages = [];
    const requested = [];
    tab.on("console", (message) => consoleMessages.push(`${message.type()}: ${message.text()}`));
    tab.on("pageerror", (error) => consoleMessages.push(`uncaught: ${error}`));
    context.on("request", (request) => requested.push(request.url()));
    await tab.goto(page);
    const { origin } = new URL(page);
    const foreign = () => requested.filter((url) => new URL(url).origin !== origin);
    return await look({ tab, consoleMessages, foreign });
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}

/** Waits until the condition holds. Fails after `TIMEOUT`. */
export async function until(holds) {
  const end = Date.now() + TIMEOUT;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `the condition did not become true: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
