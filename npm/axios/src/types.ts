/** What the parser may return in place of the bare token. */
export interface NewToken {
  accessToken: string;
  /** Seconds from now until it expires; without it, a JWT's own `exp` counts. */
  expiresIn?: number;
}

/** How a refresh failed, and so what follows from it. */
export type Ending = "transient" | "uncertain" | "misconfigured" | "terminal";

/** What {@link TokenSession.on} tells. No event carries a token. */
export type RotatorEvent =
  | { type: "refresh-started"; purpose: "first" | "early" | "expired" | "refused" | "forced" | "look" }
  | { type: "refreshed"; adopted: boolean }
  | { type: "refresh-failed"; ending: Ending; error: RefreshError }
  | { type: "signed-in" | "signed-out"; elsewhere: boolean }
  | { type: "hook-failed"; hook: string; error: unknown };

/** Why a refused request came back with its refusal instead of being sent again. */
export type HandBackReason =
  | "stream-body"
  | "refresh-failed"
  | "session-changed"
  | "refused-again"
  | "signed-out-or-too-fresh"
  | "endpoint-refuses"
  | "skip-replay";

/** Hooks and limits that every kind of session knows. */
export interface SessionOptions<TRefreshData = unknown> {
  /** Returns the new access token from the refresh response. If it throws, that flight fails and nobody is signed out. */
  onRefreshSuccess: (data: TRefreshData) => string | NewToken | Promise<string | NewToken>;
  /** Side effects after a refresh; waiters wait for it, at most five seconds. */
  onAfterRefresh?: (data: TRefreshData) => void | Promise<void>;
  /** The session has ended (400, 401 or 403 from the refresh endpoint). Other failures are events. */
  onRefreshFailed?: (error: unknown) => void | Promise<void>;
  /** Milliseconds after which a refresh is given up. Default: 30 000. */
  refreshTimeout?: number;
  /** Milliseconds before expiry from which a request starts an early refresh. Default: 60 000, a quarter of the lifetime at most. */
  refreshBefore?: number;
  /** One refresh for all tabs of this origin that use the same name. Needs Web Locks and BroadcastChannel; without them, nothing is shared. */
  shareAcrossTabs?: string;
  /** Milliseconds to wait for another tab's refresh, before this tab's fails as transient. It never refreshes beside it. Default: 10 000. */
  lockTimeout?: number;
}

/** A refresh that failed. The same object for all who waited for it. */
export class RefreshError extends Error {
  override readonly name = "RefreshError";

  constructor(
    message: string,
    /** What follows from it. */
    readonly ending: Ending,
    /** What the endpoint, the network or the parser said. */
    readonly cause?: unknown,
    /** Milliseconds the endpoint asked to be left alone. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }

  /** A failure by the status of the refresh endpoint's answer; none of 0 means that there was no answer. */
  static ofStatus(status: number, cause: unknown, retryAfter?: string | null): RefreshError {
    const ending: Ending =
      status === 400 || status === 401 || status === 403 ? "terminal"
      : status === 404 || status === 405 ? "misconfigured"
      : !status || status === 408 || status === 425 || status === 429 || status === 503 || (status >= 300 && status < 400) ? "transient"
      : "uncertain";
    const what = status ? `the refresh endpoint answered ${status}` : "the refresh endpoint did not answer";
    const seconds = Number(retryAfter);
    const wait = !retryAfter ? undefined : seconds >= 0 ? seconds * 1000 : Math.max(0, Date.parse(retryAfter) - Date.now());
    return new RefreshError(what, ending, cause, Number.isNaN(wait) ? undefined : wait);
  }
}
