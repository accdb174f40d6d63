// The example page as Vite builds it, in headless Chromium, beside the testkit's issuer and upstream.
import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import type { Page } from "playwright-core";
import { build } from "vite";
import { afterEach, expect, test } from "vitest";
import { BROWSER, handOn, startBrowser } from "./browser.js";
import { startIssuer, startServer } from "./servers.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function world() {
  const files = mkdtempSync(join(tmpdir(), "token-rotator-example-"));
  cleanups.push(() => rmSync(files, { recursive: true }));
  const configFile = new URL("../example/vite.config.ts", import.meta.url).pathname;
  await build({ configFile, logLevel: "warn", build: { outDir: files, emptyOutDir: true } });
  const issuer = await startIssuer("--lifetime", "1h");
  cleanups.push(() => issuer.stop());
  const server = await startServer(async (request, response) => {
    const path = request.url === "/" ? "/index.html" : request.url!;
    const type = TYPES[extname(path)];
    if (!type) return handOn(issuer, request, response);
    response.writeHead(200, { "content-type": type }).end(readFileSync(join(files, path)));
  });
  cleanups.push(() => server.stop());
  const browser = await startBrowser();
  cleanups.push(() => browser.close());
  const open = async () => {
    const page = await browser.context.newPage();
    await page.goto(server.url);
    return page;
  };
  return { issuer, server, expiry: browser.expiry, open };
}

const shows = (page: Page, text: string) => page.getByRole("status").filter({ hasText: text }).waitFor();
const happened = (page: Page) => page.getByRole("list", { name: "What happened" }).getByRole("listitem").allTextContents();

/** What axe-core finds wrong with the page, in the light and in the dark. */
async function faults(page: Page): Promise<string[]> {
  const found: string[] = [];
  await page.evaluate(AXE);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    const violations = await page.evaluate(async () => (await (window as any).axe.run()).violations as { id: string; nodes: { html: string }[] }[]);
    found.push(...violations.map(({ id, nodes }) => `${colorScheme}: ${id}: ${nodes.map(({ html }) => html).join(" ")}`));
  }
  return found;
}

test.skipIf(!BROWSER)("log in, a storm of requests at expiry, log out; by keyboard, accessible in the light and in the dark", { timeout: 120_000 }, async () => {
  const { issuer, server, expiry, open } = await world();
  const page = await open();
  await shows(page, "Please log in.");
  expect(await faults(page)).toEqual([]);

  await page.getByLabel("User").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await shows(page, "You are logged in.");
  await page.getByText("Each access token is good for 3600 seconds.").waitFor();
  expect(await page.evaluate(() => document.activeElement!.id)).toBe("storm");
  expect(await faults(page)).toEqual([]);

  await expiry();
  await page.keyboard.press("Enter");
  await shows(page, "50 of 50 requests were answered.");
  expect(await happened(page)).toEqual([
    "A refresh started (forced).", "The refresh failed (terminal).", "Logged in.", "A refresh started (expired).", "A new token is there.",
  ]);
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });
  expect(server.seen.filter(({ line }) => line.startsWith("GET /echo"))).toHaveLength(50);

  await page.getByRole("button", { name: "Log out" }).click();
  await shows(page, "You are logged out.");
  expect(await page.evaluate(() => (document.activeElement as HTMLInputElement).name)).toBe("user");
  expect(server.count("POST /logout")).toBe(1);
  await expect.poll(() => page.getByRole("button", { name: "Log in" }).isVisible()).toBe(true);
});

test.skipIf(!BROWSER)("a second tab logs in and out with the first, and a session that ended says so", { timeout: 120_000 }, async () => {
  const { issuer, expiry, open } = await world();
  const [first, second] = [await open(), await open()];
  await Promise.all([shows(first, "Please log in."), shows(second, "Please log in.")]);
  await first.getByRole("button", { name: "Log in" }).click();
  await shows(second, "You logged in in another tab.");
  await expiry();
  await Promise.all([first, second].map((page) => page.getByRole("button", { name: "Send 50 requests" }).click()));
  await Promise.all([first, second].map((page) => shows(page, "50 of 50 requests were answered.")));
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });
  const third = await open();
  await shows(third, "You are still logged in.");
  expect(await happened(third)).toEqual(["A refresh started (forced).", "Another tab brought a new token."]);
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });
  await third.close();
  await first.reload();
  await shows(first, "You are still logged in.");
  await second.getByRole("button", { name: "Log out" }).click();
  await shows(first, "You logged out in another tab.");

  await first.getByRole("button", { name: "Log in" }).click();
  await shows(first, "You are logged in.");
  await expiry();
  await first.context().clearCookies();
  await first.getByRole("button", { name: "Send 50 requests" }).click();
  await first.getByRole("button", { name: "Log in" }).waitFor();
  expect((await happened(first)).at(-1)).toBe("The refresh failed (terminal).");
});
