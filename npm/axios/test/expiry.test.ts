// Early refresh by the lifetime that a token has, under clocks that disagree, and after a sleep.
import type { AxiosAdapter, AxiosInstance, InternalAxiosRequestConfig } from "axios";
import { AxiosError } from "axios";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createTokenRotator, type NewToken, type RotatorEvent, type TokenRotatorOptions } from "../src/index.js";

const MINUTE = 60_000;

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date", "performance"] }));
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});
const pass = (ms: number) => vi.advanceTimersByTime(ms);

interface Kind {
  /** How far the server's clock is ahead, in milliseconds. */
  ahead?: number;
  lifetime: number;
  /** What a token says of itself. */
  token?: "jwt" | "jwt without iat" | "opaque";
}

/** A server with a clock of its own, an adapter that reaches it, and what it has seen. */
function server({ ahead = 0, lifetime, token = "jwt" }: Kind) {
  const seen = { refreshes: 0, served: 0, refused: 0 };
  const expiries = new Map<string, number>();
  const now = () => Date.now() + ahead;
  const issue = () => {
    const [iat, exp] = [Math.floor(now() / 1000), Math.floor((now() + lifetime) / 1000)];
    const number = expiries.size + 1;
    const claims = token === "jwt" ? { iat, exp, number } : { exp, number };
    const issued = token === "opaque" ? `opaque-${number}` : `h.${btoa(JSON.stringify(claims))}.s`;
    expiries.set(issued, now() + lifetime);
    return issued;
  };
  const adapter: AxiosAdapter = async (config: InternalAxiosRequestConfig) => {
    const answer = (status: number, data: unknown = {}) => ({ status, data, statusText: "", headers: {}, config });
    if (config.url === "/api/auth/refresh") {
      seen.refreshes++;
      return answer(200, { token: issue(), expiresIn: lifetime / 1000 });
    }
    const presented = String(config.headers.get("Authorization")).slice(7);
    if ((expiries.get(presented) ?? 0) > now()) {
      seen.served++;
      return answer(200, presented);
    }
    seen.refused++;
    throw new AxiosError("refused", "ERR_BAD_REQUEST", config, undefined, answer(401));
  };
  return { seen, issue, adapter };
}

type Answer = { token: string; expiresIn: number };
function rotate(adapter: AxiosAdapter, options: Partial<TokenRotatorOptions<Answer>> = {}) {
  const events: RotatorEvent[] = [];
  const rotator = createTokenRotator<Answer>({
    baseURL: "https://api.example.com", axiosConfig: { adapter }, onRefreshSuccess: ({ token }) => token, ...options,
  });
  rotator.on((event) => events.push(event));
  const purposes = () => events.flatMap((event) => (event.type === "refresh-started" ? [event.purpose] : []));
  /** Resolves with the next refresh. */
  const refreshed = () => new Promise<void>((resolve) => rotator.on(({ type }) => type === "refreshed" && resolve()));
  const count = (wanted: string) => events.filter(({ type }) => type === wanted).length;
  /** Resolves when no refresh is in the air. */
  const landed = async () => {
    if (count("refresh-started") > count("refreshed")) await refreshed();
  };
  return { ...rotator, purposes, refreshed, landed };
}

const byExpiresIn = ({ token, expiresIn }: Answer): NewToken => ({ accessToken: token, expiresIn });

test("by expiresIn: in time a request starts the refresh, and goes out with the token of now", async () => {
  const { seen, issue, adapter } = server({ lifetime: 100_000, token: "opaque" });
  const { api, setAccessToken, purposes, refreshed } = rotate(adapter, { onRefreshSuccess: byExpiresIn });
  const first = issue();
  setAccessToken(first, { expiresIn: 100 });
  // A quarter of the lifetime is the margin here, and the jitter makes it a fifth more at most.
  pass(69_000);
  expect((await api.get("/x")).data).toBe(first);
  expect(seen.refreshes).toBe(0);
  pass(6_001);
  const done = refreshed();
  expect((await api.get("/x")).data).toBe(first);
  await done;
  expect((await api.get("/x")).data).toBe("opaque-2");
  expect([purposes(), seen]).toEqual([["early"], { refreshes: 1, served: 3, refused: 0 }]);
});

test("refreshBefore sets the margin", async () => {
  const { seen, issue, adapter } = server({ lifetime: 60 * MINUTE, token: "opaque" });
  const { api, setAccessToken, refreshed } = rotate(adapter, { onRefreshSuccess: byExpiresIn, refreshBefore: 10 * MINUTE });
  setAccessToken(issue(), { expiresIn: 3600 });
  pass(47 * MINUTE);
  await api.get("/x");
  expect(seen.refreshes).toBe(0);
  pass(4 * MINUTE);
  const done = refreshed();
  await api.get("/x");
  await done;
  expect(seen).toEqual({ refreshes: 1, served: 2, refused: 0 });
});

test("an expired token is never sent: all requests wait for the refresh", async () => {
  const { seen, issue, adapter } = server({ lifetime: 5 * MINUTE });
  const { api, setAccessToken, purposes } = rotate(adapter);
  setAccessToken(issue());
  pass(6 * MINUTE);
  await Promise.all([api.get("/x"), api.get("/x"), api.get("/x")]);
  expect([purposes(), seen]).toEqual([["expired"], { refreshes: 1, served: 3, refused: 0 }]);
});

