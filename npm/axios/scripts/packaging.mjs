// What others would find wrong with the package: publint and are-the-types-wrong, on what npm would pack.
import { execFileSync } from "node:child_process";
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
  // Node 10 knows no exports; the main entry works there, the fetch entry is for those who know them.
  const real = problems.filter(({ kind, resolutionKind }) => !(kind === "NoResolution" && resolutionKind === "node10"));
  for (const message of messages) console.error(`publint: ${formatMessage(message, pkg)}`);
  for (const problem of real) console.error(`attw: ${JSON.stringify(problem)}`);
  console.log(`publint: ${messages.length} remarks; attw: ${real.length} problems`);
  if (messages.length || real.length) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
