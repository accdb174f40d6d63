import axios, {
  AxiosError,
  CanceledError,
  type AxiosAdapter,
  type AxiosInstance,
  type AxiosRequestConfig,
  type AxiosResponse,
  type InternalAxiosRequestConfig,
} from "axios";
import { allowed, endpointOf, exchange, here, type Outcome as OutcomeOf, type RefusalRules, resolve } from "./request.js";
import { steady } from "./clock.js";
import { type Patience, TokenSession } from "./session.js";
import { RefreshError, type SessionOptions } from "./types.js";

declare module "axios" {
  interface AxiosRequestConfig {
    /** Sends this request without the token and hands its 401 back. */
    skipAuth?: boolean;
    /** Sends this request once only; its 401 starts a refresh for those who follow and is handed back. */
    skipReplay?: boolean;
  }
}

/** What an adapter is given. Before axios 1.2 that has no name of its own, and headers that may be missing. */
type Sending = Parameters<AxiosAdapter>[0] & { headers: NonNullable<Parameters<AxiosAdapter>[0]["headers"]> };

/** Options of {@link createTokenRotator}. */
export interface TokenRotatorOptions<TRefreshData = unknown> extends SessionOptions<TRefreshData>, RefusalRules<AxiosResponse> {
  /** Base URL for the created axios instance. */
  baseURL?: string;
  /** Attach to this instance instead of creating one. */
  axiosInstance?: AxiosInstance;
  /** Extra config for the created instance; ignored with `axiosInstance`. */
  axiosConfig?: AxiosRequestConfig;
  /** Asked with a POST without body. Default: `/api/auth/refresh`. */
  refreshEndpoint?: string;
  /** Puts the token into a request. Default: `Authorization: Bearer <token>`. */
  applyToken?: (config: Sending, token: string) => void;
  /** Origins beside that of the base URL that the token may be sent to. */
  origins?: string[];
  /** A session that other clients use too. The hooks are those it was made with. */
  session?: TokenSession<TRefreshData>;
}

/** What {@link createTokenRotator} returns. */
export interface TokenRotator<TRefreshData = unknown> {
  /** The axios instance with the rotation attached. */
  api: AxiosInstance;
  /** A sign-in, or with `null` a sign-out. */
  setAccessToken: TokenSession<TRefreshData>["setAccessToken"];
  /** The token of now. */
  getAccessToken: () => string | null;
  /** Refreshes now, or joins the refresh in the air. */
  refresh: () => Promise<string>;
  /** Listens to what happens; returns what ends that. */
  on: TokenSession<TRefreshData>["on"];
  /** Detaches from the instance and listens to nothing any more. */
  dispose: () => void;
  /** To share with `createFetch` and other rotators. */
  session: TokenSession<TRefreshData>;
}

/**
 * Attaches token rotation to an axios instance: one refresh for all who need it, and each refused request sent once more.
 *
 * Without the type of the refresh response, the hooks may read any field of it.
 */
export function createTokenRotator(options: TokenRotatorOptions<Record<string, any>>): TokenRotator<Record<string, any>>;
export function createTokenRotator<TRefreshData = unknown>(options: TokenRotatorOptions<TRefreshData>): TokenRotator<TRefreshData>;
export function createTokenRotator<TRefreshData = unknown>(options: TokenRotatorOptions<TRefreshData>): TokenRotator<TRefreshData> {
  const api =
    options.axiosInstance ??
    axios.create({ withCredentials: true, ...options.axiosConfig, baseURL: options.baseURL ?? options.axiosConfig?.baseURL });
  const endpoint = options.refreshEndpoint ?? "/api/auth/refresh";
  const session = options.session ?? new TokenSession<TRefreshData>(options, (signal) => askFor(api, endpoint, signal));
  const attached = api.interceptors.request.use(rotation(api, endpoint, session as TokenSession, options as TokenRotatorOptions));
  return {
    api,
    session,
    setAccessToken: session.setAccessToken,
    getAccessToken: session.getAccessToken,
    refresh: () => session.refresh(),
    on: (listener) => session.on(listener),
    dispose: () => {
      api.interceptors.request.eject(attached);
      if (!options.session) session.dispose();
    },
  };
}

/** The refresh itself: past every interceptor, with the instance's own address, headers and agents. */
async function askFor<TRefreshData>(api: AxiosInstance, endpoint: string, signal: AbortSignal): Promise<TRefreshData> {
  const { headers, transformRequest: _, transformResponse: __, ...defaults } = api.defaults;
  const common = { ...headers.common } as Record<string, string>;
  for (const name of Object.keys(common)) if (name.toLowerCase() === "authorization") delete common[name];
  const adapter = originals.get(defaults.adapter as AxiosAdapter) ?? defaults.adapter;
  try {
    const answer = await axios.create({ ...defaults, adapter, headers: common } as AxiosRequestConfig).request<TRefreshData>({
      method: "post",
      url: endpoint,
      withCredentials: true,
      maxRedirects: 0,
      signal,
      validateStatus: (status) => status >= 200 && status < 300,
    });
    return answer.data;
  } catch (error) {
    const response = (error as AxiosError).response;
    throw RefreshError.ofStatus(response?.status ?? 0, error, response?.headers?.["retry-after"]);
  }
}

/** The adapter that each wrapped one stands for, so that a client that sends a config again wraps it anew. */
const originals = new WeakMap<AxiosAdapter, InternalAxiosRequestConfig["adapter"]>();

