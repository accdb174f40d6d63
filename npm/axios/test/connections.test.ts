// Clients on top of fetch, and connections that outlive a token: ky, WebSocket, server-sent events.
import { once } from "node:events";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { EventSource } from "eventsource";
import ky, { HTTPError } from "ky";
import { afterEach, expect, test, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { createFetch, createFetchSession, followToken, handBackReason, kyOptions, reconnectToken, RefreshError } from "../src/fetch.js";
import { json, type Server, startServer } from "./servers.js";

const REFRESH = "POST /api/auth/refresh";
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An API, its tokens `good-1`, `good-2` and so on, of which `dead` holds those it refuses; and a session with `good-0`. */
async function world(status: () => number = () => 200) {
  const dead = new Set<string>();
  let refreshes = 0;
  let refresh = 200;
  const accepts = (token?: string) => !!token?.startsWith("good") && !dead.has(token);
  const server: Server = await startServer((request, response) => {
    if (request.url === "/api/auth/refresh") return json(response, refresh, { token: `good-${++refreshes}` });
    if (!accepts(request.headers.authorization?.slice(7))) return json(response, 401, {});
    if (request.url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      return void response.write(`retry: 1\ndata: ${request.headers.authorization}\n\n`, () => response.end());
    }
    return json(response, status(), { authorization: request.headers.authorization, body: request.body });
  });
  cleanups.push(() => server.stop());
  const session = createFetchSession<{ token: string }>({ baseURL: server.url, onRefreshSuccess: (data) => data.token });
  session.setAccessToken("good-0");
  return { server, session, dead, accepts, fail: (status: number) => (refresh = status) };
}

test("ky: fifty requests refused at once are answered after one refresh, bodies and headers as they were", async () => {
  const { server, session, dead } = await world();
  dead.add("good-0");
  const client = ky.create({ prefixUrl: server.url, ...kyOptions(session, { baseURL: server.url }) });
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => client.post("x", { json: { n } }).json<{ body: string; authorization: string }>()));
  expect(answers).toEqual(answers.map((_, n) => ({ body: `{"n":${n}}`, authorization: "Bearer good-1" })));
  expect([server.count(REFRESH), server.count("POST /x")]).toEqual([1, 100]);
});

test("ky keeps its own retries and errors: a 503 is tried again, a refusal that stays is an HTTPError with its reason", async () => {
  const statuses = [503, 503];
  const { server, session, fail } = await world(() => statuses.shift() ?? 200);
  const client = ky.create({ prefixUrl: server.url, retry: { limit: 2, delay: () => 1 }, ...kyOptions(session, { baseURL: server.url }) });
  expect((await client.put("x", { body: new URLSearchParams({ a: "b" }) }).json<{ body: string }>()).body).toBe("a=b");
  expect(server.count("PUT /x")).toBe(3);
  fail(401);
  session.setAccessToken("bad");
  const error = await client.get("x").catch((error) => error);
  expect(error).toBeInstanceOf(HTTPError);
  expect([error.response.status, handBackReason(error)]).toEqual([401, "refresh-failed"]);
});

test("a Request keeps what it asked for: keepalive, credentials, method, headers; and stays the caller's", async () => {
  const { server, session, dead } = await world();
  dead.add("good-0");
  const sent: Request[] = [];
  const spying = createFetch(session, {
    baseURL: server.url,
    fetch: (input, init) => {
      sent.push(new Request(input instanceof Request ? input.clone() : input, init && { ...init, body: undefined }));
      return fetch(input, init);
    },
  });
  const request = new Request(`${server.url}/x`, { method: "PATCH", body: "text", keepalive: true, credentials: "include", headers: { "x-own": "1" } });
  expect((await (await spying(request)).json()).body).toBe("text");
  expect(sent.map(({ method, keepalive, credentials, headers }) => [method, keepalive, credentials, headers.get("x-own")])).toEqual(
    [["PATCH", true, "include", "1"], ["PATCH", true, "include", "1"]]);
  expect(request.headers.get("authorization")).toBeNull();
});

