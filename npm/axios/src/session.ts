import { createMachine, type Machine } from "./core/machine.js";
import { type Neighbours, joinTabs } from "./tabs.js";
import { jwtTimes } from "./jwt.js";
import { type Ending, type NewToken, RefreshError, type RotatorEvent, type SessionOptions } from "./types.js";

/** What a request remembers of the session it was sent in. */
export interface Ticket {
  readonly epoch: number;
  readonly generation: number;
  /** `null`: sent bare. */
  readonly token: string | null;
}

/** How long a caller is willing to wait. */
export interface Patience {
  signal?: AbortSignal | null;
  /** Makes the error of a wait that took too long; with it, `until` (by `Date.now()`) counts. */
  until?: number;
  timedOut?: () => unknown;
}

/** What becomes of a refused request. */
export type Verdict = Ticket | "refresh-failed" | "session-changed" | "signed-out-or-too-fresh" | "endpoint-refuses";

interface Flight {
  numbers: [id: number, epoch: number, generation: number, purpose: number];
  done: Promise<void>;
}

const PURPOSES = ["first", "early", "expired", "refused", "forced", "look"] as const;
const ENDINGS: Ending[] = ["transient", "uncertain", "misconfigured", "terminal"];
const AFTER_HOOK = 5_000;
const enum Step { Bare, Use, UseAndRefresh, Refresh, Wait, HandBack, Changed, Overdue, Fail, RefusedAgain }

/**
 * One session: the token of now and the one refresh that may be in the air. The state machine behind
 * it is that of the Rust crates; this class keeps tokens, promises and timers.
 */
export class TokenSession<TRefreshData = unknown> {
  private readonly machine: Machine = createMachine();
  private readonly base = steady();
  private token: string | null = null;
  private ended = false;
  private flight?: Flight;
  private errors = new Map<number, RefreshError>();
  /** The last generation that a request was accepted with. */
  private proven = 0;
  private listeners = new Set<(event: RotatorEvent) => void>();
  private neighbours?: Neighbours;
  private cleanups: (() => void)[] = [];
  /** How far the issuer's clock is ahead, in milliseconds, as the last refreshed JWT told. */
  private skew = 0;

  constructor(
    private readonly options: SessionOptions<TRefreshData>,
    /** Asks the endpoint once. Rejects with a {@link RefreshError}, or with anything for a transient failure. */
    private readonly exchange: (signal: AbortSignal) => Promise<TRefreshData>,
  ) {
    this.machine.begin(0);
    if (options.refreshBefore !== undefined) this.machine.set(0, options.refreshBefore);
    // The deadline of a flight is a timer here, which gives it up for good.
    this.machine.set(2, Infinity);
    if (options.shareAcrossTabs) {
      this.neighbours = joinTabs(options.shareAcrossTabs, {
        token: () => (this.usable() ? this.token : null),
        adopt: (token, lifetime, received) => this.adopt(token, lifetime, received),
        signIn: (token) => this.signIn(token, undefined, true),
        signOut: () => this.signOut(true),
      }, options.lockTimeout);
    }
    this.catchUp();
  }

  /** The token of now; `null` after a sign-out and after the session has ended. */
  readonly getAccessToken = (): string | null => (this.ended && !this.usable() ? null : this.token);

  /** A sign-in, or with `null` a sign-out. Whatever refresh is in the air belongs to the past then. */
  readonly setAccessToken = (token: string | null, validity?: { expiresIn?: number }): void => {
    if (token === null || token === undefined) this.signOut(false);
    // A hook that sets the token it was just given signs nobody in.
    else if (token !== this.token || !this.usable()) this.signIn(token, validity?.expiresIn, false);
  };

