// A clock that is set ends no token and revives none, and a token that is set as expired is not sent.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { RotatorEvent } from "../src/index.js";
import { TokenSession } from "../src/session.js";

const HOUR = 3_600_000;
const LIFETIME = HOUR;
const YEARS = Date.now();

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date", "performance"] });
  let lock: Promise<unknown> = Promise.resolve();
  const request = (name: string, _: unknown, work: (lock: object) => unknown) => (lock = lock.then(() => work({ name })));
  vi.stubGlobal("navigator", { locks: { request } });
});
afterEach(() => {
  for (const session of open.splice(0)) session.dispose();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const open: TokenSession<string>[] = [];

/** Sets the wall clock; `performance.now()` goes on. */
const shift = (ms: number) => vi.setSystemTime(Date.now() + ms);
/** Lets the time pass on both clocks. */
const pass = (ms: number) => vi.advanceTimersByTime(ms);

const jwt = (claims: object) => `h.${btoa(JSON.stringify(claims))}.s`;

/** A session, the number of its refreshes, its events, and what a request is sent with. */
function session(expiresIn: number | undefined = LIFETIME / 1000, shareAcrossTabs?: string) {
  let refreshes = 0;
  const events: RotatorEvent[] = [];
  const session = new TokenSession<string>(
    { shareAcrossTabs, onRefreshSuccess: (accessToken) => ({ accessToken, expiresIn }) },
    async () => `new-${++refreshes}`,
  );
  session.on((event) => events.push(event));
  open.push(session);
  const sent = async () => (await session.acquire({})).token;
  const clockEvents = () => events.flatMap((event) => (event.type === "clock-ahead" ? [event.by] : []));
  return { session, sent, refreshes: () => refreshes, clockEvents };
}

test.each([0, -5])("a token that is set with expiresIn: %i is refreshed before it is sent: 200 callers, one refresh", async (expiresIn) => {
  const { session: { setAccessToken }, sent, refreshes } = session();
  setAccessToken("dead", { expiresIn });
  expect(new Set(await Promise.all(Array.from({ length: 200 }, sent)))).toEqual(new Set(["new-1"]));
  expect(refreshes()).toBe(1);
});

test("a lifetime of 0 from the endpoint is unknown", async () => {
  const { session: { setAccessToken }, sent, refreshes } = session(0);
  setAccessToken("dead", { expiresIn: 0 });
  expect(await sent()).toBe("new-1");
  pass(24 * HOUR);
  expect(await sent()).toBe("new-1");
  expect(refreshes()).toBe(1);
});

test.each([["five hours back", -5 * HOUR], ["to 1970", -YEARS]])("the clock is set %s after the token came: it is sent for its lifetime and no longer", async (_, by) => {
  const { session: { setAccessToken }, sent, refreshes } = session();
  setAccessToken("first", { expiresIn: LIFETIME / 1000 });
  pass(LIFETIME / 4);
  shift(by);
  pass(LIFETIME / 2);
  expect(await sent()).toBe("first");
  pass(LIFETIME / 4);
  expect(await sent()).toBe("new-1");
  expect(refreshes()).toBe(1);
});

test.each([["ahead", 5 * HOUR], ["behind", -5 * HOUR], ["in 1970", -YEARS]])("the clock is %s while the token comes, and then set right: it is sent for no longer than its lifetime", async (_, by) => {
  shift(by);
  const { session: { setAccessToken }, sent, refreshes } = session();
  setAccessToken("first", { expiresIn: LIFETIME / 1000 });
  expect(await sent()).toBe("first");
  shift(-by);
  // A clock that runs ahead looks like a device that slept, so that costs one refresh at most.
  const before = await sent();
  expect(refreshes()).toBe(before === "first" ? 0 : 1);
  pass(LIFETIME);
  expect(await sent()).not.toBe(before);
});

test("a device that slept: performance.now() stopped and the wall clock ran on, so the token has expired", async () => {
  const { session: { setAccessToken }, sent } = session();
  setAccessToken("first", { expiresIn: LIFETIME / 1000 });
  shift(2 * HOUR);
  expect(await sent()).toBe("new-1");
});

test("a clock that is corrected a little, often, ends no token", async () => {
  const { session: { setAccessToken }, sent, refreshes } = session();
  setAccessToken("first", { expiresIn: LIFETIME / 1000 });
  for (let time = 0; time < 3_000; time++) {
    pass(500);
    shift(time % 2 ? 900 : -900);
    await sent();
  }
  expect(refreshes()).toBe(0);
});

test("a JWT that comes expired from the endpoint names the clock", async () => {
  const seconds = Math.floor(Date.now() / 1000);
  const { session: rotated, clockEvents } = session(undefined);
  const tokens = [jwt({ exp: seconds - 60 }), jwt({ exp: seconds + 60 })];
  const read = new TokenSession<string>({ onRefreshSuccess: (token) => token }, async () => tokens.shift()!);
  open.push(read);
  const events: RotatorEvent[] = [];
  read.on((event) => events.push(event));
  await read.refresh();
  await read.refresh();
  expect(events.filter(({ type }) => type === "clock-ahead")).toEqual([{ type: "clock-ahead", by: expect.closeTo(60_000, -4) }]);
  await rotated.refresh();
  expect(clockEvents()).toEqual([]);
});

test("without performance the clock that is set back revives no token", async () => {
  vi.stubGlobal("performance", undefined);
  const { session: { setAccessToken }, sent } = session();
  setAccessToken("first", { expiresIn: LIFETIME / 1000 });
  pass(LIFETIME / 2);
  // The time since the last look at the clock is lost when it is set back.
  expect(await sent()).toBe("first");
  shift(-5 * HOUR);
  expect(await sent()).toBe("first");
  pass(LIFETIME / 2);
  expect(await sent()).toBe("new-1");
});

/** Another tab of this name that only listens and asks. */
function eavesdropper(name: string) {
  const channel = new BroadcastChannel(`token-rotator:${name}`);
  const heard: any[] = [];
  channel.onmessage = ({ data }) => void heard.push(data);
  return { heard, say: (message: object) => channel.postMessage(message), close: () => channel.close() };
}

test("a tab that is asked later tells the age of its token by the clock of that time", async () => {
  const { session: one } = session(LIFETIME / 1000, "age");
  const { heard, say, close } = eavesdropper("age");
  const tokens = () => heard.filter(({ type }) => type === "token");
  one.setAccessToken("old");
  await one.refresh();
  await expect.poll(() => tokens().length).toBe(1);
  pass(LIFETIME / 2);
  shift(-5 * HOUR);
  say({ type: "ask", epoch: tokens()[0].epoch });
  await expect.poll(() => tokens().length).toBe(2);
  close();
  const { token, lifetime, received } = tokens()[1];
  expect({ token, lifetime, age: Math.round(Date.now() - received) }).toEqual({ token: "new-1", lifetime: LIFETIME, age: LIFETIME / 2 });
});

test.each([
  ["half an hour ago", -LIFETIME / 2, LIFETIME / 2], ["a minute in the future", 60_000, LIFETIME], ["five hours in the future", 5 * HOUR, 0],
])("a token that another tab received %s serves for what is left of its lifetime", async (_, received, left) => {
  const { session: one, sent, refreshes } = session(LIFETIME / 1000, "left");
  const { heard, say, close } = eavesdropper("left");
  one.setAccessToken("old", { expiresIn: 1 });
  await expect.poll(() => heard.length).toBeGreaterThan(0);
  say({ type: "token", epoch: heard.at(-1).epoch, token: "other", lifetime: LIFETIME, received: Date.now() + received });
  await expect.poll(() => one.getAccessToken()).toBe("other");
  close();
  if (left > 0) {
    pass(left - 1000);
    expect(await sent()).toBe("other");
    pass(1000);
  }
  expect(await sent()).toBe("new-1");
  expect(refreshes()).toBe(1);
});

test("a sign-in in another tab brings its lifetime", async () => {
  const [one, other] = [session(undefined, "sign-in"), session(undefined, "sign-in")];
  one.session.setAccessToken("opaque", { expiresIn: LIFETIME / 1000 });
  await expect.poll(() => other.session.getAccessToken()).toBe("opaque");
  pass(LIFETIME);
  expect(await other.sent()).not.toBe("opaque");
});
