// The same events for this package and for similar ones, each used as its README shows: `npm run compare`.
// Prints the table of the README.
import { once } from "node:events";
import { createServer } from "node:http";
import axios from "axios";
import { createAuthRefresh } from "axios-auth-refresh";
import { applyAuthTokenInterceptor } from "axios-auth-refresh-queue";
import { pipeline, withBaseUrl, withHeaders, withHttpError, withTokenRefresh } from "fetch-extras";
import { installAuthRefresh } from "token-refresh";
import { createTokenRotator } from "../dist/index.js";

/** Each as `{ api, set, get }`; `ask` sends the refresh past the library. */
const LIBRARIES = {
  "this package": ({ baseURL, failed }) => {
    const { api, setAccessToken, getAccessToken } = createTokenRotator({
      baseURL, onRefreshSuccess: (data) => data.token, onRefreshFailed: failed,
    });
    return { api, set: setAccessToken, get: getAccessToken };
  },
  "axios-auth-refresh": ({ baseURL, ask, leaves }) => {
    let token = null;
    const api = axios.create({ baseURL });
    api.interceptors.request.use((config) => (token && (config.headers.Authorization = `Bearer ${token}`), config));
    createAuthRefresh(api, (failure) =>
      ask().then(
        (renewed) => {
          token = renewed;
          failure.response.config.headers.Authorization = `Bearer ${renewed}`;
        },
        // Whether that ends the session is left to the program.
        (error) => (leaves.undecided = true, Promise.reject(error)),
      ));
    return { api, set: (value) => (token = value), get: () => token };
  },
  "axios-auth-refresh-queue": ({ baseURL, ask, failed }) => {
    let token = null;
    const api = axios.create({ baseURL });
    applyAuthTokenInterceptor(api, {
      headerTokenHandler: (request) => void (token && (request.headers.Authorization = `Bearer ${token}`)),
      getRefreshToken: () => "r",
      requestRefresh: async () => ({ accessToken: await ask(), refreshToken: "r" }),
      onSuccess: ({ accessToken }) => void (token = accessToken),
      onFailure: failed,
    });
    return { api, set: (value) => (token = value), get: () => token };
  },
  "token-refresh": ({ baseURL, ask, failed }) => {
    let tokens = null;
    const api = axios.create({ baseURL });
    installAuthRefresh(api, {
      refresh: async () => ({ accessToken: await ask(), refreshToken: "r" }),
      getTokens: async () => tokens,
      setTokens: async (renewed) => void (tokens = renewed),
      isSessionExpired: ({ status }) => status === 401,
      isRefreshFailureTerminal: (error) => [400, 401, 403].includes(error?.response?.status),
      logout: async () => failed(),
    });
    api.interceptors.request.use((config) => (tokens && (config.headers.Authorization = `Bearer ${tokens.accessToken}`), config));
    return { api, set: (value) => (tokens = value && { accessToken: value, refreshToken: "r" }), get: () => tokens?.accessToken ?? null };
  },
  "fetch-extras": ({ baseURL, ask, leaves }) => {
    let token = null;
    const refreshToken = () =>
      ask().then(
        (renewed) => (token = renewed),
        // Whether that ends the session is left to the program.
        (error) => ((leaves.undecided = true), Promise.reject(error)),
      );
    const apiFetch = pipeline(
      fetch,
      withBaseUrl(baseURL),
      withHeaders(() => (token ? { Authorization: `Bearer ${token}` } : {})),
      withTokenRefresh({ refreshToken }),
      withHttpError(),
    );
    return { api: { get: (path, options) => apiFetch(path, options) }, set: (value) => (token = value), get: () => token };
  },
};

