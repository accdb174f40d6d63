// What the README of the package that this one replaces shows, before loopback servers.
import axios from "axios";
import { afterEach, expect, test, vi } from "vitest";
import { createTokenRotator } from "../src/index.js";
import { type Issuer, startIssuer, withCookies } from "./servers.js";

const issuers: Issuer[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  vi.unstubAllEnvs();
  axios.defaults.adapter = original;
  await Promise.all(issuers.splice(0).map((issuer) => issuer.stop()));
});
const original = axios.defaults.adapter;

/** A page: storage, an address to be sent to, and cookies. */
async function page() {
  const issuer = await startIssuer();
  issuers.push(issuer);
  const stored = new Map<string, string>();
  vi.stubGlobal("window", { location: { href: "" } });
  vi.stubGlobal("localStorage", { setItem: (key: string, value: string) => stored.set(key, value) });
  const adapter = withCookies();
  axios.defaults.adapter = adapter;
  const login = async () => (await axios.post(`${issuer.upstream}/login`, { user: "alice", password: "a" })).data;
  vi.stubEnv("NEXT_PUBLIC_API_URL", issuer.upstream);
  return { issuer, stored, login, jar: adapter.jar };
}

interface RefreshResponse {
  accessToken: string;
  wsToken: string;
}

test("type-safe refresh response", async () => {
  const { issuer, stored, login } = await page();
  const { api, setAccessToken } = createTokenRotator<RefreshResponse>({
    baseURL: issuer.upstream,

    onRefreshSuccess: (data) => data.accessToken,
    onAfterRefresh: (data) => {
      localStorage.setItem("wsToken", data.wsToken);
    },

    onRefreshFailed: () => {
      window.location.href = "/login";
    },
  });
  await login();
  setAccessToken("expired");
  expect((await api.get("/echo")).status).toBe(200);
  expect(stored.get("wsToken")).toMatch(/./);
  expect(window.location.href).toBe("");
});

test("migration, and Next.js with WebSockets: a failed refresh cleans up and redirects", async () => {
  const { login, jar, stored } = await page();
  const sockets: string[] = [];
  const updateAllSocketAuth = (token: string) => void sockets.push(token);
  const { api, setAccessToken, getAccessToken } = createTokenRotator<RefreshResponse>({
    baseURL: process.env.NEXT_PUBLIC_API_URL ?? "http://localhost:3001",
    axiosConfig: { withCredentials: true },

    onRefreshSuccess: (data) => data.accessToken,

    onAfterRefresh: (data) => {
      localStorage.setItem("wsToken", data.wsToken);
      updateAllSocketAuth(data.wsToken);
    },

    onRefreshFailed: () => {
      setAccessToken(null);
      localStorage.setItem("wsToken", "");
      window.location.href = "/auth/login";
    },
  });

  api.defaults.headers.common["X-Requested-With"] = "XMLHttpRequest";

  setAccessToken((await login()).accessToken);
  expect((await api.get("/echo")).data.headers["x-requested-with"]).toEqual(["XMLHttpRequest"]);
  setAccessToken("expired");
  expect((await api.get("/echo")).status).toBe(200);
  expect(sockets).toHaveLength(1);
  jar.clear();
  setAccessToken("expired");
  await expect(api.get("/echo")).rejects.toMatchObject({ response: { status: 401 } });
  expect([window.location.href, getAccessToken(), stored.get("wsToken")]).toEqual(["/auth/login", null, ""]);
});

test("attach to an existing instance: the same reference, and axiosConfig is ignored", async () => {
  const { issuer, login } = await page();
  const myAxios = axios.create({ baseURL: issuer.upstream });
  const { api, setAccessToken } = createTokenRotator<RefreshResponse>({
    axiosInstance: myAxios,
    axiosConfig: { baseURL: "http://127.0.0.1:9" },
    onRefreshSuccess: (data) => data.accessToken,
  });
  expect(api).toBe(myAxios);
  await login();
  setAccessToken("expired");
  expect((await api.get("/echo")).status).toBe(200);
});

test("custom auth scheme, custom refresh endpoint, withCredentials", async () => {
  const { issuer, login } = await page();
  const { api, setAccessToken } = createTokenRotator<{ token: string; accessToken: string }>({
    baseURL: issuer.upstream,
    refreshEndpoint: "/api/auth/refresh",
    onRefreshSuccess: (data) => data.token ?? data.accessToken,
    applyToken: (config, token) => {
      config.headers["X-Auth-Token"] = token;
    },
  });
  expect(api.defaults.withCredentials).toBe(true);
  await login();
  setAccessToken("expired");
  expect((await api.get("/header/x-auth-token/echo")).status).toBe(200);
});
