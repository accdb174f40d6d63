// Checks the package as npm would pack it, with publint and are-the-types-wrong.
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const folder = mkdtempSync(join(tmpdir(), "token-rotator-pack-"));
try {
  const [{ filename }] = JSON.parse(execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], { encoding: "utf8" }));
  const tarball = readFileSync(join(folder, filename));
  const { messages, pkg } = await publint({ pack: { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength) } });
  const { problems } = await checkPackage(createPackageFromTarballData(tarball));
  for (const message of messages) console.error(`publint: ${formatMessage(message, pkg)}`);
  for (const problem of problems) console.error(`attw: ${JSON.stringify(problem)}`);
  console.log(`publint: ${messages.length} remarks; attw: ${problems.length} problems`);
  if (messages.length || problems.length) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}

// What one entry notes of a refusal, the other can tell: in both kinds of modules they share their code.
const require = createRequire(import.meta.url);
const both = await Promise.all(["../dist/index.js", "../dist/fetch.js"].map((entry) => import(entry)));
for (const [one, other] of [both, [require("../dist/index.cjs"), require("../fetch")]]) {
  if (one.handBackReason === other.handBackReason && one.TokenSession === other.TokenSession) continue;
  console.error("error: the entries carry the shared code twice");
  process.exitCode = 1;
}
