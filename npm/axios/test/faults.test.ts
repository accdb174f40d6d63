// What a well-behaved issuer never does, and what callers do to each other.
import axios, { type InternalAxiosRequestConfig } from "axios";
import FormDataPackage from "form-data";
import { Readable } from "node:stream";
import { afterEach, expect, test } from "vitest";
import { createTokenRotator, handBackReason, RefreshError, type RotatorEvent, type TokenRotatorOptions } from "../src/index.js";
import { json, type Server, startServer } from "./servers.js";

interface Answer { token: string }
type Refresh = (attempt: number) => { status: number; data?: unknown; headers?: Record<string, string>; after?: Promise<void> };

const open: Server[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.stop()));
});

/** Accepts `Bearer good-*`, refuses everything else, and refreshes as the test says. */
async function world(refresh: Refresh, options: Partial<TokenRotatorOptions<Answer>> = {}) {
  let attempt = 0;
  const server = await startServer(async (request, response) => {
    if (request.url === "/api/auth/refresh") {
      const { status, data, headers, after } = refresh(++attempt);
      await after;
      return json(response, status, data ?? {}, headers);
    }
    const header = request.headers.authorization ?? String(request.headers["x-auth-token"] ?? "");
    const good = header.includes("good") && !request.url!.startsWith("/always");
    return json(response, good ? 200 : 401, { body: request.body, header });
  });
  open.push(server);
  const events: RotatorEvent[] = [];
  const rotator = createTokenRotator<Answer>({ baseURL: server.url, onRefreshSuccess: (data) => data.token, ...options });
  rotator.on((event) => events.push(event));
  return { server, events, ...rotator };
}

const good: Refresh = (attempt) => ({ status: 200, data: { token: `good-${attempt}` } });
const gate = () => {
  let open!: () => void;
  return { opened: new Promise<void>((resolve) => (open = resolve)), open: () => open() };
};
const REFRESH = "POST /api/auth/refresh";

test("the refresh is a POST without a body", async () => {
  const { server, api } = await world(good);
  await api.get("/x");
  expect(server.seen.find(({ line }) => line === REFRESH)).toMatchObject({ body: "", authorization: undefined });
});

test("a sign-out during the refresh stays", async () => {
  const held = gate();
  const { server, api, setAccessToken, getAccessToken } = await world((n) => ({ ...good(n), after: held.opened }));
  setAccessToken("old");
  const request = api.get("/x");
  await server.arrived(REFRESH, 1);
  setAccessToken(null);
  held.open();
  const error = await request.catch((error) => error);
  expect(error.response.status).toBe(401);
  expect(handBackReason(error)).toBe("session-changed");
  expect(getAccessToken()).toBeNull();
  await expect(api.get("/y")).rejects.toMatchObject({ response: { status: 401 } });
  expect(server.count(REFRESH)).toBe(1);
});

test("a login as B during A's refresh stays B, and A's request is not sent as B", async () => {
  const held = gate();
  const { server, api, setAccessToken, getAccessToken } = await world((n) => ({ ...good(n), after: held.opened }));
  setAccessToken("old-A");
  const request = api.get("/x");
  await server.arrived(REFRESH, 1);
  setAccessToken("good-B");
  held.open();
  await expect(request).rejects.toMatchObject({ response: { status: 401 } });
  expect((await api.get("/y")).data.header).toBe("Bearer good-B");
  expect(getAccessToken()).toBe("good-B");
  expect(server.count("GET /x")).toBe(1);
});

test.each([500, 503, 429])("a %i from the refresh endpoint ends no session and starts a cool-down", async (status) => {
  let failed = 0;
  const { server, api, events, setAccessToken, getAccessToken } = await world(
    () => ({ status, headers: { "retry-after": "60" } }), { onRefreshFailed: () => void failed++ });
  setAccessToken("old");
  const outcomes = await Promise.allSettled([api.get("/x"), api.get("/x")]);
  for (const outcome of outcomes) expect(outcome).toMatchObject({ status: "rejected", reason: { response: { status: 401 } } });
  expect(failed).toBe(0);
  expect(getAccessToken()).toBe("old");
  expect(events).toContainEqual(expect.objectContaining({ type: "refresh-failed", ending: status === 500 ? "uncertain" : "transient" }));
  await expect(api.get("/y")).rejects.toBeInstanceOf(RefreshError);
  expect(server.count(REFRESH)).toBe(1);
});

