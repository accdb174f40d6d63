// The request protocol: each file of `scenarios/requests`, played with axios and with fetch over real sockets. All of
// the files apply to both. `crates/proxy/tests/requests.rs` plays them with the clients in Rust.
import { readdirSync, readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FACES, type FaceOptions } from "./faces.js";
import { json, type Server, startServer } from "./servers.js";

type Json = Record<string, any>;

const REFRESH = "/api/auth/refresh";
const home = new URL("../../../scenarios/requests/", import.meta.url);
const scenarios: Json[] = readdirSync(home).filter((name) => name.endsWith(".json"))
  .map((name) => JSON.parse(readFileSync(new URL(name, home), "utf8")));

// The clocks of the session; timers and sockets go on.
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date", "performance"] }));
afterEach(() => void vi.useRealTimers());

/** An upstream whose tokens are their generations, with the paths that the scenarios name. */
class Upstream {
  refreshes = 0;
  /** The oldest generation that is accepted. */
  oldest = 1;
  seen: { path: string; generation: number }[] = [];
  /** So many requests are held until all of them have arrived. */
  gate = 0;
  private held: (() => void)[] = [];

  expire(): void {
    this.oldest = this.refreshes + 2;
  }

  async answer(url: URL, authorization: string | undefined, response: ServerResponse): Promise<void> {
    if (url.pathname === REFRESH) return json(response, 200, { accessToken: String(++this.refreshes + 1), expiresIn: 3600 });
    const generation = Number(authorization?.slice("Bearer ".length));
    this.seen.push({ path: url.pathname, generation });
    if (this.held.length < this.gate) {
      const opened = new Promise<void>((resolve) => this.held.push(resolve));
      if (this.held.length === this.gate) {
        this.gate = 0;
        this.held.splice(0).forEach((open) => open());
      }
      await opened;
    }
    const good = generation >= this.oldest;
    const [, name, argument] = url.pathname.split("/");
    if (name === "custom-body-code") return json(response, 200, { code: good ? "OK" : "TOKEN_EXPIRED" });
    if (name === "custom-419") return json(response, good ? 200 : 419, {});
    if (name === "always-401") return json(response, 401, {});
    if (name === "challenge") {
      const status = Number(url.searchParams.get("status") ?? 401);
      return json(response, status, {}, { "www-authenticate": url.searchParams.get("value")! });
    }
    if (name === "grpc") {
      response.writeHead(200, { "content-type": "application/grpc", ...(!good && { "grpc-status": "16" }) }).end();
      return;
    }
    if (name === "download" && good) {
      response.writeHead(200, { "content-type": "application/octet-stream" }).end("\u0001".repeat(Number(argument)));
      return;
    }
    expect(name).toBe("echo");
    json(response, good ? 200 : 401, {});
  }
}

function optionsOf(rules: Json): Partial<FaceOptions> {
  const { status_codes, also_status_codes, refused_when_status, refused_when_body: rule, probe } = rules;
  return {
    ...(status_codes && { statusCodes: status_codes }),
    ...(also_status_codes && { alsoStatusCodes: also_status_codes }),
    ...(refused_when_status && { shouldRefresh: ({ status }) => status === refused_when_status }),
    ...(probe && { probe }),
    ...(rule && {
      refusedWhenBody: {
        contentType: rule.content_type,
        methods: rule.methods,
        refused: (body: string) =>
          rule.contains ? body.includes(rule.contains) : Object.entries(rule.json).every(([name, value]) => JSON.parse(body)[name] === value),
      },
    }),
  };
}

/** `[2, 1000]` is a thousand times 2. */
const generations = (sent: (number | [number, number])[]) =>
  sent.flatMap((run) => (typeof run === "number" ? [run] : Array<number>(run[1]).fill(run[0])));

let server: Server;
afterEach(() => server.stop());

