/**
 * The state machine of `crates/core`, ported by hand: a change there is a change here. The order of the
 * decisions and the reasons for them are those of `Session` in Rust. The tests compare both, byte for
 * byte, over every scenario and over random histories. The machine has no clock, no waiters, no token
 * and no error: its driver has them.
 */

/**
 * The two clocks, read together, in milliseconds. `wall` decides expiry and nothing else. The driver counts it from the
 * start of the session, so that setting the clock of the system changes no lifetime.
 */
export interface Now {
  readonly wall: number;
  readonly steady: number;
}

/** The epoch and generation that a request was sent in. */
export interface Stamp {
  readonly epoch: number;
  readonly generation: number;
}

/** Why a flight was started. */
export type Purpose = "first" | "early" | "expired" | "refused" | "forced" | "look";

/** How a refresh failed, and so what follows from it. */
export type Ending = "transient" | "uncertain" | "misconfigured" | "terminal";

/** One refresh, with the stamp it began in. The machine compares flights by identity. */
export interface Flight extends Stamp {
  readonly purpose: Purpose;
}

/** What the driver does next for the caller that brought the event. */
export const enum Step { Bare, Use, UseAndRefresh, Refresh, Wait, HandBack, Changed, Overdue, Fail, RefusedAgain }

/** What follows from the report of a failed flight. */
export const enum Landing { Cooling, Ended, Stale }

/** When a token was received, how long it is good (0: unknown) and by how many thousandths the margin grows. */
export interface Life {
  readonly received: number;
  readonly lifetime: number;
  readonly jitter: number;
}

export type Machine = ReturnType<typeof createMachine>;

const enum Token { Never, SignedOut, Held }
const enum Origin { Flight, Others, Caller }

/** An endpoint that refused a replay: its refusals start no refresh before `until`. */
interface Refuser {
  /** Empty once the endpoint has accepted a token. */
  endpoint: string;
  until: number;
  pause: number;
}

const { floor, max, min } = Math;
/** Counters stop here: every doubled time has reached its limit. */
const COUNT_MAX = 32;
const TABLE = 8;
/** So many useless refreshes in a row put the session-wide spacing in force. */
const USELESS_MAX = 3;

const doubled = (first: number, times: number, most: number) => min(first * 2 ** times, most);

/**
 * A session without a token. The parameters are the fields of `Policy` in `crates/core`, in milliseconds; `required`:
 * requests wait for the first refresh, or fail, instead of going out bare.
 */