async function world(make, { status = 200, hold, holdFirst } = {}) {
  const state = { refreshes: 0, sends: 0, failed: 0 };
  const leaves = {};
  let waiting = [];
  let first = true;
  const server = createServer(async (request, response) => {
    const answer = (code, data) => response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(data));
    request.resume();
    if (request.url === "/api/auth/refresh") {
      const token = `good-${++state.refreshes}`;
      waiting.splice(0).forEach((wake) => wake());
      await (hold ?? new Promise((resolve) => setTimeout(resolve, 30)));
      return answer(status, { token });
    }
    state.sends++;
    const good = /^Bearer good/.test(request.headers.authorization ?? "") && request.url !== "/always";
    if (request.url === "/late" && !good && first) {
      first = false;
      waiting.splice(0).forEach((wake) => wake());
      await holdFirst;
    }
    answer(good ? 200 : 401, {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const baseURL = `http://127.0.0.1:${server.address().port}`;
  const ask = async () => (await axios.post(`${baseURL}/api/auth/refresh`)).data.token;
  const client = make({ baseURL, ask, failed: () => state.failed++, leaves });
  return { ...client, state, leaves, arrived: () => new Promise((resolve) => waiting.push(resolve)), stop: () => (server.closeAllConnections(), server.close()) };
}

const gate = () => {
  let open;
  return { opened: new Promise((resolve) => (open = resolve)), open };
};
const LIMIT = 3_000;
const settled = async (requests) => {
  const late = new Promise((resolve) => setTimeout(resolve, LIMIT, "late").unref());
  return Promise.all(requests.map((one) => Promise.race([one.then(({ status }) => status, (error) => error.response?.status ?? error.code ?? "error"), late])));
};

const SCENARIOS = {
  "50 at once: refreshes / answered": async (make) => {
    const w = await world(make);
    w.set("old");
    const all = await settled(Array.from({ length: 50 }, () => w.api.get("/x")));
    return [w, `${w.state.refreshes} / ${all.filter((one) => one === 200).length}`];
  },
  "late 401: refreshes": async (make) => {
    const late = gate();
    const w = await world(make, { holdFirst: late.opened });
    w.set("old");
    const arrived = w.arrived();
    const slow = w.api.get("/late");
    await arrived;
    await settled([w.api.get("/x")]);
    late.open();
    await settled([slow]);
    return [w, `${w.state.refreshes}`];
  },
  "always 401: refreshes / sends": async (make) => {
    const w = await world(make);
    w.set("old");
    await settled([w.api.get("/always")]);
    return [w, `${w.state.refreshes} / ${w.state.sends}`];
  },
  "logout during a refresh: stays out": async (make) => during(make, null, (token) => token === null),
  "login as B during A's refresh: stays B": async (make) => during(make, "good-B", (token) => token === "good-B"),
  "500 from the endpoint: signed out": async (make) => {
    const w = await world(make, { status: 500 });
    w.set("old");
    await settled([w.api.get("/x")]);
    return [w, w.leaves.undecided ? "the program decides" : w.state.failed || w.get() === null ? "yes" : "no"];
  },
  "aborted waiter leaves at once": async (make) => {
    const held = gate();
    const w = await world(make, { hold: held.opened });
    w.set("old");
    const [arrived, controller] = [w.arrived(), new AbortController()];
    const leader = w.api.get("/x");
    await arrived;
    const waiter = w.api.get("/x", { signal: controller.signal }).catch((error) => error);
    await new Promise((resolve) => setTimeout(resolve, 50));
    controller.abort();
    const left = await Promise.race([waiter.then(() => "yes"), new Promise((resolve) => setTimeout(resolve, 300, "no"))]);
    held.open();
    await settled([leader]);
    return [w, left];
  },
};

async function during(make, token, kept) {
  const held = gate();
  const w = await world(make, { hold: held.opened });
  w.set("old");
  const arrived = w.arrived();
  const request = w.api.get("/x");
  await arrived;
  w.set(token);
  held.open();
  await settled([request]);
  return [w, kept(w.get()) ? "yes" : "no"];
}

process.on("unhandledRejection", () => undefined);
console.log(`| | ${Object.keys(LIBRARIES).join(" | ")} |\n|---|${"---|".repeat(Object.keys(LIBRARIES).length)}`);
for (const [name, scenario] of Object.entries(SCENARIOS)) {
  const cells = [];
  for (const make of Object.values(LIBRARIES)) {
    const [w, cell] = await scenario(make);
    w.stop();
    cells.push(cell);
  }
  console.log(`| ${name} | ${cells.join(" | ")} |`);
}
process.exit(0);