test.each([400, 401, 403])("a %i ends the session: token null, onRefreshFailed once", async (status) => {
  const failures: unknown[] = [];
  const { server, api, setAccessToken, getAccessToken } = await world(() => ({ status }), {
    onRefreshFailed: (error) => void failures.push([error, getAccessTokenLater()]),
  });
  const getAccessTokenLater = () => getAccessToken();
  setAccessToken("old");
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => api.get("/x")));
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { response: { status: 401 } } });
    expect(handBackReason((outcome as PromiseRejectedResult).reason)).toBe("refresh-failed");
  }
  expect(failures).toEqual([[expect.objectContaining({ response: expect.objectContaining({ status }) }), null]]);
  await expect(api.get("/y")).rejects.toMatchObject({ response: { status: 401 } });
  expect(server.count(REFRESH)).toBe(1);
  setAccessToken("good");
  expect((await api.get("/y")).status).toBe(200);
});

test("403 and other statuses are left alone", async () => {
  const server = await startServer((_, response) => json(response, 403, {}));
  open.push(server);
  const { api, setAccessToken } = createTokenRotator<Answer>({ baseURL: server.url, onRefreshSuccess: (data) => data.token });
  setAccessToken("good");
  await expect(api.get("/x")).rejects.toMatchObject({ response: { status: 403 } });
  expect(server.seen).toHaveLength(1);
});

test("statusCodes and shouldRefresh", async () => {
  const byStatus = await world(good, { statusCodes: [419] });
  await expect(byStatus.api.get("/x")).rejects.toMatchObject({ response: { status: 401 } });
  expect(byStatus.server.count(REFRESH)).toBe(0);
  const added = await world(good, { statusCodes: [419], alsoStatusCodes: [401] });
  expect((await added.api.get("/x")).status).toBe(200);
  expect(added.server.count(REFRESH)).toBe(1);
  const byAnswer = await world(good, { shouldRefresh: ({ data }) => String(data).includes('"header":""') });
  expect((await byAnswer.api.get("/x")).status).toBe(200);
});

test("hooks run in order, and waiters wait for the after-hook", async () => {
  const order: string[] = [];
  const { api, setAccessToken, getAccessToken } = await world(good, {
    onRefreshSuccess: async (data) => (order.push(`success ${getAccessTokenLater()}`), data.token),
    onAfterRefresh: async () => {
      await Promise.resolve();
      order.push(`after ${getAccessTokenLater()}`);
    },
  });
  const getAccessTokenLater = () => getAccessToken();
  setAccessToken("old");
  await api.get("/x");
  order.push("answered");
  expect(order).toEqual(["success old", "after good-1", "answered"]);
});

test("hooks that throw break nothing", async () => {
  const { api, events } = await world(good, {
    onAfterRefresh: () => {
      throw new Error("after");
    },
  });
  expect((await api.get("/x")).status).toBe(200);
  expect(events).toContainEqual(expect.objectContaining({ type: "hook-failed", hook: "onAfterRefresh" }));
  const ended = await world(() => ({ status: 401 }), { onRefreshFailed: () => Promise.reject(new Error("failed")) });
  await expect(ended.api.get("/x")).rejects.toMatchObject({ response: { status: 401 } });
});

test("a parser that throws fails the flight and ends no session", async () => {
  let failed = 0;
  const { api, events, setAccessToken, getAccessToken } = await world(good, {
    onRefreshSuccess: () => {
      throw new Error("unreadable");
    },
    onRefreshFailed: () => void failed++,
  });
  setAccessToken("old");
  await expect(api.get("/x")).rejects.toMatchObject({ response: { status: 401 } });
  expect([failed, getAccessToken()]).toEqual([0, "old"]);
  expect(events).toContainEqual(expect.objectContaining({ type: "refresh-failed", ending: "uncertain" }));
});

