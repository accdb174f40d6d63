// Against the testkit's issuer: single-use refresh tokens, and using one twice revokes the session.
import axios from "axios";
import { afterEach, expect, test, vi } from "vitest";
import { createTokenRotator, handBackReason, type TokenRotatorOptions } from "../src/index.js";
import { type Issuer, type Server, startFront, startIssuer, withCookies } from "./servers.js";

interface Answer { accessToken: string; wsToken: string; expiresIn: number }

const open: (Issuer | Server)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(open.splice(0).map((one) => one.stop()));
});

async function issuer(...args: string[]) {
  const started = await startIssuer(...args);
  open.push(started);
  return started;
}

function rotatorAt(baseURL: string, onRefreshSuccess: TokenRotatorOptions<Answer>["onRefreshSuccess"] = (data) => data.accessToken) {
  const adapter = withCookies();
  const rotator = createTokenRotator<Answer>({
    axiosInstance: axios.create({ baseURL, adapter }),
    onRefreshSuccess,
  });
  const login = async () => (await axios.create({ baseURL, adapter }).post<Answer>("/login", { user: "demo", password: "demo" })).data;
  return { ...rotator, login };
}

test.each([5, 50, 500])("%i requests refused at once: one refresh serves all", async (callers) => {
  const { upstream, counters } = await issuer();
  const { api, login, setAccessToken } = rotatorAt(upstream);
  await login();
  setAccessToken("expired");
  const answers = await Promise.all(Array.from({ length: callers }, (_, n) => api.get(`/echo?n=${n}`)));
  expect(answers.map(({ status, data }) => [status, data.query])).toEqual(
    answers.map((_, n) => [200, `n=${n}`]));
  const { issuer: counted } = await counters();
  expect(counted).toMatchObject({ refreshes: 1, reuses: 0 });
});

test("no token was ever set: the first refusal starts the first refresh", async () => {
  const { upstream, counters } = await issuer();
  const { api, login, getAccessToken } = rotatorAt(upstream);
  await login();
  expect(getAccessToken()).toBeNull();
  const answers = await Promise.all([api.get("/echo"), api.get("/echo"), api.get("/echo")]);
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(getAccessToken()).toMatch(/./);
  expect((await counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });
});

test("a late 401 starts no second refresh", async () => {
  const { upstream, counters } = await issuer();
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  let first = true;
  const front = await startFront(upstream, (line, status) => {
    if (line !== "GET /echo?late" || status !== 401 || !first) return undefined;
    first = false;
    return held;
  });
  open.push(front);
  const { api, login, setAccessToken } = rotatorAt(front.url);
  await login();
  setAccessToken("expired");
  const late = api.get("/echo?late");
  await front.arrived("GET /echo?late", 1);
  expect((await api.get("/echo?early")).status).toBe(200);
  release();
  expect((await late).status).toBe(200);
  expect((await counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });
});

test("an API that always refuses: one refresh, two sends a request", async () => {
  const { upstream, counters } = await issuer();
  const { api, login, setAccessToken } = rotatorAt(upstream);
  await login();
  setAccessToken("expired");
  const refused = await Promise.allSettled([1, 2, 3].map(() => api.get("/always-401")));
  for (const outcome of refused) {
    if (outcome.status === "fulfilled") throw new Error("answered");
    expect(outcome.reason.response.status).toBe(401);
    expect(handBackReason(outcome.reason)).toBe("refused-again");
  }
  const { issuer: counted, upstream: sent } = await counters();
  expect(counted).toMatchObject({ refreshes: 1, reuses: 0 });
  expect(sent.refused).toBe(6);
});

test("ten expiries one after the other: ten refreshes, no reuse", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  const { upstream, counters } = await issuer("--lifetime", "1h");
  const { api, login, setAccessToken } = rotatorAt(upstream, ({ accessToken, expiresIn }) => ({ accessToken, expiresIn }));
  const { accessToken, expiresIn } = await login();
  setAccessToken(accessToken, { expiresIn });
  for (let round = 1; round <= 10; round++) {
    vi.setSystemTime(Date.now() + expiresIn * 1000 + 1);
    const answers = await Promise.all([api.get("/echo"), api.get("/echo"), api.get("/echo")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect((await counters()).issuer).toMatchObject({ refreshes: round, reuses: 0 });
  }
  expect((await counters()).upstream.refused).toBe(0);
});