/** A request every half minute. */
async function threeHours(api: AxiosInstance, landed: () => Promise<unknown>) {
  for (let half = 0; half < 360; half++) {
    await api.get("/x");
    // An early refresh runs in parallel to its request. The test awaits it before it moves the clock.
    await landed();
    pass(MINUTE / 2);
  }
}

test.each([
  ["as here", 0, "jwt"], ["ten minutes ahead", 10 * MINUTE, "jwt"], ["ten minutes behind", -10 * MINUTE, "jwt"],
  ["a day behind", -24 * 60 * MINUTE, "jwt"],
] as const)("the server's clock is %s: over three hours no expired token is sent, and no more refreshes than needed", async (_, ahead, token) => {
  const { seen, issue, adapter } = server({ ahead, lifetime: 5 * MINUTE, token });
  const { api, setAccessToken, landed } = rotate(adapter);
  setAccessToken(issue());
  await threeHours(api, landed);
  expect(seen).toMatchObject({ served: 360, refused: 0 });
  // A token of five minutes serves three and a half at least, and there is one more for the first.
  expect(seen.refreshes).toBeGreaterThanOrEqual(180 / 5 - 1);
  expect(seen.refreshes).toBeLessThanOrEqual(Math.ceil(180 / 3.5) + 1);
});

test.each([["ahead", 10 * MINUTE], ["behind", -10 * MINUTE]])("tokens without iat and a clock ten minutes %s: refused ones are refreshed, and there is no storm", async (_, ahead) => {
  const { seen, issue, adapter } = server({ ahead, lifetime: 5 * MINUTE, token: "jwt without iat" });
  const { api, setAccessToken, landed } = rotate(adapter);
  setAccessToken(issue());
  await threeHours(api, landed);
  expect(seen.served).toBe(360);
  expect(seen.refreshes).toBeLessThanOrEqual(180 / 5 + 1);
});

test("a token that comes expired from the issuer is not refreshed before every request", async () => {
  const { seen, adapter } = server({ lifetime: -1000 });
  const always: AxiosAdapter = async (config) =>
    config.url === "/api/auth/refresh" ? adapter(config) : { status: 200, data: {}, statusText: "", headers: {}, config };
  const { api, refresh } = rotate(always);
  await refresh();
  for (let n = 0; n < 20; n++) await api.get("/x");
  expect(seen.refreshes).toBe(1);
});

/** A page that can be hidden, shown and cut off. */
function page() {
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const window = new EventTarget();
  const listeners = new Map<string, number>();
  const counted = (target: EventTarget) => ({
    addEventListener: (name: string, listener: EventListener) => {
      listeners.set(name, (listeners.get(name) ?? 0) + 1);
      target.addEventListener(name, listener);
    },
    removeEventListener: (name: string, listener: EventListener) => {
      listeners.set(name, (listeners.get(name) ?? 0) - 1);
      target.removeEventListener(name, listener);
    },
  });
  const onDocument = counted(document);
  vi.stubGlobal("document", Object.defineProperty({ ...onDocument }, "visibilityState", { get: () => document.visibilityState }));
  const onWindow = counted(window);
  vi.stubGlobal("addEventListener", onWindow.addEventListener);
  vi.stubGlobal("removeEventListener", onWindow.removeEventListener);
  return { document, window, listeners };
}

test.each([["visibilitychange", "document"], ["pageshow", "window"], ["online", "window"]] as const)(
  "a page that slept past the expiry refreshes at %s, before its next request", async (name, target) => {
    const shown = page();
    const { seen, issue, adapter } = server({ lifetime: 5 * MINUTE });
    const { api, setAccessToken, refreshed, getAccessToken, dispose } = rotate(adapter);
    const first = issue();
    const wake = () => shown[target].dispatchEvent(new Event(name));

    wake();
    setAccessToken(first);
    wake();
    shown.document.visibilityState = "hidden";
    pass(60 * MINUTE);
    wake();
    expect(seen.refreshes).toBe(0);

    shown.document.visibilityState = "visible";
    const done = refreshed();
    wake();
    wake();
    await done;
    expect(getAccessToken()).not.toBe(first);
    await api.get("/x");
    expect(seen).toEqual({ refreshes: 1, served: 1, refused: 0 });

    expect([...shown.listeners]).toEqual([["visibilitychange", 1], ["pageshow", 1], ["online", 1]]);
    dispose();
    expect([...shown.listeners.values()]).toEqual([0, 0, 0]);
    pass(60 * MINUTE);
    wake();
    expect(seen.refreshes).toBe(1);
  });

test("after a sign-out nothing wakes it", () => {
  const shown = page();
  const { seen, issue, adapter } = server({ lifetime: 5 * MINUTE });
  const { setAccessToken } = rotate(adapter);
  setAccessToken(issue());
  setAccessToken(null);
  pass(60 * MINUTE);
  shown.window.dispatchEvent(new Event("online"));
  expect(seen.refreshes).toBe(0);
});
