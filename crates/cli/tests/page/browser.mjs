// A page in headless Chromium, and what it says and asks for.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const TIMEOUT = 60_000;
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Opens the page in a browser of its own, which ends with `look`. */
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
    const said = [];
    const requested = [];
    tab.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
    tab.on("pageerror", (error) => said.push(`uncaught: ${error}`));
    context.on("request", (request) => requested.push(request.url()));
    await tab.goto(page);
    const { origin } = new URL(page);
    const foreign = () => requested.filter((url) => new URL(url).origin !== origin);
    return await look({ tab, said, foreign });
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}

/** Waits until it holds, or fails. */
export async function until(holds) {
  const end = Date.now() + TIMEOUT;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `it did not come to pass: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
