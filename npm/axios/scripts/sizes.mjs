// Prints what each entry costs, minified and gzipped with axios external, and fails above the limits.
import { gzipSync } from "node:zlib";
import { buildSync } from "esbuild";

const LIMITS = { index: 7_700, fetch: 7_700 };
let failed = false;
for (const [entry, limit] of Object.entries(LIMITS)) {
  const built = buildSync({
    entryPoints: [new URL(`../dist/${entry}.js`, import.meta.url).pathname],
    bundle: true, minify: true, write: false, format: "esm", external: ["axios"], target: "es2022",
    legalComments: "none",
  });
  const { contents } = built.outputFiles[0];
  const gzipped = gzipSync(contents, { level: 9 }).length;
  failed ||= gzipped > limit;
  console.log(`${entry}: ${contents.length} bytes minified, ${gzipped} gzipped (at most ${limit})`);
}
if (failed) {
  console.error("error: an entry is larger than it may be");
  process.exit(1);
}