type Outcome = OutcomeOf<AxiosResponse>;

/** What wraps the adapter of a request, so that the token is added below every interceptor and transform. */
function rotation(api: AxiosInstance, endpoint: string, session: TokenSession, options: TokenRotatorOptions) {
  const { applyToken, origins = [] } = options;

  const mayKnow = (url: URL | undefined) => allowed(url, [api.defaults.baseURL ?? here() ?? endpoint, ...origins]);

  /** Sends a copy of the request, so that the token is in no config that an error or a retry would carry on. */
  const attempt = async (config: InternalAxiosRequestConfig, inner: InternalAxiosRequestConfig["adapter"], token: string | null): Promise<Outcome> => {
    // Of the same class, without its constructor, which would look at every name and value again.
    const headers: typeof config.headers = Object.assign(Object.create(Object.getPrototypeOf(config.headers)), config.headers);
    const copy = { ...config, headers };
    if (token !== null) {
      let carried = ["authorization"];
      if (applyToken) {
        applyToken(copy, token);
        carried = Object.keys(headers).filter((name) => headers[name] !== config.headers[name]).map((name) => name.toLowerCase());
      } else headers.set("Authorization", `Bearer ${token}`);
      // Where Node follows a redirect, it is decided anew where the token may go.
      copy.beforeRedirect = (to, ...rest) => {
        config.beforeRedirect?.(to, ...rest);
        if (mayKnow(resolve(to.href))) return;
        for (const name in to.headers) if (carried.includes(name.toLowerCase())) delete to.headers[name];
      };
    }
    let outcome: Outcome;
    try {
      outcome = { response: await adapterOf(inner, copy)(copy) };
    } catch (error) {
      if (typeof error === "object" && error !== null && (error as AxiosError).config === copy) (error as AxiosError).config = config;
      outcome = { error, response: (error as AxiosError | undefined)?.response };
    }
    if (outcome.response) outcome.response.config = config;
    return outcome;
  };

  const send = async (config: InternalAxiosRequestConfig, inner: InternalAxiosRequestConfig["adapter"]): Promise<AxiosResponse> => {
    const url = resolve(config.url, config.baseURL);
    const own = !applyToken && config.headers.has("Authorization");
    if (config.skipAuth || own || endpointOf(url) === endpointOf(resolve(endpoint, api.defaults.baseURL)) || !mayKnow(url)) {
      return given(await attempt(config, inner, null));
    }
    const outcome = exchange(session, options, {
      method: config.method,
      url,
      patience: patienceOf(config),
      once: () => (config.skipReplay ? "skip-replay" : isStream(config.data) && "stream-body"),
      send: ({ token }, probe) =>
        attempt(probe ? { ...config, method: "get", url: probe, params: undefined, data: undefined } : config, inner, token),
      header: ({ headers }, name) => headers?.[name],
      text: async ({ data }, limit) => (typeof data === "string" && data.length <= limit ? data : undefined),
    });
    return given(await outcome.catch((error: unknown) => {
      // Waiting ends with the error that axios itself would end the request with.
      const aborted = config.signal?.aborted || (config.cancelToken as { reason?: unknown } | undefined)?.reason;
      throw aborted ? new CanceledError(undefined, undefined, config) : error;
    }));
  };

  return (config: InternalAxiosRequestConfig): InternalAxiosRequestConfig => {
    const wrapped = config.adapter as AxiosAdapter;
    const inner = originals.has(wrapped) ? originals.get(wrapped) : config.adapter;
    const adapter: AxiosAdapter = (final) => send(final, inner);
    originals.set(adapter, inner);
    config.adapter = adapter;
    return config;
  };
}

function given(outcome: Outcome): AxiosResponse {
  if (outcome.error !== undefined) throw outcome.error;
  return outcome.response!;
}

function adapterOf(inner: InternalAxiosRequestConfig["adapter"], config: InternalAxiosRequestConfig): AxiosAdapter {
  if (typeof inner === "function") return inner;
  const { getAdapter } = axios as { getAdapter?: (adapter: unknown, config: unknown) => AxiosAdapter };
  if (getAdapter) return getAdapter(inner, config);
  // Before axios 1.5 only axios itself finds an adapter by its name: an instance that transforms nothing.
  return (final) => {
    const bare = axios.create({ transformRequest: [], transformResponse: [] });
    return bare.request({ ...final, adapter: inner, transformRequest: [], transformResponse: [] });
  };
}

function patienceOf(config: InternalAxiosRequestConfig): Patience {
  const patience: Patience = { signal: config.signal as AbortSignal | undefined };
  const token = config.cancelToken;
  if (token && !patience.signal) {
    const controller = new AbortController();
    void token.promise.then((reason) => controller.abort(reason));
    if ((token as { reason?: unknown }).reason) controller.abort();
    patience.signal = controller.signal;
  }
  if (config.timeout) {
    patience.until = steady() + config.timeout;
    patience.timedOut = () =>
      new AxiosError(config.timeoutErrorMessage ?? `timeout of ${config.timeout}ms exceeded`, "ECONNABORTED", config);
  }
  return patience;
}

/** A body that is gone once it is sent. */
function isStream(data: unknown): boolean {
  if (typeof data !== "object" || data === null) return false;
  const { pipe, getReader } = data as { pipe?: unknown; getReader?: unknown };
  return typeof pipe === "function" || typeof getReader === "function";
}
