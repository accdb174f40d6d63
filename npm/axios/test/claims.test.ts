// What the README promises beside the great faults: bodies, redirects, pauses, hooks, shared sessions.
import axios, { type AxiosAdapter, AxiosError, type AxiosResponse, type InternalAxiosRequestConfig } from "axios";
import { afterEach, expect, test, vi } from "vitest";
import { createFetch } from "../src/fetch.js";
import { createTokenRotator, handBackReason, RefreshError, type RotatorEvent, type TokenRotatorOptions } from "../src/index.js";
import { json, type Server, startServer } from "./servers.js";

interface Answer { token: string }
const REFRESH = "POST /api/auth/refresh";
const open: Server[] = [];
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(open.splice(0).map((one) => one.stop()));
});

/** Refuses what does not carry a good token, in one of two headers. */
async function world(options: Partial<TokenRotatorOptions<Answer>> = {}) {
  let refreshes = 0;
  const server = await startServer((request, response) => {
    if (request.url === "/api/auth/refresh") return json(response, 200, { token: `good-${++refreshes}` });
    const to = /^\/redirect\?(.*)/.exec(request.url!)?.[1];
    const header = `${request.headers.authorization ?? ""}${request.headers["x-auth-token"] ?? ""}`;
    if (!header.includes("good")) return json(response, 401, {});
    if (to) return void response.writeHead(307, { location: decodeURIComponent(to) }).end();
    return json(response, 200, { header, body: request.body });
  });
  open.push(server);
  return { server, ...createTokenRotator<Answer>({ baseURL: server.url, onRefreshSuccess: (data) => data.token, ...options }) };
}

/** An API without a network: good tokens are served, and the endpoint answers as the test says. */
function without(refresh: (attempt: number) => { status: number; data?: unknown; headers?: Record<string, string> } | Promise<never>, options: Partial<TokenRotatorOptions<Answer>> = {}) {
  const seen = { refreshes: 0, sends: 0 };
  const answer = (config: InternalAxiosRequestConfig, status: number, data: unknown = {}, headers = {}): AxiosResponse => {
    const response = { status, data, headers, statusText: "", config };
    if (status >= 400) throw new AxiosError(`status ${status}`, "ERR_BAD_RESPONSE", config, undefined, response);
    return response;
  };
  const adapter: AxiosAdapter = async (config) => {
    if (config.url === "/api/auth/refresh") {
      const { status, data, headers } = await refresh(++seen.refreshes);
      return answer(config, status, data, headers);
    }
    seen.sends++;
    const header = String(config.headers.get("Authorization"));
    return answer(config, header.includes("good") ? 200 : 401, header);
  };
  const events: RotatorEvent[] = [];
  const rotator = createTokenRotator<Answer>({
    baseURL: "https://api.example.com", axiosConfig: { adapter }, onRefreshSuccess: (data) => data.token, ...options,
  });
  rotator.on((event) => events.push(event));
  return { seen, events, ...rotator };
}
const good = (attempt: number) => ({ status: 200, data: { token: `good-${attempt}` } });
const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);

test("FormData with a binary file goes out again byte for byte, but for the boundary that every sending has anew", async () => {
  const { server, api, setAccessToken } = await world();
  setAccessToken("old");
  const form = new FormData();
  form.set("field", "grün");
  form.set("file", new Blob([bytes], { type: "application/x-all-bytes" }), "name.bin");
  await api.post("/x", form);
  const bodies = server.seen.filter(({ line }) => line === "POST /x").map(({ body }) => body.replaceAll(/^--[^\r]+?(--)?\r$/gm, "--boundary$1\r"));
  expect(bodies).toHaveLength(2);
  expect(bodies[1]).toBe(bodies[0]);
  expect(bodies[0]).toContain(Buffer.from(bytes).toString("latin1"));
});

test.each<[string, () => unknown]>([
  ["an ArrayBuffer", () => bytes.slice().buffer],
  ["bytes", () => bytes.slice(16)],
  ["a Blob", () => new Blob([bytes])],
])("%s goes out again byte for byte", async (_, body) => {
  const { server, api, setAccessToken } = await world();
  setAccessToken("old");
  const data = body();
  await api.post("/x", data);
  const sent = server.seen.filter(({ line }) => line === "POST /x").map(({ body }) => body);
  const wanted = Buffer.from(await new Response(data as BodyInit).arrayBuffer()).toString("latin1");
  expect(sent).toEqual([wanted, wanted]);
});

