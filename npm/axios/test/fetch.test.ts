import { afterEach, expect, test } from "vitest";
import { createFetch, createFetchSession, followToken, handBackReason, type FetchSessionOptions, kyOptions } from "../src/fetch.js";
import { json, type Server, startServer } from "./servers.js";

const open: Server[] = [];
afterEach(() => Promise.all(open.splice(0).map((one) => one.stop())));

async function world(options: Partial<FetchSessionOptions<{ token: string }>> = {}, refresh = 200) {
  let attempt = 0;
  const server = await startServer((request, response) => {
    if (request.url === "/api/auth/refresh") return json(response, refresh, { token: `good-${++attempt}` });
    const header = request.headers.authorization ?? "";
    return json(response, header.includes("good") && request.url !== "/always" ? 200 : 401, { body: request.body, header });
  });
  open.push(server);
  const session = createFetchSession<{ token: string }>({ baseURL: server.url, onRefreshSuccess: (data) => data.token, ...options });
  session.setAccessToken("old");
  return { server, session };
}
const REFRESH = "POST /api/auth/refresh";
const stream = (...parts: string[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });

test("fifty refused at once: one refresh", async () => {
  const { server, session } = await world();
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => session.fetch(`/x?${n}`)));
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
  expect(server.count(REFRESH)).toBe(1);
});

test.each<[string, () => BodyInit]>([
  ["text", () => "text"],
  ["a blob", () => new Blob(["text"])],
  ["bytes", () => new TextEncoder().encode("text")],
  ["a stream within the cap", () => stream("te", "xt")],
])("%s is sent again as it was", async (_, body) => {
  const { server, session } = await world();
  const answer = await session.fetch("/x", { method: "POST", body: body(), duplex: "half" } as RequestInit);
  expect((await answer.json()).body).toBe("text");
  expect(server.seen.filter(({ line }) => line === "POST /x").map(({ body }) => body)).toEqual(["text", "text"]);
});

test("a Request is sent again with its body and its headers", async () => {
  const { server, session } = await world();
  const form = new FormData();
  form.set("a", "b");
  const answer = await session.fetch(new Request(`${server.url}/x`, { method: "POST", body: form, keepalive: true }));
  expect((await answer.json()).body).toContain('name="a"');
  expect(server.count("POST /x")).toBe(2);
});

test("statusCodes replaces 401, alsoStatusCodes adds", async () => {
  const replaced = await world({ statusCodes: [419] });
  expect((await replaced.session.fetch("/x")).status).toBe(401);
  expect(replaced.server.count(REFRESH)).toBe(0);
  const added = await world({ statusCodes: [419], alsoStatusCodes: [401] });
  expect((await added.session.fetch("/x")).status).toBe(200);
  expect(added.server.count(REFRESH)).toBe(1);
});

test("a stream beyond the cap comes back refused, with the reason", async () => {
  const { server, session } = await world({ streamLimit: 3 });
  const answer = await session.fetch("/x", { method: "POST", body: stream("te", "xt"), duplex: "half" } as RequestInit);
  expect([answer.status, handBackReason(answer)]).toEqual([401, "stream-body"]);
  expect((await answer.json()).body).toBe("text");
  await server.arrived(REFRESH, 1);
  expect((await session.fetch("/y")).status).toBe(200);
});

test("an API that always refuses: one refresh, two sends, the second refusal untouched", async () => {
  const { server, session } = await world();
  const answer = await session.fetch("/always");
  expect([answer.status, handBackReason(answer)]).toEqual([401, "refused-again"]);
  expect(await answer.json()).toMatchObject({ header: "Bearer good-1" });
  expect([server.count("GET /always"), server.count(REFRESH)]).toEqual([2, 1]);
});

test("own headers, other origins, skipAuth", async () => {
  const { server, session } = await world();
  const other = await startServer((request, response) => json(response, 401, { header: request.headers.authorization ?? null }));
  open.push(other);
  expect(await (await session.fetch(`${other.url}/x`)).json()).toEqual({ header: null });
  const basic = await session.fetch("/x", { headers: { authorization: "Basic b" } });
  expect((await basic.json()).header).toBe("Basic b");
  const skip: RequestInit & { skipAuth: boolean } = { skipAuth: true };
  expect((await (await session.fetch("/x", skip)).json()).header).toBe("");
  expect(server.count(REFRESH)).toBe(0);
});

test("an ended session: the refusal comes back, a signal ends the wait", async () => {
  let failures = 0;
  const { session } = await world({ onRefreshFailed: () => void failures++ }, 401);
  const answer = await session.fetch("/x");
  expect([answer.status, handBackReason(answer), failures, session.getAccessToken()]).toEqual([401, "refresh-failed", 1, null]);
  await expect(session.fetch("/x", { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
});

test("another fetch on the session, and a connection that follows its token", async () => {
  const { server, session } = await world();
  const connections: string[] = [];
  const stop = followToken(session, (token) => {
    connections.push(`open ${token}`);
    return { close: () => connections.push(`close ${token}`) };
  });
  const again = createFetch(session, { baseURL: server.url });
  await Promise.all([again("/x"), kyOptions(session, { baseURL: server.url }).fetch("/y")]);
  session.setAccessToken(null);
  stop();
  expect(connections).toEqual(["open old", "close old", "open good-1", "close good-1"]);
  expect(server.count(REFRESH)).toBe(1);
});

test("redirects: Authorization stays behind, and with another header one is an error unless a request says otherwise", async () => {
  const heard: (string | undefined)[] = [];
  const other = await startServer(({ headers }, response) => {
    heard.push(headers.authorization, headers["x-auth-token"] as string | undefined);
    json(response, 200, {});
  });
  const server = await startServer((_, response) => void response.writeHead(307, { location: `${other.url}/x` }).end());
  open.push(other, server);
  const rotating = (applyToken?: (headers: Headers, token: string) => void) => {
    const session = createFetchSession<{ token: string }>({ baseURL: server.url, onRefreshSuccess: (data) => data.token, applyToken });
    session.setAccessToken("good");
    return session.fetch;
  };
  expect((await rotating()("/x")).url).toBe(`${other.url}/x`);
  expect(heard).toEqual([undefined, undefined]);
  const custom = rotating((headers, token) => headers.set("X-Auth-Token", token));
  await expect(custom("/x")).rejects.toBeInstanceOf(TypeError);
  await expect(custom(new Request(`${server.url}/x`))).rejects.toBeInstanceOf(TypeError);
  expect((await custom("/x", { redirect: "manual" })).status).toBe(307);
  expect(heard).toEqual([undefined, undefined]);
});
