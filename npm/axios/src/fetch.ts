import { allowed, endpointOf, exchange, here, type RefusalRules, resolve } from "./request.js";
import { type Ticket, TokenSession } from "./session.js";
import { RefreshError, type SessionOptions } from "./types.js";

export { type BodyRule, handBackReason, type RefusalRules } from "./request.js";
export { type Patience, TokenSession } from "./session.js";
export { type Ending, type HandBackReason, type NewToken, type Purpose, RefreshError, type RotatorEvent, type SessionOptions } from "./types.js";

/** How {@link createFetch} treats requests. */
export interface FetchOptions extends RefusalRules<Response> {
  /** What relative addresses stand under, and where the token may go. Default: the page's own origin. */
  baseURL?: string;
  /** Origins beside that of the base URL that the token may be sent to. */
  origins?: string[];
  /** This address goes out as it is. Default: `/api/auth/refresh`. */
  refreshEndpoint?: string;
  /**
   * Puts the token into a request. Default: `Authorization: Bearer <token>`. With another header a redirect is an
   * error, unless the `init` of a request says `redirect`: fetch would carry that header on to any origin.
   */
  applyToken?: (headers: Headers, token: string) => void;
  /** How many bytes of a `ReadableStream` body are kept to send it again. Default: 65 536. */
  streamLimit?: number;
  /** The fetch below. Default: the global one. */
  fetch?: typeof fetch;
}

/** Options of {@link createFetchSession}. */
export interface FetchSessionOptions<TRefreshData = unknown> extends SessionOptions<TRefreshData>, FetchOptions {}

/** A session with a fetch of its own. */
export interface FetchSession<TRefreshData = unknown> extends TokenSession<TRefreshData> {
  /** `fetch`, with the token, and each refused request sent once more. */
  fetch: typeof fetch;
}

/**
 * A session without axios: asks `refreshEndpoint` with a POST without body, cookies included.
 *
 * Without the type of the refresh response, the hooks may read any field of it.
 */
export function createFetchSession(options: FetchSessionOptions<Record<string, any>>): FetchSession<Record<string, any>>;
export function createFetchSession<TRefreshData = unknown>(options: FetchSessionOptions<TRefreshData>): FetchSession<TRefreshData>;
export function createFetchSession<TRefreshData = unknown>(options: FetchSessionOptions<TRefreshData>): FetchSession<TRefreshData> {
  const endpoint = resolve(options.refreshEndpoint ?? "/api/auth/refresh", options.baseURL);
  const session = new TokenSession<TRefreshData>(options, async (signal) => {
    let answer: Response;
    try {
      answer = await (options.fetch ?? fetch)(String(endpoint), { method: "POST", credentials: "include", redirect: "manual", signal });
    } catch (error) {
      throw RefreshError.ofStatus(0, error);
    }
    if (!answer.ok) throw RefreshError.ofStatus(answer.type === "opaqueredirect" ? 302 : answer.status, answer, answer.headers.get("retry-after"));
    try {
      return (await answer.json()) as TRefreshData;
    } catch (error) {
      throw new RefreshError("the refresh response could not be read", "uncertain", error);
    }
  });
  return Object.assign(session, { fetch: createFetch(session as TokenSession, options) });
}

/** A `fetch` on this session. `skipAuth` and `skipReplay` are known in its `init`. */
export function createFetch(session: TokenSession<any>, options: FetchOptions = {}): typeof fetch {
  const endpoint = resolve(options.refreshEndpoint ?? "/api/auth/refresh", options.baseURL);
  const origins = [options.baseURL ?? here() ?? options.refreshEndpoint, ...(options.origins ?? [])];
  const rotating = async (input: RequestInfo | URL, init: RotatingInit = {}): Promise<Response> => {
    const request = input instanceof Request ? input : undefined;
    const url = request ? resolve(request.url) : resolve(String(input), options.baseURL);
    const { skipAuth, skipReplay, ...plain } = init;
    const body = new Body(request, plain, options.streamLimit ?? 65_536);
    const send = (ticket?: Ticket, probe?: string) => {
      const headers = new Headers(init.headers ?? request?.headers);
      if (ticket?.token) {
        if (options.applyToken) options.applyToken(headers, ticket.token);
        else headers.set("Authorization", `Bearer ${ticket.token}`);
      }
      // Fetch would carry a header that it does not know as a secret on to any origin.
      const guard: RequestInit = ticket?.token && options.applyToken ? { redirect: "error" } : {};
      const [target, rest] = probe ? [probe, { method: "GET", body: undefined }] : body.next();
      return (options.fetch ?? fetch)(target ?? String(url ?? input), { ...guard, ...plain, ...rest, headers });
    };
    const own = !options.applyToken && new Headers(init.headers ?? request?.headers).has("Authorization");
    if (skipAuth || own || endpointOf(url) === endpointOf(endpoint) || !allowed(url, origins)) return send();
    const { response } = await exchange(session, options, {
      method: init.method ?? request?.method,
      url,
      patience: { signal: init.signal ?? request?.signal },
      once: () => (skipReplay ? "skip-replay" : !body.again() && "stream-body"),
      send: async (ticket, probe) => {
        const sent = send(ticket, probe);
        return { response: await (probe ? sent.catch(() => undefined) : sent) };
      },
      header: ({ headers }, name) => headers.get(name),
      text: textOf,
      discard: ({ body }) => void body?.cancel().catch(() => undefined),
    });
    return response!;
  };
  return rotating;
}

