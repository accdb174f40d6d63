// Property: the machine answers random histories as the core does, byte for byte. The example `histories` of
// `token-rotator-core` writes them. `cargo xtask soak` replays a million from a release build: TOKEN_ROTATOR_HISTORIES.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { minifiedPlay } from "./minified.js";

const { TOKEN_ROTATOR_HISTORIES: COUNT = "2000" } = process.env;
const BUILD = process.env.TOKEN_ROTATOR_HISTORIES ? "release" : "debug";
const PROGRAM = new URL(`../../../target/${BUILD}/examples/histories`, import.meta.url).pathname;

test(`${COUNT} histories`, { timeout: 60_000 + 5 * Number(COUNT) }, async () => {
  const play = await minifiedPlay();
  const generator = spawn(PROGRAM, [COUNT], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = Promise.race([
    once(generator, "close"),
    once(generator, "error").then(([error]) => Promise.reject(new Error(`cargo build --workspace --example histories: ${error.message}`))),
  ]);
  ended.catch(() => {});
  let replayed = 0;
  for await (const line of createInterface({ input: generator.stdout })) {
    const { policy, events } = JSON.parse(line);
    const played = play({ policy, events });
    if (JSON.stringify({ policy, events: played }) !== line) {
      generator.kill();
      expect({ policy, events: played }, `history ${replayed}`).toEqual({ policy, events });
      expect.fail(`history ${replayed}: the fields have another order`);
    }
    replayed++;
  }
  expect([await ended, replayed]).toEqual([[0, null], Number(COUNT)]);
});
