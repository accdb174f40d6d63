import { afterEach, expect } from "vitest";

/** No test of this package may leave an unhandled rejection. */
const turn = setImmediate;
const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
afterEach(async () => {
  // Node tells of them once the microtasks of their turn have run.
  await new Promise((resolve) => turn(resolve));
  expect(unhandled.splice(0)).toEqual([]);
});