  /** Refreshes now, or joins the refresh in the air. Resolves with the new token; rejects with its {@link RefreshError}. */
  async refresh(patience: Patience = {}): Promise<string> {
    const step = this.machine.force(...this.now());
    const flight = this.flightOf(step);
    if (!flight) throw this.errorOf(step);
    await this.wait(flight, patience);
    const settled = this.machine.settle(...flight.numbers, ...this.now());
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

  /** For adapters: what to send a request with. `once`: it cannot be sent twice, so it rather waits than risks a refusal. */
  async acquire(patience: Patience, once = false): Promise<Ticket> {
    const step: Step = this.machine.acquire(...this.now());
    const started = step === Step.UseAndRefresh || step === Step.Refresh ? this.start() : undefined;
    const inTheAir = this.machine.flight_id() > 0 ? this.flight : undefined;
    const patient = step === Step.UseAndRefresh ? once : step !== Step.Use;
    if (!patient || (step === Step.Bare && !inTheAir)) return this.ticket(step === Step.Bare ? null : this.token);
    const flight = started ?? (step === Step.Wait || step === Step.Bare ? inTheAir : undefined);
    if (!flight) throw this.errorOf(step);
    await this.wait(flight, patience);
    const settled: Step = this.machine.settle(...flight.numbers, ...this.now());
    if (settled === Step.Use) return this.ticket(this.token);
    if (settled !== Step.Changed) {
      if (step === Step.Bare) return this.ticket(null);
      if (step === Step.UseAndRefresh && this.usable()) return this.ticket(this.token);
    }
    throw this.errorOf(settled);
  }

  /**
   * For adapters: the request of this ticket was refused. A ticket means: send it once more with that.
   * `endpoint` is the hash of its address, or 0. Without `wait` it is not sent again.
   */
  async refused(ticket: Ticket, patience: Patience, wait = true, endpoint = 0): Promise<Verdict> {
    let step: Step = this.machine.refused(ticket.epoch, ticket.generation, wait ? endpoint : 0, wait ? 0 : 1, ...this.now());
    const flight = this.flightOf(step);
    if (flight) {
      if (!wait) return "refresh-failed";
      await this.wait(flight, patience);
      step = this.machine.settle(...flight.numbers, ...this.now());
    }
    if (step === Step.Use) return this.ticket(this.token);
    if (step === Step.Changed || ticket.epoch !== this.machine.epoch()) return "session-changed";
    if (step === Step.RefusedAgain) return "endpoint-refuses";
    return step === Step.HandBack ? "signed-out-or-too-fresh" : "refresh-failed";
  }

  /** For adapters: a request with this ticket was accepted. Only the first time for a token is more than a comparison. */
  accepted({ epoch, generation, token }: Ticket): void {
    if (token === null || generation <= this.proven) return;
    this.proven = generation;
    this.machine.accepted(epoch, generation, 0, 0);
  }

  /** For adapters: the replay with this ticket was accepted by its endpoint, or refused as well. */
  replayed({ epoch, generation }: Ticket, endpoint: number, accepted: boolean): void {
    if (accepted) this.machine.accepted(epoch, generation, endpoint, 1);
    else this.flightOf(this.machine.refused(epoch, generation, endpoint, 1, ...this.now()));
  }

  private ticket(token: string | null): Ticket {
    return { epoch: this.machine.epoch(), generation: this.machine.generation(), token };
  }

  private now(): [number, number] {
    return [Date.now(), steady() - this.base];
  }

  private usable(): boolean {
    return this.machine.current(...this.now()) >= 0;
  }

  private flightOf(step: Step): Flight | undefined {
    return step === Step.Refresh ? this.start() : step === Step.Wait ? this.flight : undefined;
  }

  private errorOf(step: Step): RefreshError {
    const error = step === Step.Fail ? this.errors.get(this.machine.error()) : undefined;
    return error ?? new RefreshError("the session was changed while the request waited", "transient");
  }

  private signIn(token: string, expiresIn: number | undefined, elsewhere: boolean): void {
    const [wall, steady] = this.now();
    const lifetime = this.lifetime(token, expiresIn, wall);
    this.token = token;
    this.ended = false;
    // One millisecond is what is left of an expired JWT: it is over now.
    this.machine.install(1, lifetime === 1 ? wall - 1 : wall, lifetime, jitter(0, 200), wall, steady);
    if (!elsewhere) this.neighbours?.tell({ type: "sign-in", token });
    this.emit({ type: "signed-in", elsewhere });
  }

  private signOut(elsewhere: boolean): void {
    const changed = this.machine.sign_out();
    this.token = null;
    if (!changed) return;
    this.ended = false;
    if (!elsewhere) this.neighbours?.tell({ type: "sign-out" });
    this.emit({ type: "signed-out", elsewhere });
  }

  /** Another tab has refreshed. */
  private adopt(token: string, lifetime: number, received: number): void {
    if (token === this.token) return;
    const before = this.machine.generation();
    this.machine.install(0, received, lifetime, jitter(0, 200), ...this.now());
    if (this.machine.generation() === before) return;
    this.token = token;
    this.ended = false;
    this.emit({ type: "refreshed", adopted: true });
  }

  /**
   * Milliseconds; 0 for unknown. `fresh`: it was issued just now, so that a JWT tells the issuer's
   * clock; otherwise only how far that is ahead at least.
   */
  private lifetime(token: string, expiresIn: number | undefined, wall: number, fresh = false): number {
    const { iat, exp } = jwtTimes(token);
    const ahead = iat! * 1000 - wall;
    if (iat && (fresh || ahead > this.skew)) this.skew = ahead;
    if (expiresIn !== undefined && expiresIn > 0) return expiresIn * 1000;
    if (!exp) return 0;
    // What comes expired from the issuer shows that its clock is not known: it is served until refused.
    return Math.max(fresh ? 0 : 1, Math.round(exp * 1000 - wall - this.skew));
  }

  private start(): Flight {
    const machine = this.machine;
    const flight: Flight = {
      numbers: [machine.flight_id(), machine.epoch(), machine.generation(), machine.purpose()],
      done: Promise.resolve(),
    };
    this.flight = flight;
    this.emit({ type: "refresh-started", purpose: PURPOSES[flight.numbers[3]]! });
    flight.done = this.fly(flight);
    return flight;
  }

  /** One refresh from start to report. Never rejects. */
  private async fly(flight: Flight): Promise<void> {
    const controller = new AbortController();
    const limit = this.options.refreshTimeout ?? 30_000;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          reject(new RefreshError(`the refresh took longer than ${limit} ms`, "uncertain"));
          controller.abort();
        }, limit);
      });
      await Promise.race([this.bring(flight, controller.signal), late]);
    } catch (error) {
      this.failed(flight, error instanceof RefreshError ? error : new RefreshError("the refresh failed", "transient", error));
    } finally {
      clearTimeout(timer);
      if (this.flight === flight) this.flight = undefined;
    }
  }

  private async bring(flight: Flight, signal: AbortSignal): Promise<void> {
    const ask = () => this.exchange(signal);
    const read = async (data: TRefreshData) => {
      // Signed in or out meanwhile: what came belongs to nobody.
      if (this.machine.epoch() !== flight.numbers[1]) return;
      let fresh: string | NewToken;
      try {
        fresh = await this.options.onRefreshSuccess(data);
        if (!(typeof fresh === "string" ? fresh : fresh.accessToken)) throw new TypeError("onRefreshSuccess returned no token");
      } catch (error) {
        throw new RefreshError("the refresh response could not be read", "uncertain", error);
      }
      const { accessToken, expiresIn } = typeof fresh === "string" ? { accessToken: fresh, expiresIn: undefined } : fresh;
      const lifetime = this.lifetime(accessToken, expiresIn, Date.now(), true);
      if (signal.aborted || !this.landed(flight, accessToken, lifetime, Date.now(), false)) return;
      this.neighbours?.tell({ type: "token", token: accessToken, lifetime, received: Date.now() });
      return data;
    };
    const adopted = (token: string, lifetime: number, received: number) => {
      this.landed(flight, token, lifetime, received, true);
    };
    const data = await (this.neighbours ? this.neighbours.alone(this.token, ask, read, adopted, signal) : ask().then(read));
    const after = this.options.onAfterRefresh;
    if (data !== undefined && after) await atMost(AFTER_HOOK, this.hook("onAfterRefresh", () => after(data)));
  }

  private landed(flight: Flight, token: string, lifetime: number, received: number, adopted: boolean): boolean {
    const code = this.machine.landed(...flight.numbers, adopted ? 1 : 0, received, lifetime, jitter(0, 200), ...this.now());
    if (code !== 0) return false;
    // What another tab brought may be here already, by its message.
    const news = !adopted || token !== this.token;
    this.token = token;
    this.ended = false;
    if (news) this.emit({ type: "refreshed", adopted });
    return true;
  }

  private failed(flight: Flight, error: RefreshError): void {
    const id = flight.numbers[0];
    this.errors.set(id, error);
    if (this.errors.size > 8) this.errors.delete(this.errors.keys().next().value!);
    const ending = ENDINGS.indexOf(error.ending);
    const landing = this.machine.failed(...flight.numbers, ending, error.retryAfter ?? -1, jitter(800, 1200), ...this.now());
    if (landing === 3) return;
    this.emit({ type: "refresh-failed", ending: error.ending, error });
    if (landing !== 2 || this.ended) return;
    this.ended = true;
    const told = this.options.onRefreshFailed;
    if (told) void this.hook("onRefreshFailed", () => told(error.cause ?? error));
  }

  /** A hook cannot break the session: what it throws is an event. */
  private async hook(hook: string, call: () => unknown): Promise<void> {
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
        // A listener cannot break the session either, and there is nobody left to tell.
      }
    }
  }

  /** Waits for the flight, no longer than the caller is willing to. The flight goes on. */
  private wait(flight: Flight, { signal, until, timedOut }: Patience): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (!signal && until === undefined) return flight.done;
    return new Promise((resolve, reject) => {
      const aborted = () => end(() => reject(signal!.reason));
      const timer = until === undefined ? undefined : setTimeout(() => end(() => reject(timedOut?.())), Math.max(0, until - Date.now()));
      const end = (then: () => void) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        then();
      };
      signal?.addEventListener("abort", aborted);
      void flight.done.then(() => end(resolve));
    });
  }

  /** A page that slept learns of it before its next request: what has expired meanwhile is refreshed. */
  private catchUp(): void {
    const page = globalThis as { addEventListener?: Window["addEventListener"]; removeEventListener?: Window["removeEventListener"]; document?: Document };
    if (!page.document || !page.addEventListener) return;
    const wake = () => {
      if (this.token === null || page.document?.visibilityState === "hidden") return;
      const step = this.machine.acquire(...this.now());
      if (step === Step.Refresh || step === Step.UseAndRefresh) this.start();
    };
    for (const [target, name] of [[page.document, "visibilitychange"], [page, "pageshow"], [page, "online"]] as const) {
      (target as EventTarget).addEventListener(name, wake);
      this.cleanups.push(() => (target as EventTarget).removeEventListener(name, wake));
    }
  }
}

/** A clock that never goes back. */
function steady(): number {
  return typeof performance === "undefined" ? Date.now() : performance.now();
}

function jitter(from: number, to: number): number {
  return Math.floor(from + Math.random() * (to - from));
}

function atMost(ms: number, work: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
