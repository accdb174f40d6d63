import { createMachine, type Flight as CoreFlight, Landing, type Life, type Machine, type Stamp, Step } from "./core/machine.js";
import { createClock, steady } from "./clock.js";
import { type Neighbours, joinTabs } from "./tabs.js";
import { jwtTimes } from "./jwt.js";
import { type NewToken, RefreshError, type RotatorEvent, type SessionOptions } from "./types.js";

/** What a request remembers of the session it was sent in. */
export interface Ticket extends Stamp {
  /** `null`: sent bare. */
  readonly token: string | null;
}

/** How long a caller is willing to wait. */
export interface Patience {
  signal?: AbortSignal | null;
  /** Makes the error of a wait that took too long; with it, `until` (by `steady()`) counts. */
  until?: number;
  timedOut?: () => unknown;
}

/** What becomes of a refused request. */
export type Verdict = Ticket | "refresh-failed" | "session-changed" | "signed-out-or-too-fresh" | "endpoint-refuses";

/** A refresh, with what its waiters wait for and what it failed with. */
interface Flight extends CoreFlight {
  done?: Promise<void>;
  error?: RefreshError;
}

const AFTER_HOOK = 5_000;
const CONFIRM_INTERVAL = 10_000;

/**
 * One session: the current token and the one refresh that may be in flight. The state machine decides;
 * this class keeps tokens, promises and timers.
 */
export class TokenSession<TRefreshData = unknown> {
  private readonly machine: Machine;
  /** The times of the machine: its wall clock is the clock of lifetimes. */
  private readonly now = createClock();
  private token: string | null = null;
  /** The last generation that a request was accepted with. */
  private proven = 0;
  /** The last generation that a refresh was started for to confirm a body, and when the next one may start. */
  private confirmed = 0;
  private confirmFrom = 0;
  private listeners = new Set<(event: RotatorEvent) => void>();
  private neighbours?: Neighbours;
  private cleanups: (() => void)[] = [];
  /** How far the issuer's clock is ahead by the last refreshed JWT, in milliseconds. */
  private skew = 0;

  constructor(
    private readonly options: SessionOptions<TRefreshData>,
    /** Asks the endpoint once. Rejects with a {@link RefreshError}, or with anything for a transient failure. */
    private readonly exchange: (signal: AbortSignal) => Promise<TRefreshData>,
  ) {
    // The deadline of a flight is a timer here, which gives it up for good.
    this.machine = createMachine(options.refreshBefore, Infinity);
    if (options.shareAcrossTabs) {
      this.neighbours = joinTabs(options.shareAcrossTabs, {
        token: () => (this.usable() ? this.token : null),
        adopt: (token, lifetime, received) => this.adopt(token, lifetime, received),
        ahead: () => Date.now() - this.now().wall,
        signIn: (token, lifetime, received) => this.signIn(token, lifetime ?? this.lifetime(token), true, received || undefined),
        signOut: () => this.signOut(true),
      }, options.lockTimeout);
    }
    this.catchUp();
  }

  /** The token of now; `null` after a sign-out and after the session has ended. */
  readonly getAccessToken = (): string | null => (this.machine.ended() && !this.usable() ? null : this.token);

  /** A sign-in, or with `null` a sign-out. Whatever refresh is in the air belongs to the past then. */
  readonly setAccessToken = (token: string | null, validity?: { expiresIn?: number }): void => {
    if (token === null || token === undefined) this.signOut(false);
    // A hook that sets the token that it was just given begins no new session.
    else if (token !== this.token || !this.usable()) this.signIn(token, this.lifetime(token, validity?.expiresIn), false);
  };

  /** Refreshes now, or joins the refresh in the air. Resolves with the new token; rejects with its {@link RefreshError}. */
  async refresh(patience: Patience = {}): Promise<string> {
    const step = this.machine.force(this.now());
    const flight = this.flightOf(step);
    if (!flight) throw this.errorOf(step);
    const settled = await this.settle(flight, patience);
    if (settled === Step.Use && this.token !== null) return this.token;
    throw this.errorOf(settled);
  }