test("a refresh that hangs is given up, and the timer is gone", async () => {
  const { api, setAccessToken } = await world((n) => ({ ...good(n), after: new Promise(() => {}) }), { refreshTimeout: 60 });
  setAccessToken("old");
  await expect(api.get("/x")).rejects.toMatchObject({ response: { status: 401 } });
});

test("an aborted leader and a waiter out of time leave at once and harm no other caller", async () => {
  const held = gate();
  const { server, api, setAccessToken } = await world((n) => ({ ...good(n), after: held.opened }));
  setAccessToken("old");
  const controller = new AbortController();
  const leader = api.get("/x", { signal: controller.signal });
  await server.arrived(REFRESH, 1);
  const other = api.get("/x");
  const hasty = api.get("/x", { timeout: 40 });
  const source = axios.CancelToken.source();
  const old = api.get("/x", { cancelToken: source.token });
  controller.abort();
  source.cancel("enough");
  await expect(leader).rejects.toMatchObject({ code: "ERR_CANCELED" });
  await expect(old).rejects.toMatchObject({ code: "ERR_CANCELED" });
  await expect(hasty).rejects.toMatchObject({ code: "ECONNABORTED" });
  held.open();
  expect((await other).status).toBe(200);
  expect(server.count(REFRESH)).toBe(1);
});

test("requests that start during a refresh wait for it", async () => {
  const held = gate();
  const { server, api, setAccessToken } = await world((n) => ({ ...good(n), after: held.opened }));
  setAccessToken("old");
  const first = api.get("/x");
  await server.arrived(REFRESH, 1);
  const second = api.get("/second");
  held.open();
  await Promise.all([first, second]);
  expect(server.count("GET /second")).toBe(1);
});

test("interceptors and transformRequest run once, and the body goes out as it was", async () => {
  const { server, api, setAccessToken } = await world(good);
  setAccessToken("old");
  let [intercepted, transformed] = [0, 0];
  api.interceptors.request.use((config) => (intercepted++, config));
  const bodies: [unknown, string | RegExp][] = [
    [{ a: 1 }, '{"a":1}'],
    ['{"a":  1}', '{"a":  1}'],
    [new URLSearchParams({ a: "1 2" }), "a=1+2"],
    [new Blob(["blob"]), "blob"],
    [Buffer.from("buffer"), "buffer"],
  ];
  for (const [data, wanted] of bodies) {
    setAccessToken("old" + Math.random());
    intercepted = transformed = 0;
    const before = server.seen.length;
    const answer = await api.post("/x", data, {
      headers: { "content-type": typeof data === "string" ? "application/json" : undefined },
      transformRequest: [(data) => (transformed++, data), ...[axios.defaults.transformRequest ?? []].flat()],
    });
    expect(answer.data.body).toBe(wanted);
    expect([intercepted, transformed]).toEqual([1, 1]);
    expect(server.seen.slice(before).filter(({ line }) => line === "POST /x").map(({ body }) => body)).toEqual([wanted, wanted]);
  }
});

test("FormData is sent again whole", async () => {
  const { api, setAccessToken } = await world(good);
  setAccessToken("old");
  const form = new FormData();
  form.set("file", new Blob(["content"]), "name.txt");
  expect((await api.post("/x", form)).data.body).toContain("content");
});

test("a stream is not sent again: its 401 comes back with the reason", async () => {
  const { server, api, setAccessToken } = await world(good);
  for (const stream of [Readable.from(["once"]), new FormDataPackage()]) {
    setAccessToken("old" + Math.random());
    const error = await api.post("/x", stream).catch((error) => error);
    expect(error.response.status).toBe(401);
    expect(handBackReason(error)).toBe("stream-body");
  }
  expect(server.count("POST /x")).toBe(2);
});

test("validateStatus that accepts all still sees the refresh", async () => {
  const { api, setAccessToken } = await world(good);
  setAccessToken("old");
  expect((await api.get("/x", { validateStatus: () => true })).status).toBe(200);
  const refused = await api.get("/always", { validateStatus: () => true });
  expect([refused.status, handBackReason(refused)]).toEqual([401, expect.any(String)]);
});