/** For `ky.create(...)`, or any client that takes a fetch: `ky.create({ ...kyOptions(session) })`. */
export function kyOptions(session: TokenSession<any>, options?: FetchOptions): { fetch: typeof fetch } {
  return { fetch: createFetch(session, options) };
}

/**
 * Keeps one connection (WebSocket, EventSource) on the token of now: opens it with each new token,
 * after closing the one before, and closes it with the session. Returns what ends that.
 */
export function followToken(session: TokenSession<any>, connect: (token: string) => { close(): void }): () => void {
  let connection: { close(): void } | undefined;
  let last: string | null = null;
  const follow = () => {
    const token = session.getAccessToken();
    if (token === last) return;
    last = token;
    connection?.close();
    connection = token === null ? undefined : connect(token);
  };
  follow();
  const stop = session.on(follow);
  return () => {
    stop();
    connection?.close();
  };
}

/**
 * For clients that reconnect by themselves: call what this returns before each attempt, with `true` if the
 * last token it gave was refused. Resolves with a token that is good now, after a refresh if one is due;
 * with `null` if there is none. Rejects with a {@link RefreshError} while none can be had.
 */
export function reconnectToken(session: TokenSession<any>): (refused?: boolean) => Promise<string | null> {
  let ticket: Ticket | undefined;
  return async (refused) => {
    const verdict = refused && ticket && (await session.refused(ticket, {}));
    ticket = verdict && typeof verdict !== "string" ? verdict : await session.acquire({}, true);
    return ticket.token;
  };
}

/** `RequestInit`, and what a request may ask of the rotation. */
export interface RotatingInit extends RequestInit {
  /** Sends this request without the token and hands its refusal back. */
  skipAuth?: boolean;
  /** Sends this request once only; its refusal starts a refresh for those who follow. */
  skipReplay?: boolean;
}

/** How long an answer waits for the end of its body. Longer ones pass unjudged. */
const JUDGED_TIME = 5_000;

/** The body, if it is no longer than the limit and ends in time. The response stays unread. */
async function textOf(response: Response, limit: number): Promise<string | undefined> {
  const copy = response.clone();
  const reader = copy.body?.getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const late = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, JUDGED_TIME, undefined)));
    const decoder = new TextDecoder();
    // React Native has no streams of answers.
    let text = reader ? "" : await copy.text();
    for (let done = !reader; text.length <= limit; ) {
      if (done) return text;
      const read = await Promise.race([reader!.read(), late]);
      if (!read) break;
      text += decoder.decode(read.value, { stream: true });
      done = read.done;
    }
  } catch {
    // The caller meets the same error when it reads the body.
  } finally {
    clearTimeout(timer);
  }
  void reader?.cancel().catch(() => undefined);
  return undefined;
}

/** A request's body, as often as it can be had. */
class Body {
  private sent = false;
  private kept: Uint8Array[] = [];
  private size = 0;
  private whole = false;

  constructor(
    private readonly request: Request | undefined,
    private readonly init: RequestInit,
    private readonly limit: number,
  ) {}

  /** What to send the next time: a request, or parts of an init. */
  next(): [Request | undefined, RequestInit] {
    const again = this.sent;
    this.sent = true;
    const { body } = this.init;
    if (!(body instanceof ReadableStream)) {
      // The clone goes out first, so that the caller's own request is used up as fetch would.
      return [again || !this.request?.body ? this.request : this.request.clone(), {}];
    }
    const rest = { body: again ? new Blob(this.kept as BlobPart[]) : body.pipeThrough(this.keeper()), duplex: "half" } as RequestInit;
    return [this.request, rest];
  }

  /** Whether all of it can be sent once more. */
  again(): boolean {
    return !(this.init.body instanceof ReadableStream) || (this.whole && this.size <= this.limit);
  }

  private keeper(): TransformStream<Uint8Array, Uint8Array> {
    return new TransformStream({
      transform: (chunk, controller) => {
        this.size += chunk.byteLength;
        if (this.size <= this.limit) this.kept.push(chunk.slice());
        else this.kept = [];
        controller.enqueue(chunk);
      },
      flush: () => {
        this.whole = true;
      },
    });
  }
}
