/** The exports of `crates/wasm`: what they mean stands there, at `Machine`. Booleans are 0 or not.
 * Numbers are taken as they come: `purpose`, `ending`, `jitter`, `endpoint` and `field` have to be whole ones. */
export interface Machine {
  begin(required: number): void;
  set(field: number, value: number): void;
  acquire(wall: number, steady: number): number;
  refused(epoch: number, generation: number, endpoint: number, replay: number, wall: number, steady: number): number;
  accepted(epoch: number, generation: number, endpoint: number, replay: number): void;
  settle(id: number, epoch: number, generation: number, purpose: number, wall: number, steady: number): number;
  force(wall: number, steady: number): number;
  landed(
    id: number, epoch: number, generation: number, purpose: number, adopted: number,
    received: number, lifetime: number, jitter: number, wall: number, steady: number,
  ): number;
  failed(
    id: number, epoch: number, generation: number, purpose: number, ending: number, retryAfter: number,
    jitter: number, wall: number, steady: number,
  ): number;
  yielded(id: number, epoch: number, generation: number, purpose: number, wall: number, steady: number): number;
  overdue(wall: number, steady: number): number;
  install(signIn: number, received: number, lifetime: number, jitter: number, wall: number, steady: number): void;
  sign_out(): number;
  current(wall: number, steady: number): number;
  epoch(): number;
  generation(): number;
  flight_id(): number;
  purpose(): number;
  error(): number;
  cool_until(): number;
}

/** A machine of its own memory. Call `begin` before anything else. */
export function createMachine(): Machine;
