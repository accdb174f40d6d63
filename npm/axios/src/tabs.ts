import { RefreshError } from "./types.js";

/** What tabs tell each other, in memory only. */
export type Message =
  | { type: "token"; token: string; lifetime: number; received: number }
  | { type: "sign-in"; token: string }
  | { type: "sign-out" }
  | { type: "hello" | "here" }
  /** What do you hold? */
  | { type: "ask" };

/** The other tabs of this name. */
export interface Neighbours {
  tell(message: Message): void;
  /** Runs `ask` while no other tab does, unless one has brought a token newer than `held` meanwhile: then `adopt`. */
  alone<T>(
    held: string | null,
    ask: () => Promise<T>,
    adopt: (token: string, lifetime: number, received: number) => void,
    signal: AbortSignal,
  ): Promise<T | undefined>;
  close(): void;
}

interface Side {
  token(): string | null;
  adopt(token: string, lifetime: number, received: number): void;
  signIn(token: string): void;
  signOut(): void;
}

type Brought = Extract<Message, { type: "token" }>;

/** How long to wait for what another tab may have to say before spending the refresh token. */
const ANSWER = 150;

/** `undefined` where the page has no Web Locks or no BroadcastChannel. `patience`: milliseconds to wait for another tab's refresh. */
export function joinTabs(name: string, side: Side, patience = 10_000): Neighbours | undefined {
  const locks = typeof navigator === "undefined" ? undefined : navigator.locks;
  if (!locks || typeof BroadcastChannel === "undefined") return undefined;
  const channel = new BroadcastChannel(`token-rotator:${name}`);
  // Node has both too, where listening would keep the process from ending.
  (channel as { unref?: () => void }).unref?.();
  let company = false;
  let last: Brought | undefined;
  let heard: (() => unknown) | undefined;
  // Of which session a message speaks. Every sign-in and sign-out, of whatever tab, begins a later one.
  let epoch = 0;
  const say = (message: Message) => channel.postMessage({ ...message, epoch });
  channel.onmessage = ({ data }: MessageEvent<Message & { epoch: number }>) => {
    company = true;
    if (data.type === "sign-in" || data.type === "sign-out") {
      // Of two that crossed, every tab keeps the later.
      if (data.epoch <= epoch) return;
      epoch = data.epoch;
      last = undefined;
      if (data.type === "sign-in") side.signIn(data.token);
      else side.signOut();
      return;
    }
    // A tab that was opened since learns from the others which session is on.
    epoch ||= data.epoch;
    if (data.type === "hello") say({ type: "here" });
    else if (data.type === "ask" && last && last.token === side.token()) say(last);
    else if (data.type === "token" && data.epoch === epoch) {
      last = data;
      heard?.();
      side.adopt(data.token, data.lifetime, data.received);
    }
  };
  say({ type: "hello" });
  const newer = (held: string | null) => (last && last.token !== held ? last : undefined);
  return {
    tell(message) {
      last = message.type === "token" ? message : undefined;
      if (!last) epoch = Math.max(Date.now(), epoch + 1) + Math.random();
      say(message);
    },
    async alone(held, ask, adopt, signal) {
      const adopted = async () => {
        if (company && !newer(held)) {
          await new Promise<void>((resolve) => {
            setTimeout(resolve, ANSWER);
            heard = () => newer(held) && resolve();
            say({ type: "ask" });
          });
        }
        const brought = newer(held);
        if (brought) adopt(brought.token, brought.lifetime, brought.received);
        return brought;
      };
      // The wait for the lock ends with the flight, with what another tab brings, or with its time.
      const wait = new AbortController();
      const end = () => wait.abort();
      let granted = false;
      heard = () => newer(held) && end();
      signal.addEventListener("abort", end);
      const timer = setTimeout(end, patience);
      try {
        return (await locks.request(`token-rotator:${name}`, { signal: wait.signal }, async () => {
          granted = true;
          clearTimeout(timer);
          if (await adopted()) return undefined;
          // Given up by its flight, it must not keep the others waiting either.
          const givenUp = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
          return Promise.race([ask(), givenUp]);
        })) as Awaited<ReturnType<typeof ask>> | undefined;
      } catch (error) {
        // Without the lock no refresh token is spent: what the holder did with it is not known.
        if (granted || signal.aborted) throw error;
        if (await adopted()) return undefined;
        throw new RefreshError(`another tab has been refreshing for ${patience} ms`, "transient");
      } finally {
        clearTimeout(timer);
        heard = undefined;
      }
    },
    close: () => channel.close(),
  };
}