  /** Calls `listener` with every event, until the returned function is called. */
  on(listener: (event: RotatorEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Listens to nothing any more. Requests in flight end as they would have. */
  dispose(): void {
    for (const cleanup of this.cleanups.splice(0)) cleanup();
    this.neighbours?.close();
    this.neighbours = undefined;
    this.listeners.clear();
  }

  /** For adapters: what to send a request with. `once`: it cannot be sent twice, so it waits for a refresh that is due. */
  async acquire(patience: Patience, once = false): Promise<Ticket> {
    const step = this.begin();
    const flight: Flight | undefined = this.machine.flight();
    const uses = step === Step.Use || step === Step.UseAndRefresh;
    if (uses && !(once && flight?.purpose === "early")) return this.ticket(this.token);
    if (!flight) {
      if (step === Step.Bare) return this.ticket(null);
      throw this.errorOf(step);
    }
    const settled = await this.settle(flight, patience);
    const same = settled !== Step.Changed;
    if (settled === Step.Use || (same && uses && this.usable())) return this.ticket(this.token);
    if (same && step === Step.Bare) return this.ticket(null);
    throw this.errorOf(settled);
  }

  /**
   * For adapters: the request of this ticket was refused. A ticket means: send it once more with that.
   * `endpoint` names its origin and path, or is empty. Without `wait` it is not sent again. If the refusal is in
   * `doubt`, the token is served until the refresh that confirms it succeeds.
   */
  async refused(ticket: Ticket, patience: Patience, wait = true, endpoint = "", doubt?: boolean): Promise<Verdict> {
    const { machine } = this;
    const now = this.now();
    // The refresh that confirms it may fail, so it does not mark the current token.
    let step =
      !doubt || !this.usable() || ticket.generation < machine.stamp().generation
        ? machine.refused(ticket, wait ? endpoint : "", !wait, now)
        : machine.ended() || now.steady < machine.coolUntil() ? Step.Fail : machine.force(now);
    const flight = this.flightOf(step);
    if (flight) {
      if (!wait) return "refresh-failed";
      step = await this.settle(flight, patience);
    }
    if (step === Step.Use) return this.ticket(this.token);
    if (step === Step.Changed) return "session-changed";
    if (step === Step.RefusedAgain) return "endpoint-refuses";
    return step === Step.HandBack ? "signed-out-or-too-fresh" : "refresh-failed";
  }

  /** For adapters: a request with this ticket was accepted. Only the first time for a token is more than a comparison. */
  accepted(ticket: Ticket): void {
    if (ticket.token === null || ticket.generation <= this.proven) return;
    this.proven = ticket.generation;
    this.machine.accepted(ticket, "", false);
  }

  /** For adapters: the replay with this ticket was accepted by its endpoint, or refused as well. */
  replayed(ticket: Ticket, endpoint: string, accepted: boolean): void {
    if (accepted) this.machine.accepted(ticket, endpoint, true);
    else this.flightOf(this.machine.refused(ticket, endpoint, true, this.now()));
  }

  /**
   * For adapters: whether a refresh may confirm that a body refuses the token of this ticket. One in 10 s may; with a
   * newer token there is none, and one for this token is shared.
   */
  mayConfirm({ generation }: Ticket): boolean {
    const { steady } = this.now();
    if (this.machine.stamp().generation > generation || this.confirmed === generation) return true;
    if (steady < this.confirmFrom) return false;
    this.confirmed = generation;
    this.confirmFrom = steady + CONFIRM_INTERVAL;
    return true;
  }

  private ticket(token: string | null): Ticket {
    return { ...this.machine.stamp(), token };
  }

  private usable(): boolean {
    return this.machine.current(this.now()) > 0;
  }

  /** What a request is sent with, after the refresh that is due has started. */
  private begin(): Step {
    const step = this.machine.acquire(this.now());
    if (step === Step.UseAndRefresh || step === Step.Refresh) this.start();
    return step;
  }

  /** Waits for the flight, no longer than the caller is willing to, and returns what follows for the caller. */
  private async settle(flight: Flight, patience: Patience): Promise<Step> {
    await this.wait(flight, patience);
    return this.machine.settle(flight, this.now());
  }

  private flightOf(step: Step): Flight | undefined {
    return step === Step.Refresh ? this.start() : step === Step.Wait ? this.machine.flight() : undefined;
  }

  private errorOf(step: Step): RefreshError {
    const failed: Flight | undefined = step === Step.Fail ? this.machine.error() : undefined;
    return failed?.error ?? new RefreshError("the session has changed", "transient");
  }

  private signIn(token: string, lifetime: number, elsewhere: boolean, received = this.now().wall): void {
    this.token = token;
    this.machine.signIn(this.life(received, lifetime), this.now());
    if (!elsewhere) this.neighbours?.tell({ type: "sign-in", token, lifetime, received });
    this.emit({ type: "signed-in", elsewhere });
  }

  private signOut(elsewhere: boolean): void {
    const changed = this.machine.signOut();
    this.token = null;
    if (!changed) return;
    if (!elsewhere) this.neighbours?.tell({ type: "sign-out" });
    this.emit({ type: "signed-out", elsewhere });
  }

  /** Another tab has refreshed. */
  private adopt(token: string, lifetime: number, received: number): void {
    if (token === this.token) return;
    if (!this.machine.update(this.life(received, lifetime), this.now())) return;
    this.token = token;
    this.emit({ type: "refreshed", adopted: true });
  }

  /**
   * Milliseconds; 0 for unknown, 1 for expired. A token that `isNew` was issued just now, so that its `iat` is the issuer's clock.
   * Another token's `iat` shows how far that clock is ahead at least.
   */
  private lifetime(token: string, expiresIn?: number, isNew = false): number {
    const wall = Date.now();
    const { iat, exp } = jwtTimes(token);
    const ahead = iat! * 1000 - wall;
    if (iat && (isNew || ahead > this.skew)) this.skew = ahead;
    if (expiresIn !== undefined && expiresIn > 0) return expiresIn * 1000;
    // Only a sign-in is believed when it says that its token has expired.
    if (expiresIn! <= 0 && !isNew) return 1;
    if (!exp) return 0;
    const by = wall - exp * 1000;
    if (isNew && by > 0) this.emit({ type: "clock-ahead", by });
    // What comes expired from the issuer shows that its clock is not known: it is served until refused.
    return Math.max(isNew ? 0 : 1, Math.round(exp * 1000 - wall - this.skew));
  }

  private life(received: number, lifetime: number): Life {
    const { wall } = this.now();
    // A receipt that lies more than a minute in the future tells no age, so the token is due.
    const isDue = lifetime === 1 || received > wall + 60_000;
    return { received: isDue ? -Infinity : Math.min(received, wall), lifetime, jitter: jitter(0, 200) };
  }

  private start(): Flight {
    const flight: Flight = this.machine.flight()!;
    this.emit({ type: "refresh-started", purpose: flight.purpose });
    flight.done = this.fly(flight);
    return flight;
  }

  /** One refresh from start to report. Never rejects. */
  private async fly(flight: Flight): Promise<void> {
    const controller = new AbortController();
    const limit = this.options.refreshTimeout ?? 30_000;
    try {
      await within(limit, this.bring(flight, controller.signal), () => {
        controller.abort();
        throw new RefreshError(`the refresh took longer than ${limit} ms`, "uncertain");
      });
    } catch (error) {
      this.failed(flight, error instanceof RefreshError ? error : new RefreshError("the refresh failed", "transient", error));
    }
  }

  private async bring(flight: Flight, signal: AbortSignal): Promise<void> {
    const ask = () => this.exchange(signal);
    const read = async (data: TRefreshData) => {
      // After a sign-in or sign-out meanwhile, the answer belongs to no session.
      if (this.machine.stamp().epoch !== flight.epoch) return;
      let answer: NewToken;
      try {
        const parsed = await this.options.onRefreshSuccess(data);
        answer = typeof parsed === "string" ? { accessToken: parsed } : parsed;
        if (!answer.accessToken) throw new TypeError("onRefreshSuccess returned no token");
      } catch (error) {
        throw new RefreshError("the refresh response could not be read", "uncertain", error);
      }
      const { accessToken, expiresIn } = answer;
      const lifetime = this.lifetime(accessToken, expiresIn, true);
      const received = this.now().wall;
      if (signal.aborted || !this.landed(flight, accessToken, lifetime, received, false)) return;
      this.neighbours?.tell({ type: "token", token: accessToken, lifetime, received });
      return data;
    };
    const adopted = (token: string, lifetime: number, received: number) => {
      this.landed(flight, token, lifetime, received, true);
    };
    const data = await (this.neighbours ? this.neighbours.alone(this.token, ask, read, adopted, signal) : ask().then(read));
    const after = this.options.onAfterRefresh;
    if (data !== undefined && after) await within(AFTER_HOOK, this.hook("onAfterRefresh", () => after(data)));
  }

  private landed(flight: Flight, token: string, lifetime: number, received: number, adopted: boolean): boolean {
    if (!this.machine.landed(flight, adopted, this.life(received, lifetime), this.now())) return false;
    // The message of another tab may have brought its token already.
    const isChange = !adopted || token !== this.token;
    this.token = token;
    if (isChange) this.emit({ type: "refreshed", adopted });
    return true;
  }

  private failed(flight: Flight, error: RefreshError): void {
    const hadEnded = this.machine.ended();
    flight.error = error;
    const landing = this.machine.failed(flight, error.ending, error.retryAfter, jitter(800, 1200), this.now());
    if (landing === Landing.Stale) return;
    this.emit({ type: "refresh-failed", ending: error.ending, error });
    if (landing !== Landing.Ended || hadEnded) return;
    const { onRefreshFailed } = this.options;
    if (onRefreshFailed) void this.hook("onRefreshFailed", () => onRefreshFailed(error.cause ?? error));
  }

  /** For adapters too. A hook cannot break the session: what it throws is an event. */
  async hook(hook: string, call: () => unknown): Promise<void> {
    try {
      await call();
    } catch (error) {
      this.emit({ type: "hook-failed", hook, error });
    }
  }

  private emit(event: RotatorEvent): void {
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch {
        // A listener cannot break the session, and its error has no other listener.
      }
    }
  }

  /** Waits for the flight, no longer than the caller is willing to. The flight goes on. */
  private wait(flight: Flight, { signal, until, timedOut }: Patience): Promise<void> | undefined {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (!signal && until === undefined) return flight.done;
    return new Promise((resolve, reject) => {
      const aborted = () => end(() => reject(signal!.reason));
      const timer = until === undefined ? undefined : setTimeout(() => end(() => reject(timedOut?.())), Math.max(0, until - steady()));
      const end = (then: () => void) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        then();
      };
      signal?.addEventListener("abort", aborted);
      void flight.done!.then(() => end(resolve));
    });
  }

  /** A page that slept learns of it before its next request: what has expired meanwhile is refreshed. */
  private catchUp(): void {
    const page = globalThis as { addEventListener?: Window["addEventListener"]; removeEventListener?: Window["removeEventListener"]; document?: Document };
    if (!page.document || !page.addEventListener) return;
    const wake = () => {
      if (this.token === null || page.document?.visibilityState === "hidden") return;
      this.begin();
    };
    for (const [target, name] of [[page.document, "visibilitychange"], [page, "pageshow"], [page, "online"]] as const) {
      (target as EventTarget).addEventListener(name, wake);
      this.cleanups.push(() => (target as EventTarget).removeEventListener(name, wake));
    }
  }
}

function jitter(from: number, to: number): number {
  return Math.floor(from + Math.random() * (to - from));
}

/** Waits for the work. After so many milliseconds, `late` decides instead. */
function within(ms: number, work: Promise<void>, late?: () => void): Promise<void> {
  let timer: ReturnType<typeof setTimeout>;
  const limit = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms))).then(late);
  return Promise.race([work, limit]).finally(() => clearTimeout(timer));
}