test("the token goes to its own origins only", async () => {
  const { api, setAccessToken } = await world(good);
  const other = await startServer((request, response) => json(response, 401, { header: request.headers.authorization ?? null }));
  open.push(other);
  setAccessToken("good");
  await expect(api.get(`${other.url}/x`)).rejects.toMatchObject({ response: { data: { header: null } } });
  const friendly = await world(good, { origins: [other.url] });
  friendly.setAccessToken("good");
  await expect(friendly.api.get(`${other.url}/x`)).rejects.toMatchObject({ response: { data: { header: "Bearer good-1" } } });
});

test("an explicit Authorization is kept, skipAuth and skipReplay are obeyed", async () => {
  const { server, api, setAccessToken } = await world(good);
  setAccessToken("old");
  await expect(api.get("/x", { headers: { Authorization: "Basic b" } })).rejects.toMatchObject({ response: { data: { header: "Basic b" } } });
  await expect(api.get("/x", { skipAuth: true })).rejects.toMatchObject({ response: { data: { header: "" } } });
  expect(server.count(REFRESH)).toBe(0);
  const error = await api.get("/x", { skipReplay: true }).catch((error) => error);
  expect([error.response.status, handBackReason(error)]).toEqual([401, "skip-replay"]);
  await server.arrived(REFRESH, 1);
  expect((await api.get("/y")).status).toBe(200);
});

test("the refresh endpoint asked through the same instance goes out as it is", async () => {
  const { server, api, setAccessToken } = await world(() => ({ status: 401 }));
  setAccessToken("old");
  await expect(api.post("/api/auth/refresh")).rejects.toMatchObject({ response: { status: 401 } });
  expect(server.seen).toEqual([{ line: REFRESH, authorization: undefined, body: "" }]);
  await expect(api.get("/api/auth/refresh-log")).rejects.toMatchObject({ response: { status: 401 } });
  expect(server.count(REFRESH)).toBe(2);
});

test("applyToken puts it elsewhere", async () => {
  const { api, setAccessToken } = await world(good, {
    applyToken: (config, token) => {
      config.headers["X-Auth-Token"] = token;
    },
  });
  setAccessToken("old");
  expect((await api.get("/x")).data.header).toBe("good-1");
});

test("no token is left in the config of an answer or of an error, and a client may send that again", async () => {
  const { api, setAccessToken } = await world(good);
  setAccessToken("good-0");
  const answer = await api.get("/x");
  expect(JSON.stringify(answer.config)).not.toContain("good-0");
  const error = await api.get("/always").catch((error) => error);
  expect(JSON.stringify([error.config, error.response.config])).not.toContain("good");
  const again = await api.request({ ...(error.config as InternalAxiosRequestConfig), url: "/x" });
  expect(again.data.header).toContain("Bearer good");
});

test("several clients on one session share the refresh", async () => {
  const first = await world(good);
  const second = createTokenRotator<Answer>({ baseURL: first.server.url, onRefreshSuccess: (data) => data.token, session: first.session });
  first.setAccessToken("old");
  await Promise.all([first.api.get("/x"), second.api.get("/y")]);
  expect(first.server.count(REFRESH)).toBe(1);
});

test("refresh() joins, dispose() detaches", async () => {
  const { server, api, refresh, dispose } = await world(good);
  expect(await Promise.all([refresh(), refresh()])).toEqual(["good-1", "good-1"]);
  expect(server.count(REFRESH)).toBe(1);
  dispose();
  await expect(api.get("/x")).rejects.toMatchObject({ response: { data: { header: "" } } });
});

test("an early refresh by expiresIn and by a JWT's exp", async () => {
  const seconds = Math.floor(Date.now() / 1000);
  const jwt = (exp: number) => `good.${btoa(JSON.stringify({ iat: seconds, exp: seconds + exp }))}.x`;
  const { server, api, setAccessToken } = await world(good, { onRefreshSuccess: () => ({ accessToken: "good-new", expiresIn: 3600 }) });
  setAccessToken(jwt(-5));
  expect((await api.get("/x")).data.header).toBe("Bearer good-new");
  expect(server.count("GET /x")).toBe(1);
  setAccessToken(jwt(3600));
  await api.get("/x");
  expect(server.count(REFRESH)).toBe(1);
});
