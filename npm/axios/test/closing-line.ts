import type { Reporter, TestModule } from "vitest/node";

/** A last line that `cargo xtask test` counts the tests by: that of Rust's own runner. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) counts[test.result().state]++;
    }
    const failed = counts.failed + counts.pending;
    console.log(
      `test result: ${failed ? "FAILED" : "ok"}. ${counts.passed} passed; ${failed} failed; ${counts.skipped} ignored; 0 measured; 0 filtered out`,
    );
  }
}
