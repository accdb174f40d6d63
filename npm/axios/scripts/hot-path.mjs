// What a request that needs nothing of the rotation costs, beside bare axios with a header, in one run: `npm run hot-path`.
// The adapter answers at once, so that what is measured is axios and the library, and no network.
import axios from "axios";
import { createAuthRefresh } from "axios-auth-refresh";
import { applyAuthTokenInterceptor } from "axios-auth-refresh-queue";
import { installAuthRefresh } from "token-refresh";
import { createTokenRotator } from "../dist/index.js";

const adapter = async (config) => ({ data: "", status: 200, statusText: "OK", headers: {}, config, request: null });
const make = (more) => axios.create({ baseURL: "https://api.example.com", adapter, ...more });
const headers = { Authorization: "Bearer token" };
const refresh = async () => ({ accessToken: "token", refreshToken: "r" });
const contestants = {
  "bare axios": () => make({ headers }),
  "this package": () => {
    const { api, setAccessToken } = createTokenRotator({ axiosInstance: make(), onRefreshSuccess: () => "token" });
    setAccessToken("token");
    return api;
  },
  "axios-auth-refresh": () => {
    const api = make({ headers });
    createAuthRefresh(api, refresh);
    return api;
  },
  "axios-auth-refresh-queue": () => {
    const api = make();
    applyAuthTokenInterceptor(api, {
      headerTokenHandler: (request) => void (request.headers.Authorization = "Bearer token"),
      getRefreshToken: () => "r", requestRefresh: refresh, onSuccess() {}, onFailure() {},
    });
    return api;
  },
  "token-refresh": () => {
    const api = make({ headers });
    const tokens = { accessToken: "token", refreshToken: "r" };
    installAuthRefresh(api, {
      refresh, getTokens: async () => tokens, setTokens: async () => {}, logout: async () => {},
      isSessionExpired: ({ status }) => status === 401, isRefreshFailureTerminal: () => true,
    });
    return api;
  },
};

const ROUNDS = 15;
const REQUESTS = 4_000;
const clients = Object.entries(contestants).map(([name, made]) => ({ name, api: made(), times: [] }));
for (let round = 0; round < ROUNDS + 3; round++) {
  for (const { api, times } of clients) {
    const start = process.hrtime.bigint();
    for (let n = 0; n < REQUESTS; n++) await api.get("/x");
    if (round >= 3) times.push(Number(process.hrtime.bigint() - start) / REQUESTS / 1000);
  }
}
const middle = (list) => list.sort((a, b) => a - b)[list.length >> 1];
const bare = middle(clients[0].times);
for (const { name, times } of clients) {
  const time = middle(times);
  console.log(`${name}: ${time.toFixed(1)} us a request, ${(time / bare).toFixed(2)} times`);
}