export function createMachine(
  margin = 60_000,
  flightDeadline = 30_000,
  required = false,
  earlyInterval = 10_000,
  coolDown = 500,
  coolDownMax = 60_000,
  retryAfterMax = 300_000,
  youngAge = 2_000,
  youngAgeMax = 60_000,
  lifetimeMax = 315_576_000_000,
  lookInterval = Infinity,
) {
  let epoch = 0;
  let generation = 0;
  let token = Token.Never;

  // What is known of the token. Infinity stands for what is unknown or never comes.
  let expiresAt = 0;
  let refreshAt = 0;
  let lifetime = 0;
  let installed = 0;
  let origin = Origin.Flight;
  let isRefused = false;
  let isSuspect = false;
  let isAccepted = false;

  // The slot of the one flight. Only its own report frees the slot.
  let slot: Flight | undefined;
  /** Negative once `overdue` has reported it. */
  let deadline = 0;
  let isAwaited = false;

  let hasEnded = false;
  let error: Flight | undefined;
  let coolUntil = 0;
  let issuerAsked = false;
  let failures = 0;
  let refusals = 0;
  let refusers: Refuser[] = [];
  let useless = 0;
  let judged = 0;
  let earlyFrom = 0;
  let lookFrom = 0;

  const usable = ({ wall }: Now) => !isRefused && wall < expiresAt;
  const cooling = ({ steady }: Now) => steady < coolUntil;
  const lookDue = ({ steady }: Now) => hasEnded && !slot && steady >= lookFrom;
  const want = (): Purpose => (isRefused ? "refused" : "expired");
  const refuser = (endpoint: string) => refusers.find((one) => one.endpoint === endpoint);
  /** Whether the token is younger than the age below which its refusal is not about its age. */
  const young = ({ steady }: Now, doublings: number) =>
    steady - installed < doubled(min(youngAge, floor(lifetime / 4)), doublings, youngAgeMax);

  function join({ steady }: Now): boolean {
    const joined = !!slot && steady < deadline;
    if (joined) isAwaited = true;
    return joined;
  }

  function begin(purpose: Purpose, { steady }: Now): Step {
    slot = { epoch, generation, purpose };
    deadline = steady + flightDeadline;
    isAwaited = false;
    if (purpose === "early") earlyFrom = steady + earlyInterval;
    return Step.Refresh;
  }

  function need(purpose: Purpose, now: Now): Step {
    if (join(now)) return Step.Wait;
    if (slot) return Step.Overdue;
    if (lookDue(now)) return begin("look", now);
    return hasEnded || cooling(now) ? Step.Fail : begin(purpose, now);
  }

  /**
   * Whether a refusal of the current token is too early to be about its age. An accepted token needs no
   * spacing until three refreshes in a row were useless; nor does a token that a replay has judged.
   */
  function tooEarly(endpoint: string, replay: boolean, now: Now): boolean {
    const isJudged = endpoint && judged === generation;
    if (useless < USELESS_MAX && (isJudged || (isAccepted && (endpoint || !replay)))) return false;
    return (origin === Origin.Flight || (origin === Origin.Others && refusals > 0)) && young(now, refusals);
  }

  function replayRefused(endpoint: string, { steady }: Now): void {
    const known = refuser(endpoint);
    if (!known) refusers = [{ endpoint, until: steady + youngAge, pause: youngAge }, ...refusers].slice(0, TABLE);
    else if (steady >= known.until) {
      known.pause = min(2 * known.pause, youngAgeMax);
      known.until = steady + known.pause;
    }
    // The first replay judges a refresh, however many follow it.
    if (judged !== generation && !known) useless++;
    judged = generation;
    if (useless >= USELESS_MAX) isSuspect = true;
  }

  function recover(): void {
    hasEnded = issuerAsked = false;
    error = undefined;
    coolUntil = failures = 0;
  }

  function beginEpoch(): void {
    epoch++;
    slot = undefined;
    refusals = useless = earlyFrom = 0;
    refusers = [];
    recover();
  }

  function install(from: Origin, life: Life, { steady }: Now): void {
    generation++;
    // A token that lived to be replaced for its age alone ends the row of refused ones.
    if (!isRefused && !isSuspect) refusals = 0;
    token = Token.Held;
    expiresAt = refreshAt = lifetime = Infinity;
    if (life.lifetime > 0) {
      lifetime = min(life.lifetime, lifetimeMax);
      expiresAt = life.received + lifetime;
      const early = min(margin, floor(lifetime / 4));
      refreshAt = expiresAt - early - floor((early * life.jitter) / 1000);
    }
    installed = steady;
    origin = from;
    isRefused = isSuspect = isAccepted = false;
    recover();
  }

  return {
    /** A request is about to be sent. */
    acquire(now: Now): Step {
      if (token !== Token.Held) return token === Token.Never && required ? need("first", now) : Step.Bare;
      if (usable(now)) {
        const { wall, steady } = now;
        const free = !slot && !cooling(now) && !hasEnded;
        if (free && wall >= refreshAt && steady >= earlyFrom) begin("early", now);
        else if (lookDue(now)) begin("look", now);
        else return Step.Use;
        return Step.UseAndRefresh;
      }
      const step = need(want(), now);
      // A sign-in has to get through, so an ended session sends requests bare where it may.
      return hasEnded && !required && (step === Step.Fail || step === Step.Overdue) ? Step.Bare : step;
    },

    /**
     * A request was refused for its token, or for the want of one. `endpoint` names origin and path,
     * or is empty. `replay`: the request is not sent again.
     */
    refused(stamp: Stamp, endpoint: string, replay: boolean, now: Now): Step {
      if (stamp.epoch !== epoch) return Step.Changed;
      if (stamp.generation > generation || token === Token.SignedOut) return Step.HandBack;
      if (token === Token.Never) return need("first", now);
      // A late refusal is about a token that has been replaced since.
      if (stamp.generation < generation) return usable(now) ? Step.Use : need(want(), now);
      if (endpoint && now.wall < expiresAt) {
        if (replay) {
          replayRefused(endpoint, now);
          return Step.RefusedAgain;
        }
        if (now.steady < (refuser(endpoint)?.until ?? 0)) return join(now) ? Step.Wait : Step.RefusedAgain;
      }
      if (!isRefused) {
        if (usable(now) && tooEarly(endpoint, replay, now)) {
          isSuspect = true;
          return join(now) ? Step.Wait : Step.HandBack;
        }
        isRefused = true;
        const counts = isSuspect || (origin === Origin.Others && young(now, 0));
        refusals = counts ? min(refusals + 1, COUNT_MAX) : 0;
      }
      return need("refused", now);
    },

    /** A request was accepted. A driver reports the first of each token, and that of every replay. */
    accepted(stamp: Stamp, endpoint: string, replay: boolean): void {
      if (stamp.epoch !== epoch || stamp.generation !== generation || token !== Token.Held) return;
      isAccepted = true;
      if (replay) {
        judged = generation;
        useless = 0;
      }
      // The entry keeps its place, which displaces the oldest as before.
      const known = refuser(endpoint);
      if (known) known.endpoint = "";
    },

    /** The caller has waited for this flight. `Step.Wait` means that it woke too early. */
    settle(flight: Flight, now: Now): Step {
      if (flight.epoch !== epoch) return Step.Changed;
      const inSlot = flight === slot;
      // Where the newer token is refused or expired by now, the flight decides, or its failure.
      if (generation > flight.generation && (usable(now) || !(inSlot || error))) return Step.Use;
      if (inSlot && join(now)) return Step.Wait;
      // A look is no refresh, so a caller that waited for one sends bare as before.
      if (flight.purpose === "look" && !required) return Step.Bare;
      return inSlot ? Step.Overdue : error ? Step.Fail : Step.HandBack;
    },

    /** A caller asks for a refresh. Overrides a cool-down unless the issuer asked for it. */
    force(now: Now): Step {
      if (join(now)) return Step.Wait;
      if (slot) return Step.Overdue;
      return issuerAsked && cooling(now) ? Step.Fail : begin("forced", now);
    },

    /**
     * The flight brought a token: from the issuer, or (`adopted`) from another process's flight.
     * Returns whether the token is installed.
     */
    landed(flight: Flight, adopted: boolean, life: Life, now: Now): boolean {
      const inSlot = flight === slot;
      if (flight.epoch !== epoch || !(inSlot || flight.generation === generation)) return false;
      if (inSlot) slot = undefined;
      install(adopted ? Origin.Others : Origin.Flight, life, now);
      return true;
    },

    /**
     * The flight failed. `retryAfter`: how long the issuer asked for no request; negative for no such
     * wish. `jitter`: the cool-down in thousandths of its nominal length.
     */
    failed(flight: Flight, ending: Ending, retryAfter = -1, jitter: number, { steady }: Now): Landing {
      if (flight !== slot) return Landing.Stale;
      slot = undefined;
      // A newer token was installed meanwhile: the failure concerns the waiters of the flight alone.
      const stale = flight.generation !== generation;
      if (flight.purpose === "look" && !stale) {
        lookFrom = steady + lookInterval;
        return Landing.Ended;
      }
      error = flight;
      if (stale) return Landing.Stale;
      if (ending === "terminal") {
        hasEnded = true;
        lookFrom = lookInterval < Infinity ? steady : Infinity;
        return Landing.Ended;
      }
      if (ending === "uncertain") refreshAt = Infinity;
      issuerAsked = retryAfter >= 0;
      coolUntil = steady + (issuerAsked
        ? min(max(retryAfter, coolDown), retryAfterMax)
        : floor((doubled(coolDown, failures, coolDownMax) * jitter) / 1000));
      failures = min(failures + 1, COUNT_MAX);
      return Landing.Cooling;
    },

    /** An early flight would end rather than wait for another process. Returns whether it may end. */
    yielded(flight: Flight, now: Now): boolean {
      if (flight !== slot) return true;
      const yields = flight.purpose === "early" && usable(now) && (deadline < 0 || !isAwaited);
      if (yields) slot = undefined;
      return yields;
    },

    /** A timer. Returns whether the flight has just passed its deadline. */
    overdue({ steady }: Now): boolean {
      const passed = !!slot && deadline >= 0 && steady >= deadline;
      if (passed) deadline = -1;
      return passed;
    },

    /** A newer token of the same sign-in. Returns false after a sign-out, where it changes nothing. */
    update(life: Life, now: Now): boolean {
      if (token === Token.SignedOut) return false;
      install(Origin.Caller, life, now);
      return true;
    },

    /** A new epoch begins with this token. */
    signIn(life: Life, now: Now): void {
      beginEpoch();
      install(Origin.Caller, life, now);
    },

    /** A new epoch begins without a token. Returns false if that changed nothing. */
    signOut(): boolean {
      if (token === Token.Never && !slot && lookInterval === Infinity && !required) return false;
      beginEpoch();
      token = Token.SignedOut;
      return true;
    },

    /** Until when, by the wall clock, `acquire` answers `Step.Use` and changes nothing; 0: no token is usable. */
    current(now: Now): number {
      if (token !== Token.Held || !usable(now)) return 0;
      const at = (steady: number) => now.wall + max(0, steady - now.steady);
      const from = slot ? Infinity : hasEnded ? at(lookFrom) : max(refreshAt, at(max(coolUntil, earlyFrom)));
      return min(from, expiresAt);
    },

    stamp: (): Stamp => ({ epoch, generation }),
    /** The flight that holds the slot. */
    flight: () => slot,
    /** The failed flight whose error `Step.Fail` means. */
    error: () => error,
    /** Whether the issuer has refused to refresh this session any more. */
    ended: () => hasEnded,
    /** Until when, by the steady clock, no flight starts after a failure. */
    coolUntil: () => coolUntil,
  };
}
