// `shareAcrossTabs` where the page, or Node, or React Native, has nothing to share with.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { buildSync } from "esbuild";
import { afterEach, expect, test, vi } from "vitest";
import { createTokenRotator, type RotatorEvent } from "../src/index.js";
import { json, type Server, startServer } from "./servers.js";

const open: Server[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  await Promise.all(open.splice(0).map((one) => one.stop()));
});
const REFRESH = "POST /api/auth/refresh";

test.each<[string, () => void]>([
  ["no navigator", () => vi.stubGlobal("navigator", undefined)],
  ["a navigator without locks", () => vi.stubGlobal("navigator", { product: "ReactNative" })],
  ["locks without BroadcastChannel", () => {
    vi.stubGlobal("navigator", { locks: { request: () => expect.unreachable("a lock was asked for") } });
    vi.stubGlobal("BroadcastChannel", undefined);
  }],
])("%s: each session refreshes for itself, and everything else is as ever", async (_, without) => {
  without();
  let refreshes = 0;
  const server = await startServer((request, response) => {
    if (request.url === "/api/auth/refresh") return json(response, 200, { token: `good-${++refreshes}` });
    return json(response, request.headers.authorization?.includes("good") ? 200 : 401, {});
  });
  open.push(server);
  const make = () => createTokenRotator<{ token: string }>({ baseURL: server.url, shareAcrossTabs: "app", onRefreshSuccess: (data) => data.token });
  const [one, other] = [make(), make()];
  const events: RotatorEvent[] = [];
  other.on((event) => events.push(event));
  one.setAccessToken("old");
  expect([one.getAccessToken(), other.getAccessToken(), events]).toEqual(["old", null, []]);
  const answers = await Promise.all([one, one, one, other, other].map(({ api }) => api.get("/x")));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  expect(server.count(REFRESH)).toBe(2);
  one.setAccessToken(null);
  expect(other.getAccessToken()).toMatch(/^good-/);
  one.dispose();
  other.dispose();
});

test("in a Node that has both, a session that shares keeps no process from ending", async () => {
  const code = buildSync({
    stdin: {
      contents: `
        import { createFetchSession } from "./src/fetch.ts";
        Object.defineProperty(globalThis, "navigator", { value: { locks: { request: (name, options, work) => work({ name }) } } });
        const session = createFetchSession({ onRefreshSuccess: ({ token }) => token, shareAcrossTabs: "app" });
        session.setAccessToken("good");
        console.log(session.getAccessToken());
      `,
      resolveDir: new URL("..", import.meta.url).pathname,
    },
    bundle: true, format: "esm", write: false,
  }).outputFiles[0]!.text;
  // What does not end by itself is ended by the time, and fails.
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", code], { timeout: 30_000 });
  expect(stdout).toBe("good\n");
});
