import { RefreshError } from "./types.js";

/** Messages between tabs, in memory only. */
export type Message =
  /** `received`: within a tab by its own clock of lifetimes, between tabs by the wall clock at the time of sending. */
  | { type: "token"; token: string; lifetime: number; received: number }
  /** Tabs of an older version leave its lifetime out. */
  | { type: "sign-in"; token: string; lifetime?: number; received?: number }
  | { type: "sign-out" }
  | { type: "hello" | "here" }
  /** The endpoint has answered, and the token is being read out of it; or it could not be. */
  | { type: "coming" | "none" }
  /** What do you hold? */
  | { type: "ask" };

/** The other tabs of this name. */
export interface Neighbours {
  tell(message: Message): void;
  /**
   * Runs `ask` while no other tab does, and then `read`, which is the user's, while none has to wait for the lock; unless
   * one has brought a token newer than `held` meanwhile: then `adopt`.
   */
  alone<A, T>(
    held: string | null,
    ask: () => Promise<A>,
    read: (answer: A) => Promise<T>,
    adopt: (token: string, lifetime: number, received: number) => void,
    signal: AbortSignal,
  ): Promise<T | undefined>;
  close(): void;
}

interface Side {
  token(): string | null;
  adopt(token: string, lifetime: number, received: number): void;
  signIn(token: string, lifetime?: number, received?: number): void;
  signOut(): void;
  /** How far the wall clock is ahead of this tab's clock of lifetimes now. */
  ahead(): number;
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
  // Another tab is reading its answer; this one is.
  let coming = false;
  let reading = false;
  // Of which session a message speaks. Every sign-in and sign-out, of whatever tab, begins a later one.
  let epoch = 0;
  const say = (message: Message & { received?: number }) =>
    channel.postMessage({ ...message, epoch, received: message.received! + side.ahead() });
  channel.onmessage = ({ data }: MessageEvent<Message & { epoch: number; received?: number }>) => {
    data.received! -= side.ahead();
    company = true;
    if (data.type === "sign-in" || data.type === "sign-out") {
      // Of two that crossed, every tab keeps the later.
      if (data.epoch <= epoch) return;
      epoch = data.epoch;
      last = undefined;
      coming = false;
      heard?.();
      if (data.type === "sign-in") side.signIn(data.token, data.lifetime, data.received);
      else side.signOut();
      return;
    }
    // A tab that was opened later takes over the session of the tabs that were open.
    epoch ||= data.epoch;
    if (data.type === "hello") say({ type: "here" });
    else if (data.type === "ask") {
      if (reading) say({ type: "coming" });
      else if (last && last.token === side.token()) say(last);
    } else if (data.type !== "here" && data.epoch === epoch) {
      coming = data.type === "coming";
      if (data.type === "token") last = data;
      heard?.();
      if (data.type === "token") side.adopt(data.token, data.lifetime, data.received);
    }
  };
  say({ type: "hello" });
  const newer = (held: string | null) => (last && last.token !== held ? last : undefined);
  return {
    tell(message) {
      reading = false;
      last = message.type === "token" ? message : undefined;
      if (!last) epoch = Math.max(Date.now(), epoch + 1) + Math.random();
      say(message);
    },
    async alone(held, ask, read, adopt, signal) {
      const adopted = async () => {
        if (company && !coming && !newer(held)) {
          await new Promise<void>((resolve) => {
            setTimeout(resolve, ANSWER);
            heard = () => (coming || newer(held)) && resolve();
            say({ type: "ask" });
          });
        }
        const brought = newer(held);
        if (brought) adopt(brought.token, brought.lifetime, brought.received);
        return brought;
      };
      for (;;) {
        // The wait for the lock ends with the flight, with what another tab brings, or with its time.
        const wait = new AbortController();
        const end = () => wait.abort();
        let granted = false;
        heard = () => newer(held) && end();
        signal.addEventListener("abort", end);
        const timer = setTimeout(end, patience);
        let brought: { answer: Awaited<ReturnType<typeof ask>> } | "coming" | undefined;
        try {
          brought = await locks.request(`token-rotator:${name}`, { signal: wait.signal }, async () => {
            granted = true;
            clearTimeout(timer);
            if (await adopted()) return undefined;
            if (coming) return "coming";
            // A request that its flight has given up keeps no other tab waiting.
            const givenUp = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
            const answer = await Promise.race([ask(), givenUp]);
            reading = true;
            say({ type: "coming" });
            return { answer };
          });
        } catch (error) {
          // Without the lock no refresh token is spent: what the holder did with it is not known.
          if (granted || signal.aborted) throw error;
          if (await adopted()) return undefined;
          throw new RefreshError(`another tab has been refreshing for ${patience} ms`, "transient");
        } finally {
          clearTimeout(timer);
          heard = undefined;
        }
        if (!brought) return undefined;
        if (brought !== "coming") {
          try {
            return await read(brought.answer);
          } finally {
            if (reading) {
              reading = false;
              say({ type: "none" });
            }
          }
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, patience);
          heard = () => {
            if (coming) return;
            clearTimeout(timer);
            resolve();
          };
          signal.addEventListener("abort", () => resolve());
        });
        coming = false;
        if (signal.aborted) throw signal.reason;
      }
    },
    close: () => channel.close(),
  };
}
