// Rule 17, "a refresh must prove useful", with axios and with fetch.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FACES, type Face } from "./faces.js";

const MINUTE = 60_000;

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date", "performance"] }));
afterEach(() => void vi.useRealTimers());

/** An issuer of opaque tokens without expiry, and an upstream that accepts what `accepts` says. */
function world(face: keyof typeof FACES, accepts: (path: string, token: number) => boolean | Promise<boolean>) {
  const refreshes: number[] = [];
  const start = Date.now();
  const client: Face = FACES[face]({ baseURL: "https://api.example.com", onRefreshSuccess: ({ token }) => token }, async (path, authorization) => {
    if (path === "/api/auth/refresh") {
      refreshes.push(Date.now() - start);
      return { status: 200, body: { token: `token-${refreshes.length}` } };
    }
    return { status: (await accepts(path, Number(authorization?.split("-")[1]))) ? 200 : 401 };
  });
  client.session.setAccessToken("token-0");
  const mostInAMinute = () => Math.max(...refreshes.map((from) => refreshes.filter((at) => at >= from && at < from + MINUTE).length));
  return { ...client, refreshes, mostInAMinute };
}

describe.each(["axios", "fetch"] as const)("%s", (face) => {
  test.each([1_000, 2_000, 3_000])("opaque tokens of %i ms, 50 callers, 20 expiries: no caller gets a 401", async (life) => {
    let held: (() => void)[] = [];
    let holds = false;
    const born = [Date.now()];
    const { send, refreshes } = world(face, async (_, token) => {
      // A token lives from its first use.
      born[token] ??= Date.now();
      const good = Date.now() < born[token]! + life;
      // Some answers arrive after the clock has moved on, so that refusals come late.
      if (holds) await new Promise<void>((resolve) => held.push(resolve));
      return good;
    });
    const statuses = new Set<number>();
    let late: Promise<unknown> = Promise.resolve();
    const burst = (callers: number) => Promise.all(Array.from({ length: callers }, async () => statuses.add((await send("/x")).status)));
    while (refreshes.length < 20) {
      holds = true;
      const next = burst(10);
      holds = false;
      await burst(40);
      expect([...statuses]).toEqual([200]);
      vi.advanceTimersByTime(life / 8 + 1);
      held.splice(0).forEach((release) => release());
      await late;
      late = next;
    }
    held.splice(0).forEach((release) => release());
    await late;
    expect([...statuses]).toEqual([200]);
    expect(refreshes.length).toBe(20);
  });

  test.each([2, 31, 100])("an endpoint that always says 401 has refreshes spaced out, and no healthy request fails after a key change at %i s", async (change) => {
    let old = -1;
    const { send, refreshes, mostInAMinute } = world(face, (path, token) => path !== "/broken" && token > old);
    const paths = Array.from({ length: 10 }, (_, number) => `/healthy/${number}`);
    for (let second = 0; second < 240; second++) {
      // The upstream's key changes: no token of before is accepted any more.
      if (second === change) old = refreshes.length;
      const [broken, ...healthy] = await Promise.all(["/broken", ...paths].map(async (path) => (await send(path)).status));
      expect([broken, new Set(healthy)], `second ${second}`).toEqual([401, new Set([200])]);
      vi.advanceTimersByTime(1_000);
    }
    expect(refreshes.length).toBeGreaterThanOrEqual(5);
    expect(mostInAMinute()).toBeLessThanOrEqual(8);
  });

  test("a wrong audience beside a public endpoint, 1,000 paths: at most 8 refreshes a minute", async () => {
    const { send, refreshes, mostInAMinute } = world(face, (path) => path === "/public");
    for (let number = 0; number < 2_400; number++) {
      expect((await send("/public")).status).toBe(200);
      expect((await send(`/wrong/${number % 1_000}`)).status).toBe(401);
      vi.advanceTimersByTime(100);
    }
    expect(refreshes.length).toBeGreaterThanOrEqual(5);
    expect(mostInAMinute()).toBeLessThanOrEqual(8);
  });
});
