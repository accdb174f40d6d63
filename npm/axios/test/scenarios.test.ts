// Every file in scenarios/, replayed on the shipped core, compared byte for byte.
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { createMachine as Create } from "../src/core/machine.js";

// `cargo xtask wasm --check` replays another build of it.
const shipped = new URL("../src/core/machine.js", import.meta.url).pathname;
const { createMachine }: { createMachine: typeof Create } = await import(process.env.TOKEN_ROTATOR_MACHINE ?? shipped);

const home = new URL("../../../scenarios/", import.meta.url);
const STEPS = ["bare", "use", "use_and_refresh", "refresh", "wait", "hand_back", "changed", "overdue", "fail", "refused_again"];
const PURPOSES = ["first", "early", "expired", "refused", "forced", "look"];
const LANDINGS = ["installed", "cooling", "ended", "stale"];
const ENDINGS = ["transient", "uncertain", "misconfigured", "terminal"];
const FIELDS = [
  "margin", "early_interval", "flight_deadline", "cool_down", "cool_down_max",
  "retry_after_max", "fresh", "fresh_max", "lifetime_max", "look_interval",
];

type Json = Record<string, any>;
type Flight = [number, number, number, number];

function play(scenario: Json): string[] {
  const machine = createMachine();
  machine.begin(scenario.policy.access === "required" ? 1 : 0);
  FIELDS.forEach((name, place) => name in scenario.policy && machine.set(place, scenario.policy[name]));
  const flights = new Map<number, Flight>();
  const errors = new Map<number, number>();
  let token = 0;
  const stamp = () => ({ epoch: machine.epoch(), generation: machine.generation() });
  const started = () => {
    const { epoch, generation } = stamp();
    const flight = machine.flight_id();
    flights.set(flight, [flight, epoch, generation, machine.purpose()]);
    return { epoch, generation, flight, purpose: PURPOSES[machine.purpose()] };
  };
  const step = (code: number): Json => {
    const name = { step: STEPS[code] };
    switch (code) {
      case 0: return { ...name, ...stamp() };
      case 1: return { ...name, token, ...stamp() };
      case 2: return { ...name, token, ...started() };
      case 3: return { ...name, ...started() };
      case 4: return { ...name, flight: machine.flight_id() };
      case 8: return { ...name, error: errors.get(machine.error()) };
      default: return name;
    }
  };
  const landing = (code: number): Json =>
    code === 0 ? { step: "installed", ...stamp() }
    : code === 1 ? { step: "cooling", until: machine.cool_until() }
    : { step: LANDINGS[code] };
  const yes = (code: number) => ({ step: code ? "yes" : "no" });
  const answer = (event: Json): Json => {
    const [wall, steady] = event.at;
    const flight = flights.get(event.flight)!;
    const validity = [event.received ?? wall, event.lifetime ?? 0, event.jitter ?? 0] as const;
    switch (event.event) {
      case "acquire": return step(machine.acquire(wall, steady));
      case "force": return step(machine.force(wall, steady));
      case "refused":
        return step(machine.refused(event.epoch, event.generation, event.endpoint ?? 0, event.replay ? 1 : 0, wall, steady));
      case "accepted":
        machine.accepted(event.epoch, event.generation, event.endpoint ?? 0, event.replay ? 1 : 0);
        return { step: "noted" };
      case "settle": return step(machine.settle(...flight, wall, steady));
      case "overdue": return yes(machine.overdue(wall, steady));
      case "sign_out": return yes(machine.sign_out());
      case "yielded": return yes(machine.yielded(...flight, wall, steady));
      case "failed":
        // Only the flight in the slot can name its error.
        if (machine.flight_id() === flight[0]) errors.set(flight[0], event.error);
        return landing(machine.failed(
          ...flight, ENDINGS.indexOf(event.ending), event.retry_after ?? -1, event.jitter ?? 1000, wall, steady,
        ));
      case "refreshed":
      case "adopted": {
        const code = machine.landed(...flight, event.event === "adopted" ? 1 : 0, ...validity, wall, steady);
        if (code === 0) token = event.token;
        return landing(code);
      }
      case "update":
      case "sign_in": {
        const before = machine.generation();
        machine.install(event.event === "sign_in" ? 1 : 0, ...validity, wall, steady);
        if (machine.generation() !== before) token = event.token;
        return { step: "installed", ...stamp() };
      }
      default: throw new Error(`an event of no known kind: ${event.event}`);
    }
  };
  return scenario.events.map((event: Json) => {
    const expect = answer(event);
    const until = machine.current(event.at[0], event.at[1]);
    const current = until < 0 ? null : { generation: machine.generation(), until: until === Infinity ? null : until };
    const { expect: _, current: __, ...rest } = event;
    return JSON.stringify({ ...rest, expect, current });
  });
}

const files = ["", "generated/"].flatMap((folder) =>
  readdirSync(new URL(folder, home)).filter((name) => name.endsWith(".json")).map((name) => folder + name));

test("there are scenarios to replay", () => expect(files.length).toBeGreaterThan(70));

test.each(files)("%s", (name) => {
  const text = readFileSync(new URL(name, home), "utf8");
  const scenarios: Json[] = [JSON.parse(text)].flat();
  const played = scenarios.flatMap(play);
  const said = text.split("\n").filter((line) => line.startsWith('    {"event"')).map((line) => line.trim().replace(/,$/, ""));
  expect(said.length).toBeGreaterThan(0);
  expect(played).toEqual(said);
});