test.each([["Authorization", undefined], ["a header of applyToken", "X-Auth-Token"]])("%s does not follow a redirect to another origin", async (_, custom) => {
  const other = await startServer(({ headers }, response) =>
    json(response, 200, { authorization: headers.authorization, token: headers["x-auth-token"], kept: headers["x-own"] }));
  open.push(other);
  const redirects: string[] = [];
  const { server, api, setAccessToken } = await world(custom ? { applyToken: ({ headers }: InternalAxiosRequestConfig, token: string) => headers.set(custom, token) } : {});
  setAccessToken("good-0");
  const to = (url: string) => `/redirect?${encodeURIComponent(url)}`;
  const options = { headers: { "x-own": "kept" }, beforeRedirect: ({ href }: Record<string, any>) => void redirects.push(href) };
  expect((await api.get(to(`${other.url}/x`), options)).data).toEqual({ kept: "kept" });
  expect((await api.get(to(`${server.url}/x`), options)).data.header).toContain("good-0");
  expect(redirects).toEqual([`${other.url}/x`, `${server.url}/x`]);
});

test("a pause as long as Retry-After says, in seconds or as a date, five minutes at most", async () => {
  vi.useFakeTimers({ toFake: ["Date", "performance"] });
  const dates = [() => "60", () => new Date(Date.now() + 60_000).toUTCString(), () => "86400"];
  for (const [index, retryAfter] of dates.entries()) {
    const { seen, api, setAccessToken } = without((n) => (n === 1 ? { status: 503, headers: { "retry-after": retryAfter() } } : good(n)));
    setAccessToken("old");
    await expect(api.get("/x")).rejects.toMatchObject({ response: { status: 401 } });
    vi.advanceTimersByTime(index === 2 ? 299_000 : 58_000);
    await expect(api.get("/x")).rejects.toBeInstanceOf(RefreshError);
    expect(seen.refreshes).toBe(1);
    vi.advanceTimersByTime(3_000);
    expect((await api.get("/x")).data).toBe("Bearer good-2");
    expect(seen.refreshes).toBe(2);
  }
});

test("a network error at the endpoint ends no session", async () => {
  const { api, events, setAccessToken, getAccessToken } = without(() => Promise.reject(new AxiosError("cut", "ECONNRESET")));
  setAccessToken("old");
  await expect(api.get("/x")).rejects.toMatchObject({ response: { status: 401 } });
  expect(getAccessToken()).toBe("old");
  expect(events.at(-1)).toMatchObject({ type: "refresh-failed", ending: "transient", error: { cause: { code: "ECONNRESET" } } });
});

test("a refresh is given up after 30 seconds by default, and no timer is left of one that ended", async () => {
  vi.useFakeTimers();
  const hanging = without(() => new Promise<never>(() => {}));
  hanging.setAccessToken("old");
  let outcome: unknown;
  const request = hanging.api.get("/x").catch((error) => (outcome = error));
  await vi.advanceTimersByTimeAsync(29_900);
  expect(outcome).toBeUndefined();
  await vi.advanceTimersByTimeAsync(200);
  await request;
  expect(outcome).toMatchObject({ response: { status: 401 } });
  expect(hanging.events.at(-1)).toMatchObject({ type: "refresh-failed", ending: "uncertain" });
  expect(vi.getTimerCount()).toBe(0);

  const quick = without(good, { onAfterRefresh: () => undefined });
  quick.setAccessToken("old");
  const waited = await Promise.all([quick.api.get("/x"), quick.api.get("/x", { timeout: 5_000 }), quick.api.get("/x", { signal: new AbortController().signal })]);
  expect(waited.map(({ data }) => data)).toEqual(["Bearer good-1", "Bearer good-1", "Bearer good-1"]);
  expect(vi.getTimerCount()).toBe(0);
});

