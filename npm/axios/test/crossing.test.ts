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

test("a late message with a token of the session before changes nothing", async () => {
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
  const one = tab(async () => `new-${++asked}`);
  one.setAccessToken("a");
  await one.refresh();
  const { heard } = eavesdropper();
  const late = tab();
  // Before the other tabs answer its greeting, a tab asks none of them.
  await expect.poll(() => heard.map(({ type }) => type)).toContain("here");
  expect(await late.refresh()).toBe("new-1");
  one.setAccessToken(null);
  await expect.poll(tokens).toEqual([null, null]);
});

test("a parser is waited for without the lock, and once it fails the next tab refreshes", async () => {
  let asked = 0;
  const exchange = async () => `new-${++asked}`;
  let parse!: { with: (token: string) => void; not: (error: Error) => void };
  const parsed = () => new Promise<string>((resolve, reject) => (parse = { with: resolve, not: reject }));
  const slow = new TokenSession<string>({ shareAcrossTabs: "app", onRefreshSuccess: parsed }, exchange);
  sessions.push(slow);
  const other = tab(exchange);
  slow.setAccessToken("a");
  await expect.poll(tokens).toEqual(["a", "a"]);

  const { heard } = eavesdropper();
  const sent = (wanted: string) => heard.filter(({ type }) => type === wanted).length;
  const first = slow.refresh();
  await expect.poll(() => sent("coming")).toBe(1);
  const second = other.refresh();
  // The tab has given the lock back: the next tab that asks for the lock has it at once.
  await navigator.locks.request("token-rotator:app", {}, () => undefined);
  parse.with("new-1");
  expect(await Promise.all([first, second])).toEqual(["new-1", "new-1"]);
  expect(asked).toBe(1);

  const third = slow.refresh().catch((error: Error) => error.message);
  await expect.poll(() => sent("coming")).toBe(2);
  const fourth = other.refresh();
  parse.not(new Error("no token in it"));
  expect(await third).toContain("could not be read");
  expect(await fourth).toBe("new-3");
  await expect.poll(tokens).toEqual(["new-3", "new-3"]);
});
