// The core's memory as variables: every place stays what it was, or the build stops.
import binaryen from "binaryen";
import { expect, test } from "vitest";
// @ts-expect-error A script of the build, without types.
import { withGlobals } from "../scripts/globals.mjs";

/** What the function `run` of this body returns, as it stands and with globals. */
function both(body: string): number[] {
  const text = `(module (memory $0 1 1) (export "memory" (memory $0)) (export "run" (func $run)) (func $run (result f64) ${body}))`;
  return [text, withGlobals(text) as string].map((one) => {
    const module = binaryen.parseText(one);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.emitBinary() as BufferSource));
    return (exports.run as () => number)();
  });
}

test("the build stops: a first content", () => {
  expect(() => withGlobals('(module (memory $0 1 1) (data (i32.const 8) "a"))')).toThrow("first content");
});

const byte = (at: number) => `(f64.convert_i32_u (i32.load8_u (i32.const ${at})))`;

test.each([
  ["a number", "(f64.store (i32.const 8) (f64.const 1.5)) (f64.load offset=8 (i32.const 0))", 1.5],
  ["the end of time", "(i64.store (i32.const 8) (i64.const 9218868437227405312)) (f64.load (i32.const 8))", Infinity],
  ["a byte of a computed value is cut", `(i32.store8 (i32.const 3) (i32.add (i32.const 300) (i32.load (i32.const 16)))) ${byte(3)}`, 44],
  ["a signed byte", "(i32.store8 (i32.const 3) (i32.const 255)) (f64.convert_i32_s (i32.load8_s (i32.const 3)))", -1],
  ["two bytes written as one", `(i32.store16 (i32.const 2) (i32.const 513)) (f64.add ${byte(2)} (f64.mul (f64.const 10) ${byte(3)}))`, 21],
  ["a byte beside one that nobody reads", `(i32.store16 (i32.const 2) (i32.const 513)) ${byte(3)}`, 2],
])("%s", (_, body, value) => expect(both(body)).toEqual([value, value]));

test.each([
  ["computed", "(f64.load (i32.load (i32.const 0)))"],
  ["a place of two kinds", "(drop (i32.load (i32.const 8))) (f64.load (i32.const 8))"],
  ["overlap", "(drop (i32.load (i32.const 12))) (f64.load (i32.const 8))"],
  ["a part of a place", "(i32.store8 (i32.const 9) (i32.const 1)) (f64.load (i32.const 8))"],
])("the build stops: %s", (problem, body) => expect(() => both(body)).toThrow(problem));