test("waiters wait five seconds at most for an after-hook", async () => {
  vi.useFakeTimers();
  const { api, setAccessToken } = without(good, { onAfterRefresh: () => new Promise(() => {}) });
  setAccessToken("old");
  let answered = false;
  const request = api.get("/x").then(() => (answered = true));
  await vi.advanceTimersByTimeAsync(4_900);
  expect(answered).toBe(false);
  await vi.advanceTimersByTimeAsync(200);
  await request;
});

test("hooks may use the same instance: the after-hook freely, the parser with skipAuth; without it the refresh ends at its timeout", async () => {
  const { api, setAccessToken } = await world({ onAfterRefresh: async () => void (await api.get("/from-the-hook")) });
  setAccessToken("old");
  expect((await api.get("/x")).data.header).toBe("Bearer good-1");

  const parser = await world({
    onRefreshSuccess: async ({ token }) => {
      const refused = await parser.api.get("/from-the-parser", { skipAuth: true, validateStatus: () => true });
      return refused.status === 401 ? token : "never";
    },
  });
  parser.setAccessToken("old");
  expect((await parser.api.get("/x")).data.header).toBe("Bearer good-1");

  vi.useFakeTimers();
  const stuck = without(good, { onRefreshSuccess: async ({ token }) => ((await stuck.api.get("/from-the-parser")).status ? token : "") });
  stuck.setAccessToken("old");
  const request = stuck.api.get("/x").catch((error) => error);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(await request).toMatchObject({ response: { status: 401 } });
});

test("the refresh passes the interceptors of the instance by, so that theirs cannot wait for it", async () => {
  const { server, api, setAccessToken, refresh } = await world();
  api.interceptors.request.use(async (config) => {
    if (config.url !== "/x") return config;
    await refresh();
    return config;
  });
  setAccessToken("old");
  expect((await api.get("/x")).data.header).toBe("Bearer good-1");
  expect(server.count(REFRESH)).toBe(1);
});

test("a listener that throws, and hooks that reject, break nothing and reject nowhere", async () => {
  const { api, on, setAccessToken } = await world({
    onAfterRefresh: () => Promise.reject(new Error("after")),
  });
  on(() => {
    throw new Error("listener");
  });
  setAccessToken("old");
  expect((await api.get("/x")).status).toBe(200);
});

test("callers that leave before a failing refresh ends leave no rejection behind", async () => {
  let fail!: (error: unknown) => void;
  const { seen, api, setAccessToken, refresh } = without(() => new Promise<never>((_, reject) => (fail = reject)));
  setAccessToken("old");
  const controller = new AbortController();
  const all = [api.get("/x", { signal: controller.signal }), api.get("/y", { signal: controller.signal })].map((one) => one.catch((error) => error.code));
  await vi.waitFor(() => expect(seen.refreshes).toBe(1));
  const forced = refresh().catch((error) => error);
  controller.abort();
  expect(await Promise.all(all)).toEqual(["ERR_CANCELED", "ERR_CANCELED"]);
  fail(new Error("down"));
  expect(await forced).toBeInstanceOf(RefreshError);
});

test("two axios instances and a fetch on one session: one refresh for all", async () => {
  const first = await world();
  const second = createTokenRotator<Answer>({ axiosInstance: axios.create({ baseURL: first.server.url }), session: first.session, onRefreshSuccess: ({ token }) => token });
  const third = createFetch(first.session, { baseURL: first.server.url });
  first.setAccessToken("old");
  const answers = await Promise.all([first.api.get("/a"), second.api.get("/b"), third("/c")]);
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(first.server.count(REFRESH)).toBe(1);
  second.setAccessToken(null);
  expect([first.getAccessToken(), (await third("/c")).status]).toEqual([null, 401]);
  second.dispose();
  first.setAccessToken("good-9");
  expect((await first.api.get("/a")).status).toBe(200);
});

test("an adapter of a request that fails without an answer is passed on as it is", async () => {
  const { seen, api, setAccessToken } = without(good);
  setAccessToken("good-0");
  const cut = new AxiosError("cut", "ECONNRESET");
  expect(await api.get("/x", { adapter: () => Promise.reject(cut) }).catch((error) => error)).toBe(cut);
  expect(handBackReason(cut)).toBeUndefined();
  expect(seen.refreshes).toBe(0);
});
