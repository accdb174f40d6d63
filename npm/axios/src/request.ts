/** What the axios and the fetch side decide alike about a request. */
import type { HandBackReason } from "./types.js";

const reasons = new WeakMap<object, HandBackReason>();

/** Why this refused response, or the error that carries it, was not answered with a replay. */
export function handBackReason(refused: unknown): HandBackReason | undefined {
  if (typeof refused !== "object" || refused === null) return undefined;
  const { response } = refused as { response?: object };
  return reasons.get(refused) ?? (response && reasons.get(response));
}

export function handBack<T extends object>(refused: T, reason: HandBackReason): T {
  reasons.set(refused, reason);
  return refused;
}

/** The page's own address; what relative addresses are relative to. */
export function here(): string | undefined {
  return typeof location === "undefined" || location.origin === "null" ? undefined : location.href;
}

/** `url` as the client would ask for it, under `base`; `undefined` where that says no address. */
export function resolve(url: string | undefined, base?: string): URL | undefined {
  const absolute = /^([a-z][a-z\d+\-.]*:)?\/\//i.test(url ?? "");
  const whole = absolute || !base ? (url ?? "") : url ? `${base.replace(/\/?\/$/, "")}/${url.replace(/^\/+/, "")}` : base;
  try {
    return new URL(whole, here() ?? "relative://");
  } catch {
    return undefined;
  }
}

/** Where a token may go: https or loopback, or the page's own origin. */
export function allowed(url: URL | undefined, origins: (string | undefined)[]): boolean {
  if (!url) return false;
  if (url.protocol === "relative:") return true;
  const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname) || url.hostname.endsWith(".localhost");
  const page = here();
  const own = page !== undefined && url.origin === new URL(page).origin;
  if (url.protocol !== "https:" && !loopback && !own) return false;
  return origins.some((origin) => resolve(origin)?.origin === url.origin);
}

/** Whether this is exactly the refresh endpoint: same origin and path. */
export function same(a: URL | undefined, b: URL | undefined): boolean {
  return !!a && !!b && a.protocol + a.host + a.pathname === b.protocol + b.host + b.pathname;
}

/** Which answers refuse the token; the same for axios and fetch, and for the Rust clients. */
export interface RefusalRules<TResponse> {
  /** Statuses that refuse the token, in place of 401. */
  statusCodes?: number[];
  /** Statuses that refuse the token too. */
  alsoStatusCodes?: number[];
  /** Decides instead of the statuses. It must not read the body. */
  shouldRefresh?: (response: TResponse) => boolean;
}

/** Whether this answer refuses the token. */
export function refuses<TResponse extends { status: number }>(rules: RefusalRules<TResponse>, response: TResponse): boolean {
  const { shouldRefresh, statusCodes = [401], alsoStatusCodes = [] } = rules;
  return shouldRefresh ? shouldRefresh(response) : statusCodes.includes(response.status) || alsoStatusCodes.includes(response.status);
}

/** Origin and path, by which a session remembers an endpoint that refuses replays; empty for no address. */
export function endpointOf(url: URL | undefined): string {
  return url ? url.origin + url.pathname : "";
}

/** Whether an answer with this status shows that the token was accepted. */
export function isEvidence(status: number): boolean {
  return (status >= 200 && status < 300) || status === 304;
}
