import { buildSync } from "esbuild";

/** `play` of `replay.ts`, with the machine minified as it is shipped. */
export async function minifiedPlay(): Promise<typeof import("./replay.js").play> {
  const { outputFiles } = buildSync({
    entryPoints: [new URL("replay.ts", import.meta.url).pathname],
    bundle: true, minify: true, write: false, format: "esm", target: "es2022",
  });
  const { play } = await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(outputFiles[0]!.text)}`);
  return play;
}
