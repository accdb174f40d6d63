// Tabs of one browser on one session: single-use refresh tokens, and using one twice revokes it.
import { buildSync } from "esbuild";
import type { Page } from "playwright-core";
import { afterEach, expect, test } from "vitest";
import { BROWSER, handOn, startBrowser } from "./browser.js";
import { type Issuer, type Server, startIssuer, startServer } from "./servers.js";

const REFRESH = "POST /api/auth/refresh";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const script = () =>
  buildSync({
    stdin: {
      contents: `
        import { createTokenRotator } from "./src/index.ts";
        const rotator = createTokenRotator({
          baseURL: location.origin,
          shareAcrossTabs: "page",
          lockTimeout: Number(new URLSearchParams(location.search).get("lockTimeout") ?? 10_000),
          onRefreshSuccess: ({ accessToken, expiresIn }) => ({ accessToken, expiresIn }),
        });
        window.rotator = rotator;
        window.login = async () => {
          const { data } = await rotator.api.post("/login", { user: "alice", password: "a" }, { skipAuth: true });
          rotator.setAccessToken(data.accessToken, { expiresIn: data.expiresIn });
        };
        window.ask = async (count) =>
          (await Promise.all(Array.from({ length: count }, () => rotator.api.get("/echo", { validateStatus: () => true })))).map((a) => a.status);
      `,
      resolveDir: new URL("..", import.meta.url).pathname,
    },
    bundle: true, format: "iife", write: false, define: { global: "globalThis" },
  }).outputFiles[0]!.text;

/** An issuer and its API under one origin with the page, and a browser. `hold` keeps refreshes back before they are sent on. */
async function world(hold?: () => Promise<void>) {
  const issuer: Issuer = await startIssuer("--lifetime", "1h");
  cleanups.push(() => issuer.stop());
  const code = script();
  const server: Server = await startServer(async (request, response) => {
    if (request.url === "/" || request.url!.startsWith("/?")) return void response.writeHead(200, { "content-type": "text/html" }).end(`<script>${code.replaceAll("</script", "<\\/script")}</script>`);
    if (request.url === "/api/auth/refresh") await hold?.();
    if (response.destroyed || request.socket.destroyed) return;
    await handOn(issuer, request, response);
  });
  cleanups.push(() => server.stop());
  const browser = await startBrowser();
  cleanups.push(() => browser.close());
  const tab = async (query = ""): Promise<Page> => {
    const page = await browser.context.newPage();
    await page.goto(`${server.url}/${query}`);
    return page;
  };
  return { issuer, server, tab, expiry: browser.expiry };
}

const login = (page: Page) => page.evaluate(() => (window as any).login());
const ask = (page: Page, count: number) => page.evaluate((count) => (window as any).ask(count) as Promise<number[]>, count);
const token = (page: Page) => page.evaluate(() => (window as any).rotator.getAccessToken() as string | null);
/** What the page has left behind anywhere but in memory. */
const written = (page: Page) =>
  page.evaluate(async () => [
    ...Object.keys(localStorage), ...Object.keys(sessionStorage), ...(await indexedDB.databases()), ...(await caches.keys()), document.cookie,
  ].filter((one) => one !== ""));

test.skipIf(!BROWSER).each([2, 5])("%i tabs over ten expiries: one refresh each, no reuse", { timeout: 120_000 }, async (count) => {
  const { issuer, tab, expiry } = await world();
  const tabs: Page[] = [];
  for (let n = 0; n < count; n++) tabs.push(await tab());
  await login(tabs[0]!);
  for (let round = 1; round <= 10; round++) {
    await expiry();
    const answers = await Promise.all(tabs.map((page) => ask(page, 3)));
    expect(answers).toEqual(tabs.map(() => [200, 200, 200]));
    expect((await issuer.counters()).issuer).toMatchObject({ refreshes: round, reuses: 0 });
  }
  expect(new Set(await Promise.all(tabs.map(token))).size).toBe(1);
  expect(await Promise.all(tabs.map(written))).toEqual(tabs.map(() => []));
});

test.skipIf(!BROWSER)("a tab that hangs with the lock held: the other tabs go on after their own time, without a refresh beside it", async () => {
  const { issuer, tab, expiry } = await world();
  const [hanging, hasty, patient] = [await tab(), await tab("?lockTimeout=200"), await tab()];
  await hanging.evaluate(() => {
    const channel = new BroadcastChannel("token-rotator:page");
    channel.onmessage = ({ data }) => ((window as any).epoch = data.epoch);
    (window as any).channel = channel;
  });
  await login(hasty);
  await expect.poll(() => token(patient)).toMatch(/./);
  await hanging.evaluate(() => new Promise<void>((held) => {
    void navigator.locks.request("token-rotator:page", () => (held(), new Promise<void>((release) => ((window as any).release = release))));
  }));
  await expiry();
  const failed = await hasty.evaluate(() => (window as any).rotator.api.get("/echo").catch((error: any) => ({ name: error.name, ending: error.ending, message: error.message })));
  expect(failed).toEqual({ name: "RefreshError", ending: "transient", message: "another tab has been refreshing for 200 ms" });
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 0, reuses: 0 });
  expect(await token(hasty)).toMatch(/./);

  // One that still waits goes on with the first token that it hears of, though the lock stays held.
  const waiting = ask(patient, 3);
  await expect.poll(() => patient.evaluate(async () => (await navigator.locks.query()).pending!.length)).toBe(1);
  await hanging.evaluate(async () => {
    const { accessToken, expiresIn } = await (await fetch("/api/auth/refresh", { method: "POST" })).json();
    const { channel, epoch } = window as any;
    channel.postMessage({ type: "token", epoch, token: accessToken, lifetime: expiresIn * 1000, received: Date.now() });
  });
  expect(await waiting).toEqual([200, 200, 200]);
  expect(await ask(hasty, 1)).toEqual([200]);
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });

  await hanging.evaluate(() => (window as any).release());
  await expiry();
  expect(await ask(hasty, 1)).toEqual([200]);
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 2, reuses: 0 });
});

test.skipIf(!BROWSER)("a tab closed while it refreshes harms no other tab, and a sign-out reaches every tab", { timeout: 60_000 }, async () => {
  let release!: () => void;
  let held: Promise<void> | undefined;
  const { issuer, server, tab, expiry } = await world(() => held ?? Promise.resolve());
  const [first, second] = [await tab(), await tab()];
  await login(first);
  await expiry();
  held = new Promise<void>((resolve) => (release = resolve));
  void ask(first, 1).catch(() => undefined);
  await server.arrived(REFRESH, 1);
  const waiting = ask(second, 3);
  await first.close();
  await server.arrived(REFRESH, 2);
  release();
  expect(await waiting).toEqual([200, 200, 200]);
  expect((await issuer.counters()).issuer).toMatchObject({ reuses: 0 });
  held = undefined;
  const third = await tab();
  expect(await ask(third, 1)).toEqual([200]);
  const left = third.evaluate(() => new Promise<void>((resolve) => {
    (window as any).rotator.on((event: { type: string }) => event.type === "signed-out" && resolve());
  }));
  await second.evaluate(() => (window as any).rotator.setAccessToken(null));
  await left;
  expect(await token(third)).toBeNull();
});
