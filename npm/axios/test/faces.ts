// One way to send requests with axios and with fetch, for tests that hold both to the same property.
import { type AxiosAdapter, type AxiosHeaders, AxiosError } from "axios";
import { createTokenRotator, type RefusalRules, type SessionOptions } from "../src/index.js";
import { createFetchSession, type TokenSession } from "../src/fetch.js";

export interface Sent {
  method?: string;
  skipReplay?: boolean;
}

/** A client with its session. */
export interface Face {
  session: TokenSession;
  send(path: string, sent?: Sent): Promise<{ status: number; body: string }>;
}

export type FaceOptions = SessionOptions<any> & Omit<RefusalRules<any>, "shouldRefresh"> & {
  baseURL: string;
  shouldRefresh?: (response: { status: number }) => boolean;
};

/** A request below the client, answered in memory. */
export type Upstream = (path: string, authorization: string | null) => { status: number; body?: unknown } | Promise<{ status: number; body?: unknown }>;

/** Without an upstream in memory, requests go over the network. */
export const FACES: Record<"axios" | "fetch", (options: FaceOptions, upstream?: Upstream) => Face> = {
  axios(options, upstream) {
    const adapter: AxiosAdapter = async (config) => {
      const { pathname } = new URL(config.url!, config.baseURL);
      const { status, body = {} } = await upstream!(pathname, ((config.headers as AxiosHeaders).get("Authorization") as string) ?? null);
      const response = { status, data: JSON.stringify(body), statusText: "", headers: {}, config };
      if (config.validateStatus!(status)) return response;
      throw new AxiosError("refused", "ERR_BAD_REQUEST", config, undefined, response);
    };
    const { api, session } = createTokenRotator<any>({ ...options, axiosConfig: upstream ? { adapter } : { adapter: "http" } });
    return {
      session,
      async send(url, sent) {
        const { status, data } = await api.request({ ...sent, url, validateStatus: () => true, transformResponse: [(data) => data] });
        return { status, body: String(data) };
      },
    };
  },
  fetch(options, upstream) {
    const answer: typeof fetch = async (input, init) => {
      const { status, body = {} } = await upstream!(new URL(String(input)).pathname, new Headers(init?.headers).get("authorization"));
      return Response.json(body, { status });
    };
    const session = createFetchSession<any>({ ...options, ...(upstream && { fetch: answer }) });
    return {
      session,
      async send(path, sent) {
        const response = await session.fetch(path, sent as RequestInit);
        return { status: response.status, body: await response.text() };
      },
    };
  },
};
