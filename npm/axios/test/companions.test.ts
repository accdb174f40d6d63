// What programs use beside the rotation: axios-retry, axios-mock-adapter, adapters of their own.
import axios, { type AxiosAdapter, type AxiosInstance } from "axios";
import AxiosMockAdapter from "axios-mock-adapter";
import axiosRetry, { isNetworkOrIdempotentRequestError } from "axios-retry";
import { afterEach, expect, test } from "vitest";
import { createTokenRotator, handBackReason } from "../src/index.js";
import { json, type Server, startServer } from "./servers.js";

interface Answer { token: string }
const REFRESH = "POST /api/auth/refresh";
const open: Server[] = [];
afterEach(() => Promise.all(open.splice(0).map((one) => one.stop())));

/** A 503 after which the token that got it is refused. */
const REVOKING = -1;

/** Refuses what is not `Bearer good-*`; what is, gets the statuses of `script`, one a request, then 200. 0 is a closed connection. */
async function upstream(script: number[] = []) {
  let refreshes = 0;
  let revoked = "";
  const server = await startServer((request, response) => {
    if (request.url === "/api/auth/refresh") return json(response, 200, { token: `good-${++refreshes}` });
    const { authorization = "" } = request.headers;
    if (!authorization.startsWith("Bearer good") || authorization === revoked) return json(response, 401, {});
    const status = script.shift() ?? 200;
    if (status === 0) return void request.socket.destroy();
    if (status === REVOKING) revoked = authorization;
    return json(response, status === REVOKING ? 503 : status, { authorization, body: request.body });
  });
  open.push(server);
  return server;
}

const rotate = (axiosInstance: AxiosInstance) => createTokenRotator<Answer>({ axiosInstance, onRefreshSuccess: (data) => data.token });
const retry = (axiosInstance: AxiosInstance) =>
  axiosRetry(axiosInstance, { retries: 3, retryDelay: () => 1, retryCondition: isNetworkOrIdempotentRequestError });

const ORDERS: [string, (instance: AxiosInstance) => ReturnType<typeof rotate>][] = [
  ["before", (instance) => (retry(instance), rotate(instance))],
  ["after", (instance) => {
    const rotator = rotate(instance);
    retry(instance);
    return rotator;
  }],
];

test.each(ORDERS)("axios-retry installed %s: it retries 503 and closed connections, a 401 is refreshed once", async (_, install) => {
  const server = await upstream([503, 0, 503]);
  const { api, setAccessToken } = install(axios.create({ baseURL: server.url }));
  setAccessToken("old");
  const answer = await api.put("/x", { a: 1 });
  expect(answer.data).toEqual({ authorization: "Bearer good-1", body: '{"a":1}' });
  // Refused, refreshed, and then three failures and the answer, each with the new token.
  expect(server.seen.map(({ line, authorization }) => [line, authorization])).toEqual([
    ["PUT /x", "Bearer old"], [REFRESH, undefined], ...Array.from({ length: 4 }, () => ["PUT /x", "Bearer good-1"]),
  ]);
});

test.each(ORDERS)("axios-retry installed %s: a token that dies between its attempts is refreshed, and the request still answered", async (_, install) => {
  const server = await upstream([REVOKING]);
  const { api, setAccessToken } = install(axios.create({ baseURL: server.url }));
  setAccessToken("good-0");
  expect((await api.get("/x")).data.authorization).toBe("Bearer good-1");
  expect(server.seen.map(({ line, authorization }) => [line, authorization])).toEqual([
    ["GET /x", "Bearer good-0"], ["GET /x", "Bearer good-0"], [REFRESH, undefined], ["GET /x", "Bearer good-1"],
  ]);
});

test.each(ORDERS)("axios-retry installed %s: a 401 that stays is handed back with its reason and not retried", async (_, install) => {
  const server = await upstream([401, 401, 401]);
  const { api, setAccessToken } = install(axios.create({ baseURL: server.url }));
  setAccessToken("old");
  const error = await api.get("/x").catch((error) => error);
  expect([error.response.status, handBackReason(error)]).toEqual([401, "refused-again"]);
  expect([server.count("GET /x"), server.count(REFRESH)]).toEqual([2, 1]);
});

// Its types are written against axios's CommonJS types, which are others to TypeScript: hence the casts.
test.each([["before", true], ["after", false]])("axios-mock-adapter installed %s the rotation", async (_, before) => {
  const instance = axios.create({ baseURL: "https://api.example.com" });
  const early = before ? new AxiosMockAdapter(instance as never) : undefined;
  const { api, setAccessToken, getAccessToken } = rotate(instance);
  const mock = early ?? new AxiosMockAdapter(instance as never);
  mock.onPost("/api/auth/refresh").reply(200, { token: "good-1" });
  mock.onGet("/x").reply(({ headers }) => (String(headers?.Authorization).includes("good") ? [200, { ok: true }] : [401]));
  setAccessToken("old");
  const answers = await Promise.all([api.get("/x"), api.get("/x"), api.get("/x")]);
  expect(answers.map(({ data }) => data)).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
  expect(getAccessToken()).toBe("good-1");
  expect(mock.history.post).toHaveLength(1);
  mock.restore();
});

const counting = (calls: string[]): AxiosAdapter => (config) => {
  calls.push(`${config.method} ${config.headers.get("Authorization")}`);
  return axios.getAdapter("http")(config);
};

test("an adapter that is a function: of the instance, of one request, and set after the rotation", async () => {
  const server = await upstream();
  const calls: string[] = [];
  const own = rotate(axios.create({ baseURL: server.url, adapter: counting(calls) }));
  own.setAccessToken("old");
  await own.api.get("/x");
  expect(calls).toEqual(["get Bearer old", "post undefined", "get Bearer good-1"]);

  calls.length = 0;
  const other = rotate(axios.create({ baseURL: server.url }));
  other.setAccessToken("old");
  await other.api.get("/x", { adapter: counting(calls) });
  expect(calls).toEqual(["get Bearer old", "get Bearer good-2"]);

  calls.length = 0;
  other.api.defaults.adapter = counting(calls);
  await other.api.get("/x");
  expect(calls).toEqual(["get Bearer good-2"]);
});

test.each<[string, any]>([
  ["axios.getAdapter's", axios.getAdapter("http")],
  ["a name", "http"],
  ["a list of names", ["xhr", "http", "fetch"]],
  ["the fetch adapter", "fetch"],
  ["a list that names a function", [axios.getAdapter("http")]],
])("the adapter is %s", async (_, adapter) => {
  const server = await upstream();
  const { api, setAccessToken } = rotate(axios.create({ baseURL: server.url, adapter }));
  setAccessToken("old");
  expect((await api.post("/x", { a: 1 })).data).toEqual({ authorization: "Bearer good-1", body: '{"a":1}' });
  expect(server.count(REFRESH)).toBe(1);
});
