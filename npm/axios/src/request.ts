/**
 * The request protocol, the same for axios and fetch as for the clients in Rust: what a request carries, what its
 * answer says about the token, and what follows.
 */
import type { Patience, Ticket, TokenSession } from "./session.js";
import type { HandBackReason } from "./types.js";

/** Which answers refuse the token. */
export interface RefusalRules<TResponse> {
  /** Statuses that refuse the token, in place of 401. */
  statusCodes?: number[];
  /** Statuses that refuse the token too. */
  alsoStatusCodes?: number[];
  /** Decides instead of the status, the challenges and `grpc-status`. It must not read the body. */
  shouldRefresh?: (response: TResponse) => boolean;
  /** Bodies that refuse the token, whatever the status. */
  refusedWhenBody?: BodyRule;
  /**
   * A path of the API that a GET is sent to, with the same token, before a match of `refusedWhenBody` counts. Without
   * it, at most one refresh in 10 s confirms a match.
   */
  probe?: string;
}

/** A rule for APIs that refuse a token in the body of an answer. A match of the replay is the truth and is handed back. */
export interface BodyRule {
  /** Whether this body refuses the token. Longer bodies than 65 536 characters, and streams, pass unjudged. */
  refused: (body: string, status: number) => boolean;
  /** Answers of this type are judged. Default: `application/json`, which includes `+json` types. */
  contentType?: string;
  /** Methods beside GET and HEAD that are safe to repeat after they took effect. */
  methods?: string[];
}

/** How a client sends one request, and what it reads of the answers. */
export interface Exchange<TResponse> {
  method: string | undefined;
  url: URL | undefined;
  patience: Patience;
  /** Why the request cannot be sent twice, as far as is known by now. */
  once: () => HandBackReason | undefined | false;
  /** Sends the request with the token of the ticket, or instead a GET to this address. */
  send: (ticket: Ticket, probe?: string) => Promise<Outcome<TResponse>>;
  header: (response: TResponse, name: string) => unknown;
  /** The body, if it is text of at most so many characters. The caller can still read the body. */
  text: (response: TResponse, limit: number) => Promise<string | undefined>;
  /** The caller never sees this answer. */
  discard?: (response: TResponse) => void;
}

/** What came of a sending: an answer, an error, or an error that carries an answer. */
export interface Outcome<TResponse> {
  response?: TResponse;
  error?: unknown;
}

const JUDGED = 65_536;

/** Sends a request, and a second time with a newer token if the first answer refuses the token. */
export async function exchange<TResponse extends { status: number }>(
  session: TokenSession, rules: RefusalRules<TResponse>, request: Exchange<TResponse>,
): Promise<Outcome<TResponse>> {
  const { url, patience, once, header } = request;
  const endpoint = endpointOf(url);

  const type = (response: TResponse) => String(header(response, "content-type")).split(";")[0]!.trim().toLowerCase();
  // Where the trailers carry it, it is not known here. An answer that is not gRPC counts as one of status 0.
  const grpcStatus = (response: TResponse) =>
    /^application\/grpc\b/.test(type(response)) ? String(header(response, "grpc-status")) : "0";
  const isSuccess = ({ status }: TResponse) => status >= 200 && status < 300;
  const isEvidence = (response: TResponse) =>
    (isSuccess(response) || response.status === 304) && grpcStatus(response) === "0";

  const head = (response: TResponse, bare: boolean) => {
    const { shouldRefresh, statusCodes = [401], alsoStatusCodes = [] } = rules;
    if (shouldRefresh) return shouldRefresh(response);
    return [...statusCodes, ...alsoStatusCodes].includes(response.status)
      ? !isHopeless(String(header(response, "www-authenticate")), bare)
      : grpcStatus(response) === "16";
  };

  let doubt = false;
  const body = async (response: TResponse, ticket: Ticket) => {
    const { refusedWhenBody: rule, probe } = rules;
    if (!rule || !["GET", "HEAD", ...(rule.methods ?? [])].includes((request.method ?? "GET").toUpperCase())) return false;
    const { contentType = "application/json" } = rule;
    const found = type(response);
    if (found !== contentType && !(contentType.endsWith("/json") && found.endsWith("+json"))) return false;
    const text = await request.text(response, JUDGED);
    let matches = false;
    if (text !== undefined) await session.hook("refusedWhenBody", () => (matches = rule.refused(text, response.status)));
    if (!matches) return false;
    if (ticket.token === null) return true;
    const target = probe && url && new URL(probe, url);
    if (target && target.origin === url.origin) {
      const { response: probed } = await request.send(ticket, target.href);
      if (probed) {
        request.discard?.(probed);
        const refused = head(probed, false);
        if (refused || isSuccess(probed)) return refused;
      }
    }
    doubt = true;
    return session.mayConfirm(ticket);
  };

  const ticket = await session.acquire(patience, !!once());
  const first = await request.send(ticket);
  const { response } = first;
  if (!response) return first;
  if (!head(response, ticket.token === null) && !(await body(response, ticket))) {
    if (isEvidence(response)) session.accepted(ticket);
    return first;
  }
  const reason = once();
  const verdict = await session.refused(ticket, patience, !reason, endpoint, doubt);
  if (reason || typeof verdict === "string") {
    reasons.set(response, reason || (verdict as HandBackReason));
    return first;
  }
  request.discard?.(response);
  const second = await request.send(verdict);
  const last = second.response;
  if (last) {
    const again = head(last, verdict.token === null);
    if (again) reasons.set(last, "refused-again");
    if (again || isEvidence(last)) session.replayed(verdict, endpoint, !again);
  }
  return second;
}

/** Whether the Bearer challenges say that no newer token would help (RFC 6750 section 3.1, RFC 9470 section 3). */
function isHopeless(challenges: string, bare: boolean): boolean {
  // Of the quoted strings only single words matter, and others may contain commas.
  const plain = challenges.replace(/"(\w*)"|"(?:\\.|[^"])*"?/g, "$1");
  // A challenge begins with its scheme: a word that no equals sign follows.
  const parts = plain.split(/,(?=\s*[^\s=,]+(?:\s+[^\s=,]|\s*(?:,|$)))/);
  const codes = String(parts.map((part) => /^\s*bearer\s(?:.*?[\s,;])?error\s*=\s*(\w+)/i.exec(part)?.[1]));
  // A request without a token lacks one, whatever else it lacks.
  const hopeless = bare ? /user_authentication/i : /insufficient_(user_authentication|scope)|invalid_request/i;
  return hopeless.test(codes) && !/invalid_token/i.test(codes);
}

const reasons = new WeakMap<object, HandBackReason>();

/** Why this refused response, or the error that carries it, was not answered with a replay. */
export function handBackReason(refused: unknown): HandBackReason | undefined {
  if (typeof refused !== "object" || refused === null) return undefined;
  const { response } = refused as { response?: object };
  return reasons.get(refused) ?? (response && reasons.get(response));
}

/** The page's own address; what relative addresses are relative to. */
export function here(): string | undefined {
  return typeof location === "undefined" || location.origin === "null" ? undefined : location.href;
}

/** `url` as the client would ask for it, under `base`; `undefined` where that is no address. */
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
  const own = here() && url.origin === location.origin;
  if (url.protocol !== "https:" && !loopback && !own) return false;
  return origins.some((origin) => resolve(origin)?.origin === url.origin);
}

/** Origin and path; empty for no address. */
export function endpointOf(url: URL | undefined): string {
  return url ? url.origin + url.pathname : "";
}
