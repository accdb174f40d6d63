import type { Now } from "./core/machine.js";

/** Milliseconds of a clock that a user cannot set, where the platform has one. It may stop while the device sleeps. */
export const steady = (): number => (typeof performance === "undefined" ? Date : performance).now();

/**
 * The clocks of a session. A lifetime counts by `performance.now()` or `Date.now()`, whichever ran further, so setting the
 * wall clock back extends none. Less than a second of difference comes from reading two clocks, or from a slow correction.
 */
export function createClock(): () => Now {
  let last = steady();
  let lastWall = Date.now();
  let life = 0;
  let at = 0;
  return () => {
    const past = Math.max(0, -last + (last = steady()));
    const pastWall = -lastWall + (lastWall = Date.now());
    life += pastWall > past + 1000 ? pastWall : past;
    return { wall: life, steady: (at += past) };
  };
}
