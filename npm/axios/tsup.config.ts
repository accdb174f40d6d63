import { defineConfig } from "tsup";

export default defineConfig({
  entry: { index: "src/index.ts", fetch: "src/fetch.ts" },
  format: ["esm", "cjs"],
  dts: true,
  splitting: true,
  clean: true,
  target: "es2022",
  external: ["axios"],
});
