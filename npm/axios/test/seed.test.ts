// The examples of the README of the package that this one replaces, as they stand there, against the
// testkit's issuer: `seed-readme/` holds them, and `npm run check` compiles them strictly.
import axios, { type AxiosInstance } from "axios";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createTokenRotator } from "../src/index.js";
import { type Issuer, json, type Server, startIssuer, startServer, withCookies } from "./servers.js";

interface RefreshResponse {
  accessToken: string;
  wsToken: string;
}
const ADDRESS = "https://api.example.com";
const original = axios.defaults.adapter;
let issuer: Issuer;
let front: Server;
let stored: Map<string, string>;
let sockets: string[];
let jar: Map<string, string>;
/** The instances made so far: the first is the example's, others are those that refreshes go through. */
let made: AxiosInstance[];

/** A page under the address of the examples: storage, an address to be sent to, cookies, and an API that answers as they expect. */
beforeEach(async () => {
  issuer = await startIssuer();
  front = await startServer(async ({ url, method, headers, body }, response) => {
    const path = url === "/users/me" ? "/echo" : url === "/v2/token/refresh" ? "/api/auth/refresh" : url!;
    const { host: _, connection: __, "content-length": ___, ...rest } = headers as Record<string, string>;
    const answer = await fetch(issuer.upstream + path, { method, headers: rest, body: method === "GET" ? undefined : body });
    const data = (await answer.json()) as { accessToken?: string };
    const cookies = answer.headers.getSetCookie().join(", ");
    json(response, answer.status, { ...data, token: data.accessToken }, cookies ? { "set-cookie": cookies } : {});
  });
  [stored, sockets, made] = [new Map(), [], []];
  vi.stubGlobal("window", { location: { href: "" } });
  vi.stubGlobal("localStorage", { setItem: (key: string, value: string) => stored.set(key, value) });
  vi.stubGlobal("updateAllSocketAuth", (token: string) => void sockets.push(token));
  vi.stubEnv("NEXT_PUBLIC_API_URL", ADDRESS);
  const cookies = withCookies();
  jar = cookies.jar;
  axios.defaults.adapter = (config) => cookies({ ...config, baseURL: config.baseURL?.replace(ADDRESS, front.url) });
  const create = axios.create.bind(axios);
  vi.spyOn(axios, "create").mockImplementation((config) => {
    const instance = create(config);
    made.push(instance);
    return instance;
  });
  await axios.post("/login", { user: "alice", password: "a" }, { baseURL: ADDRESS });
});

afterEach(async () => {
  vi.unstubAllGlobals();
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  axios.defaults.adapter = original;
  await Promise.all([front.stop(), issuer.stop()]);
});

const example = (name: string): Promise<Record<string, any>> => import(`./seed-readme/${name}.ts`);

test("quick start", async () => {
  vi.stubGlobal("loginResponse", { accessToken: "expired" });
  await example("quick-start");
  const asked = front.seen.slice(1).map(({ line, authorization }) => [line, authorization?.slice(0, 14)]);
  expect(asked).toEqual([
    ["GET /users/me", "Bearer expired"],
    ["POST /api/auth/refresh", undefined],
    ["GET /users/me", expect.stringContaining("Bearer ")],
  ]);
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });
});

test("type-safe refresh response", async () => {
  await example("type-safe");
  expect((await made[0]!.get("/users/me")).status).toBe(200);
  expect(stored.get("wsToken")).toMatch(/./);
  expect(window.location.href).toBe("");
});

test("migration: storage and sockets learn of the new token, a failed refresh cleans up and redirects", async () => {
  await example("migration");
  const api = made[0]!;
  expect((await api.get("/users/me")).data.headers["x-requested-with"]).toEqual(["XMLHttpRequest"]);
  expect(sockets).toEqual([stored.get("wsToken")]);
  jar.clear();
  vi.resetModules();
  await example("migration");
  await expect(made.at(-1)!.get("/users/me")).rejects.toMatchObject({ response: { status: 401 } });
  expect([window.location.href, stored.get("wsToken")]).toEqual(["/auth/login", ""]);
});

test("custom auth header scheme", async () => {
  await example("custom-header");
  expect((await made[0]!.get("/header/x-auth-token/echo")).data.headers["x-auth-token"]).toEqual([expect.stringMatching(/./)]);
});

test("custom refresh endpoint", async () => {
  await example("custom-endpoint");
  expect((await made[0]!.get("/users/me")).status).toBe(200);
  expect([front.count("POST /v2/token/refresh"), front.count("POST /api/auth/refresh")]).toEqual([1, 0]);
});

test("attach to an existing axios instance", async () => {
  await example("existing-instance");
  expect((await made[0]!.get("/users/me")).status).toBe(200);
  expect((await issuer.counters()).issuer).toMatchObject({ refreshes: 1, reuses: 0 });
});

test("Next.js with WebSockets: sockets learn of the new token, and a failed refresh cleans up and redirects", async () => {
  const { api, setAccessToken, getAccessToken } = await example("nextjs-websockets");
  expect(api.defaults.withCredentials).toBe(true);
  setAccessToken("expired");
  expect((await api.get("/users/me")).data.headers["x-requested-with"]).toEqual(["XMLHttpRequest"]);
  expect((await import("./seed-readme/socketManager.js")).tokens).toEqual([stored.get("wsToken")]);
  expect(window.location.href).toBe("");
  jar.clear();
  setAccessToken("expired");
  await expect(api.get("/users/me")).rejects.toMatchObject({ response: { status: 401 } });
  expect([window.location.href, getAccessToken(), stored.get("wsToken")]).toEqual(["/auth/login", null, ""]);
});

test("limited exposure of setAccessToken", async () => {
  const { api, getAccessToken, initSession, clearSession, setAccessToken } = await example("limited-exposure");
  initSession("expired");
  expect((await api.get("/users/me")).status).toBe(200);
  expect(getAccessToken()).not.toBe("expired");
  clearSession();
  await expect(api.get("/users/me")).rejects.toMatchObject({ response: { status: 401 } });
  expect([getAccessToken(), setAccessToken]).toEqual([null, undefined]);
});

test("the same reference, axiosConfig ignored with it, and withCredentials without", async () => {
  const myAxios = axios.create({ baseURL: ADDRESS });
  const { api, setAccessToken } = createTokenRotator<RefreshResponse>({
    axiosInstance: myAxios,
    axiosConfig: { baseURL: "http://127.0.0.1:9" },
    onRefreshSuccess: (data) => data.accessToken,
  });
  expect(api).toBe(myAxios);
  setAccessToken("expired");
  expect((await api.get("/users/me")).status).toBe(200);
  expect(createTokenRotator({ onRefreshSuccess: () => "" }).api.defaults.withCredentials).toBe(true);
});