describe.each(["axios", "fetch"] as const)("%s", (face) => {
  test.each(scenarios.map(({ name, ...scenario }) => [name, scenario]))("%s", async (_, { rules, steps }) => {
    const upstream = new Upstream();
    server = await startServer((request, response) =>
      upstream.answer(new URL(request.url!, "http://127.0.0.1"), request.headers.authorization, response));
    const { send, session } = FACES[face]({
      baseURL: server.url,
      onRefreshSuccess: (data) => data,
      ...optionsOf(rules),
    });
    session.setAccessToken("1", { expiresIn: 3600 });
    for (const [number, step] of (steps as Json[]).entries()) {
      const what = `step ${number}`;
      if (step.expire) upstream.expire();
      else if (step.advance) vi.advanceTimersByTime(step.advance * 1000);
      else {
        upstream.seen = [];
        const one = () => send(step.send, { ...(step.method && { method: step.method }), ...(step.once && { skipReplay: true }) });
        const answers = [];
        if (step.at_once) {
          upstream.gate = step.at_once;
          answers.push(...(await Promise.all(Array.from({ length: step.at_once }, one))));
        } else for (let time = 0; time < (step.times ?? 1); time++) answers.push(await one());
        for (const { status, body } of answers) {
          expect(status, what).toBe(step.status);
          if (step.length !== undefined) expect(body.length, what).toBe(step.length);
        }
        const path = step.send.split("?")[0];
        const reached = upstream.seen.filter((request) => request.path === path).map(({ generation }) => generation);
        if (step.at_once) reached.sort((a, b) => a - b);
        expect(reached, what).toEqual(generations(step.sent));
        if (step.refreshes !== null) expect(upstream.refreshes, what).toBe(step.refreshes);
      }
    }
  });

  test.each([
    ["a body of a type that includes JSON", "Application/Problem+JSON; charset=utf-8", 1],
    ["a body of another type", "text/json", 0],
  ])("%s", async (_, type, refreshes) => {
    const upstream = new Upstream();
    server = await startServer((request, response) => {
      if (request.url === REFRESH) return upstream.answer(new URL(REFRESH, server.url), undefined, response);
      response.writeHead(200, { "content-type": type }).end("[]");
    });
    const { send, session } = FACES[face]({
      baseURL: server.url, onRefreshSuccess: (data) => data, refusedWhenBody: { refused: (body) => body === "[]" },
    });
    session.setAccessToken("1");
    expect((await send("/x")).body).toBe("[]");
    expect(upstream.refreshes).toBe(refreshes);
  });

  test("a probe of another origin gets no token: a refresh confirms the match", async () => {
    const upstream = new Upstream();
    server = await startServer((request, response) =>
      upstream.answer(new URL(request.url!, "http://127.0.0.1"), request.headers.authorization, response));
    const other = await startServer((_, response) => json(response, 200, {}));
    const { send, session } = FACES[face]({
      baseURL: server.url, onRefreshSuccess: (data) => data, probe: `${other.url}/whoami`, refusedWhenBody: { refused: () => true },
    });
    session.setAccessToken("1");
    await send("/custom-body-code");
    expect([upstream.refreshes, other.seen]).toEqual([1, []]);
    await other.stop();
  });
});

// As `crates/rotator/src/http/challenge.rs` judges them.
const REFRESHES = 1;
const HANDED_BACK = 0;
test.each([
  ["Bearer", REFRESHES],
  ["Bearer realm=\"a, b\", error=\"invalid_token\"", REFRESHES],
  ["Bearer error=\"insufficient_scope\", scope=\"a b\"", HANDED_BACK],
  ["bearer realm=x Error = Invalid_Request", HANDED_BACK],
  ["Bearer error=\"insufficient_user_authentication\", max_age=5", HANDED_BACK],
  ["Bearer error=\"insufficient_claims\"", REFRESHES],
  ["Bearer error_description=\"error=insufficient_scope, error=\\\"invalid_request\\\"\"", REFRESHES],
  ["Basic realm=\"x\", Bearer error=\"insufficient_scope\"", HANDED_BACK],
  ["Bearer realm=\"x\", DPoP algs=\"ES256\", error=\"insufficient_scope\"", REFRESHES],
  ["Bearer realm=\"x\", Negotiate, error=\"insufficient_scope\"", REFRESHES],
  ["DPoP error=\"insufficient_scope\"", REFRESHES],
  ["Bearer error=\"insufficient_scope\", Bearer error=\"invalid_token\"", REFRESHES],
  ["Bearer realm=\"x\", Bearer error=\"invalid_request\"", HANDED_BACK],
])("the challenge %s", async (challenge, refreshes) => {
  const upstream = new Upstream();
  server = await startServer((request, response) =>
    upstream.answer(new URL(request.url!, "http://127.0.0.1"), request.headers.authorization, response));
  const { send, session } = FACES.fetch({ baseURL: server.url, onRefreshSuccess: (data) => data });
  session.setAccessToken("1");
  expect((await send(`/challenge?value=${encodeURIComponent(challenge)}`)).status).toBe(401);
  expect(upstream.refreshes).toBe(refreshes);
});

test("a challenge of scope is about the token where the request carried none, a step-up is not", async () => {
  const upstream = new Upstream();
  server = await startServer((request, response) =>
    upstream.answer(new URL(request.url!, "http://127.0.0.1"), request.headers.authorization, response));
  const { send } = FACES.fetch({ baseURL: server.url, onRefreshSuccess: (data) => data });
  await send("/challenge?value=Bearer%20error%3Dinsufficient_user_authentication");
  expect(upstream.refreshes).toBe(0);
  await send("/challenge?value=Bearer%20error%3Dinsufficient_scope");
  expect(upstream.refreshes).toBe(1);
});
