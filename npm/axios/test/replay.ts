// Plays histories on the machine and writes its answers as the core's tests write theirs.
import { createMachine, type Flight, Landing, Step } from "../src/core/machine.js";

const STEPS = ["bare", "use", "use_and_refresh", "refresh", "wait", "hand_back", "changed", "overdue", "fail", "refused_again"];
const LANDINGS = ["cooling", "ended", "stale"];

type Json = Record<string, any>;

/** The events of this history, each with `expect` and `current` as the machine answers. */
export function play({ policy, events }: Json): Json[] {
  const machine = createMachine(
    policy.margin, policy.flight_deadline, policy.access === "required", policy.early_interval, policy.cool_down,
    policy.cool_down_max, policy.retry_after_max, policy.fresh, policy.fresh_max, policy.lifetime_max, policy.look_interval,
  );
  const flights: Flight[] = [];
  const errors = new Map<Flight, number>();
  let token = 0;
  const started = () => {
    const flight = machine.flight()!;
    flights.push(flight);
    return { ...machine.stamp(), flight: flights.length, purpose: flight.purpose };
  };
  const step = (code: Step): Json => {
    const name = { step: STEPS[code] };
    switch (code) {
      case Step.Bare: return { ...name, ...machine.stamp() };
      case Step.Use: return { ...name, token, ...machine.stamp() };
      case Step.UseAndRefresh: return { ...name, token, ...started() };
      case Step.Refresh: return { ...name, ...started() };
      case Step.Wait: return { ...name, flight: flights.indexOf(machine.flight()!) + 1 };
      case Step.Fail: return { ...name, error: errors.get(machine.error()!) };
      default: return name;
    }
  };
  const installed = () => ({ step: "installed", ...machine.stamp() });
  const yes = (answer: boolean) => ({ step: answer ? "yes" : "no" });
  const answer = (event: Json): Json => {
    const now = { wall: event.at[0], steady: event.at[1] };
    const flight = flights[event.flight - 1]!;
    const life = { received: event.received ?? now.wall, lifetime: event.lifetime ?? 0, jitter: event.jitter ?? 0 };
    // The core's tests name endpoints by numbers, and zero is no endpoint.
    const endpoint = event.endpoint ? String(event.endpoint) : "";
    switch (event.event) {
      case "acquire": return step(machine.acquire(now));
      case "force": return step(machine.force(now));
      case "refused": return step(machine.refused(event as never, endpoint, event.replay ?? false, now));
      case "accepted":
        machine.accepted(event as never, endpoint, event.replay ?? false);
        return { step: "noted" };
      case "settle": return step(machine.settle(flight, now));
      case "overdue": return yes(machine.overdue(now));
      case "sign_out": return yes(machine.signOut());
      case "yielded": return yes(machine.yielded(flight, now));
      case "failed": {
        // Only the flight in the slot can name its error.
        if (machine.flight() === flight) errors.set(flight, event.error);
        const landing = machine.failed(flight, event.ending, event.retry_after, event.jitter ?? 1000, now);
        return { step: LANDINGS[landing], ...(landing === Landing.Cooling && { until: machine.coolUntil() }) };
      }
      case "refreshed":
      case "adopted":
        if (!machine.landed(flight, event.event === "adopted", life, now)) return { step: "stale" };
        token = event.token;
        return installed();
      case "update":
        if (machine.update(life, now)) token = event.token;
        return installed();
      case "sign_in":
        machine.signIn(life, now);
        token = event.token;
        return installed();
      default: throw new Error(`an event of no known kind: ${event.event}`);
    }
  };
  return events.map((event: Json) => {
    const { expect: _, current: __, ...rest } = event;
    const expect = answer(event);
    const until = machine.current({ wall: event.at[0], steady: event.at[1] });
    const current = until ? { generation: machine.stamp().generation, until: until === Infinity ? null : until } : null;
    return { ...rest, expect, current };
  });
}
