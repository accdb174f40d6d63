import { existsSync, mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext } from "playwright-core";
import { expect } from "vitest";
import type { Issuer } from "./servers.js";

const PROGRAM = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const BROWSER = existsSync(PROGRAM);
const HOUR = 3_600_000;

export interface Browser {
  context: BrowserContext;
  /** Moves the pages' clock two hours on, so that a token of one hour has expired however slow the machine is. */
  expiry(): Promise<void>;
  close(): Promise<void>;
}

/** A headless Chromium of its own, whose pages may throw nothing that they do not catch. */
export async function startBrowser(): Promise<Browser> {
  const folder = mkdtempSync(join(tmpdir(), "token-rotator-chromium-"));
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: PROGRAM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const thrown: Error[] = [];
  context.on("weberror", (error) => thrown.push(error.error()));
  let now = Date.now();
  await context.clock.install({ time: now });
  return {
    context,
    expiry: async () => {
      now += 2 * HOUR;
      await context.clock.setSystemTime(now);
    },
    close: async () => {
      await context.close();
      rmSync(folder, { recursive: true, force: true });
      expect(thrown).toEqual([]);
    },
  };
}

/** Hands a page's request on to the API that stands under the page's own origin. */
export async function handOn(issuer: Issuer, request: IncomingMessage & { body: string }, response: ServerResponse): Promise<void> {
  const { host: _, connection: __, "content-length": ___, ...headers } = request.headers as Record<string, string>;
  const answer = await fetch(issuer.upstream + request.url, { method: request.method, headers, body: request.method === "GET" ? undefined : request.body });
  const cookies = answer.headers.getSetCookie();
  response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "text/plain", ...(cookies.length ? { "set-cookie": cookies } : {}) });
  response.end(await answer.text());
}