/** A WebSocket server that takes a token as subprotocol, as browsers can send one, and closes every connection of a token that dies. */
async function sockets(accepts: (token?: string) => boolean) {
  const http: HttpServer = createServer();
  const server = new WebSocketServer({ noServer: true });
  const connected: string[] = [];
  let refused = 0;
  let waiting: (() => void)[] = [];
  const tell = () => waiting.splice(0).forEach((wake) => wake());
  http.on("upgrade", (request, socket, head) => {
    const token = request.headers["sec-websocket-protocol"];
    if (!accepts(token)) {
      refused++;
      return void socket.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    }
    server.handleUpgrade(request, socket, head, () => {
      connected.push(token!);
      tell();
    });
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  cleanups.push(async () => {
    for (const client of server.clients) client.terminate();
    http.closeAllConnections();
    http.close();
    await once(http, "close");
  });
  return {
    url: `ws://127.0.0.1:${(http.address() as AddressInfo).port}`,
    connected,
    refused: () => refused,
    cut: () => server.clients.forEach((client) => client.close(4401)),
    reached: async (count: number) => {
      while (connected.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

test("a WebSocket that reconnects gets a token that is good now before each attempt", async () => {
  const { server, session, dead, accepts } = await world();
  const upstream = await sockets(accepts);
  const token = reconnectToken(session);
  let stopped = false;
  const connect = async (refused = false): Promise<void> => {
    const socket = new WebSocket(upstream.url, (await token(refused))!);
    let opened = false;
    socket.on("open", () => (opened = true));
    socket.on("error", () => undefined);
    await new Promise<void>((resolve) => socket.on("close", () => resolve()));
    if (!stopped) await connect(!opened);
  };
  const connection = connect();
  await upstream.reached(1);

  // Cut with a token that is still good: the same one again, and no refresh.
  upstream.cut();
  await upstream.reached(2);
  expect(server.count(REFRESH)).toBe(0);

  // Known to be over: refreshed before the attempt, and nothing is refused.
  vi.useFakeTimers({ toFake: ["Date"] });
  dead.add("good-over");
  session.setAccessToken("good-over", { expiresIn: 60 });
  vi.setSystemTime(Date.now() + 61_000);
  upstream.cut();
  await upstream.reached(3);
  expect([upstream.refused(), server.count(REFRESH)]).toEqual([0, 1]);

  // Not known to be over: refused once, refreshed, connected.
  session.setAccessToken("dead");
  upstream.cut();
  await upstream.reached(4);
  expect([upstream.connected, upstream.refused(), server.count(REFRESH)]).toEqual([["good-0", "good-0", "good-1", "good-2"], 1, 2]);
  stopped = true;
  upstream.cut();
  await connection;
});

test("before a reconnect: null after a sign-out, a RefreshError while none can be had", async () => {
  const { session, fail } = await world();
  const token = reconnectToken(session);
  session.setAccessToken("dead");
  fail(503);
  expect(await token()).toBe("dead");
  await expect(token(true)).rejects.toBeInstanceOf(RefreshError);
  session.setAccessToken(null);
  expect(await token()).toBeNull();
});

test("a WebSocket that follows the token is opened anew with each, and closed with the session", async () => {
  const { session, accepts } = await world();
  const upstream = await sockets(accepts);
  const stop = followToken(session, (token) => {
    const socket = new WebSocket(upstream.url, token);
    socket.on("error", () => undefined);
    return socket;
  });
  await upstream.reached(1);
  await session.refresh();
  await upstream.reached(2);
  expect(upstream.connected).toEqual(["good-0", "good-1"]);
  stop();
});

test("server-sent events over the session's fetch: each reconnect carries the token of then", async () => {
  const { server, session, dead } = await world();
  const source = new EventSource(`${server.url}/events`, { fetch: (url, init) => session.fetch(url, init as RequestInit) });
  cleanups.push(() => source.close());
  const heard: string[] = [];
  await new Promise<void>((resolve) => {
    source.onmessage = ({ data }) => {
      heard.push(data);
      if (heard.length === 1) dead.add("good-0");
      if (heard.length === 3) resolve();
    };
  });
  expect(heard).toEqual(["Bearer good-0", "Bearer good-1", "Bearer good-1"]);
  expect(server.count(REFRESH)).toBe(1);
});
