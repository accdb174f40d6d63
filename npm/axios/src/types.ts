import type { Ending, Purpose } from "./core/machine.js";

export type { Ending, Purpose };

/** What the parser may return in place of the bare token. */
export interface NewToken {
  accessToken: string;
  /** Seconds from now until it expires; without it, or with 0, a JWT's own `exp` counts. */
  expiresIn?: number;
}

/** What {@link TokenSession.on} reports. No event carries a token. */
export type RotatorEvent =
  | { type: "refresh-started"; purpose: Purpose }
  | { type: "refreshed"; adopted: boolean }
  | { type: "refresh-failed"; ending: Ending; error: RefreshError }
  | { type: "signed-in" | "signed-out"; elsewhere: boolean }
  /** A new JWT had expired before it arrived: the local clock is ahead by at least so many milliseconds. */
  | { type: "clock-ahead"; by: number }
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

/** Hooks and limits of every kind of session. */
export interface SessionOptions<TRefreshData = unknown> {
  /** Returns the new access token from the refresh response. If it throws, the flight fails and the session goes on. */
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
  /** Milliseconds to wait for another tab's refresh. After that, the refresh of this tab fails as transient and sends nothing. Default: 10 000. */
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
      [400, 401, 403].includes(status) ? "terminal"
      : [404, 405].includes(status) ? "misconfigured"
      : [0, 408, 425, 429, 503].includes(status) || (status >= 300 && status < 400) ? "transient"
      : "uncertain";
    const what = `the refresh endpoint ${status ? `answered ${status}` : "did not answer"}`;
    const seconds = Number(retryAfter);
    const wait = !retryAfter ? undefined : seconds >= 0 ? seconds * 1000 : Math.max(0, Date.parse(retryAfter) - Date.now());
    return new RefreshError(what, ending, cause, Number.isNaN(wait) ? undefined : wait);
  }
}
