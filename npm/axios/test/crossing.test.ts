// What tabs tell each other at the same moment. Two sessions of one process, on Node's BroadcastChannel, in which
// messages of one turn cross for certain; `tabs.test.ts` has the real tabs.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TokenSession } from "../src/index.js";

const sessions: TokenSession<any>[] = [];
const channels: BroadcastChannel[] = [];
let lock: Promise<unknown>;
beforeEach(() => {
  lock = Promise.resolve();
  const request = (name: string, _: unknown, work: (lock: object) => unknown) => {
    const held = lock.then(() => work({ name }));
    lock = held.catch(() => undefined);
    return held;
  };
  vi.stubGlobal("navigator", { locks: { request } });
});
afterEach(() => {
  for (const one of [...sessions.splice(0), ...channels.splice(0)]) "dispose" in one ? one.dispose() : one.close();
  vi.unstubAllGlobals();
});

function tab(exchange: () => Promise<string> = () => Promise.reject(new Error("not to be asked"))) {
  const session = new TokenSession<string>({ shareAcrossTabs: "app", onRefreshSuccess: (token) => token }, exchange);
  sessions.push(session);
  return session;
}

/** Overhears what the tabs say, and can say something itself. */
function eavesdropper() {
  const channel = new BroadcastChannel("token-rotator:app");
  channels.push(channel);
  const heard: any[] = [];
  channel.onmessage = ({ data }: any) => heard.push(data);
  return { heard, say: (message: object) => channel.postMessage(message) };
}
const tokens = () => sessions.map((session) => session.getAccessToken());

test("of two sign-ins that cross, every tab keeps the same one", async () => {
  const [one, other] = [tab(), tab(), tab()];
  one!.setAccessToken("a");
  other!.setAccessToken("b");
  expect(tokens()).toEqual(["a", "b", null]);
  await expect.poll(() => new Set(tokens()).size).toBe(1);
  expect(["a", "b"]).toContain(tokens()[0]);
  // And it stays so: nothing that is still under way turns anybody round again.
  const { heard, say } = eavesdropper();
  say({ type: "hello", epoch: 0 });
  const answers = () => heard.filter(({ type, epoch }) => type === "here" && epoch > 0);
  await expect.poll(() => answers().length).toBe(3);
  expect(new Set(answers().map(({ epoch }) => epoch)).size).toBe(1);
  expect(new Set(tokens()).size).toBe(1);
});

test("a sign-out that crosses a sign-in leaves every tab in one state", async () => {
  const [one, other] = [tab(), tab(), tab()];
  one!.setAccessToken("a");
  await expect.poll(tokens).toEqual(["a", "a", "a"]);
  one!.setAccessToken(null);
  other!.setAccessToken("b");
  await expect.poll(() => new Set(tokens()).size).toBe(1);
  expect([null, "b"]).toContain(tokens()[0]);
});

test("a token of the session before, told late, is nobody's", async () => {
  const [one] = [tab(), tab()];
  const { heard, say } = eavesdropper();
  one!.setAccessToken("a");
  await expect.poll(() => heard.find(({ type }) => type === "sign-in")).toBeDefined();
  const { epoch } = heard.find(({ type }) => type === "sign-in");
  one!.setAccessToken(null);
  one!.setAccessToken("b");
  say({ type: "token", epoch, token: "of a", lifetime: 60_000, received: Date.now() });
  say({ type: "sign-in", epoch, token: "a" });
  say({ type: "hello", epoch });
  // The answers to the last of them come after everything before it was heard.
  await expect.poll(() => heard.filter(({ type, epoch: of }) => type === "here" && of > epoch).length).toBe(2);
  expect(tokens()).toEqual(["b", "b"]);
});

test("a tab that was opened since takes the others' token in place of a refresh, and their session", async () => {
  let asked = 0;
  const one = tab(async () => `fresh-${++asked}`);
  one.setAccessToken("a");
  await one.refresh();
  const { heard } = eavesdropper();
  const late = tab();
  // Before the others have answered its greeting it would not know that there is anybody to ask.
  await expect.poll(() => heard.map(({ type }) => type)).toContain("here");
  expect(await late.refresh()).toBe("fresh-1");
  one.setAccessToken(null);
  await expect.poll(tokens).toEqual([null, null]);
});
