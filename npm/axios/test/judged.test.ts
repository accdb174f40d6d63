// What a rule for bodies may not cost: the token, or the answer.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createFetchSession } from "../src/fetch.js";
import type { RotatorEvent } from "../src/types.js";
import { FACES } from "./faces.js";
import { json, type Server, startServer } from "./servers.js";

const isEmptyList = (body: string) => JSON.parse(body).length === 0;

describe.each(["axios", "fetch"] as const)("%s", (face) => {
  let server: Server;
  let refreshes = 0;
  beforeEach(async () => {
    refreshes = 0;
    server = await startServer((request, response) => {
      if (request.url === "/api/auth/refresh") {
        refreshes++;
        return json(response, 503, {});
      }
      const good = request.headers.authorization === "Bearer good";
      json(response, good ? 200 : 401, request.url === "/search" ? [] : [1]);
    });
  });
  afterEach(() => server.stop());

  const client = () => {
    const { send, session } = FACES[face]({
      baseURL: server.url, onRefreshSuccess: (data) => data, refusedWhenBody: { refused: isEmptyList },
    });
    session.setAccessToken("good");
    return { send, session };
  };

  test.each([[false], [true]])("a match that cannot be confirmed displaces no token (sent once: %s)", async (skipReplay) => {
    const { send, session } = client();
    expect((await send("/search", { skipReplay })).status).toBe(200);
    await expect.poll(() => refreshes).toBe(1);
    await session.refresh().catch(() => undefined);
    expect((await send("/other")).status).toBe(200);
  });

  test("a predicate that throws costs no answer: a HEAD has no body", async () => {
    const { send, session } = client();
    const events: RotatorEvent[] = [];
    session.on((event) => events.push(event));
    expect((await send("/other", { method: "HEAD" })).status).toBe(200);
    expect(events).toContainEqual(expect.objectContaining({ type: "hook-failed", hook: "refusedWhenBody" }));
    expect(refreshes).toBe(0);
  });
});

const session = (answer: () => Response) => {
  const created = createFetchSession<any>({
    baseURL: "https://api.example.com", onRefreshSuccess: (data) => data, refusedWhenBody: { refused: isEmptyList },
    fetch: async (input) => (String(input).endsWith("/refresh") ? Response.json({ accessToken: "newer" }) : answer()),
  });
  created.setAccessToken("good");
  return created;
};

test("a JSON answer that stays open reaches its caller", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const body = () => new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode("{\"seq\":1}\n")) });
    const feed = session(() => new Response(body(), { headers: { "content-type": "application/json" } }));
    let answer: Response | undefined;
    void feed.fetch("/changes").then((response) => (answer = response));
    await vi.advanceTimersByTimeAsync(60_000);
    const { value } = await answer!.body!.getReader().read();
    expect(new TextDecoder().decode(value)).toBe("{\"seq\":1}\n");
  } finally {
    vi.useRealTimers();
  }
});

test("a body is judged where responses have no streams, as in React Native", async () => {
  const native = (): Response => {
    const clone = Object.defineProperty(Response.json([]), "body", { value: undefined });
    return Object.defineProperties(Response.json([]), { body: { value: undefined }, clone: { value: () => clone } });
  };
  const searching = session(native);
  const events: string[] = [];
  searching.on(({ type }) => events.push(type));
  expect(await (await searching.fetch("/search")).json()).toEqual([]);
  expect(events).toEqual(["refresh-started", "refreshed"]);
});
