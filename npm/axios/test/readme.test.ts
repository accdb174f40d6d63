// Every `ts` block of the README compiles strictly, with what it takes from the program around it declared here.
import { readFileSync } from "node:fs";
import ts from "typescript";
import { expect, test } from "vitest";

const home = new URL("..", import.meta.url).pathname;
const blocks = [...readFileSync(`${home}README.md`, "utf8").matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block!);
const DECLARED = "declare const loginResponse: { accessToken: string };\n";

test("there are blocks to compile", () => expect(blocks.length).toBeGreaterThan(5));

test("every block compiles under --strict", () => {
  const files = new Map(blocks.map((block, n) => [`${home}test/readme-${n}.ts`, block]));
  files.set(`${home}test/readme.d.ts`, DECLARED);
  const options: ts.CompilerOptions = {
    strict: true, noEmit: true, skipLibCheck: true,
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"], types: ["node"],
    paths: { "@token-rotator/axios": [`${home}src/index.ts`], "@token-rotator/axios/fetch": [`${home}src/fetch.ts`] },
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.readFile = (name) => files.get(name) ?? readFile(name);
  host.getSourceFile = (name, version, ...rest) =>
    files.has(name) ? ts.createSourceFile(name, files.get(name)!, version) : getSourceFile(name, version, ...rest);
  const program = ts.createProgram([...files.keys()], options, host);
  const problems = ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) =>
    `${file?.fileName.slice(home.length)}:${file && ts.getLineAndCharacterOfPosition(file, start!).line + 1}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
  expect(problems).toEqual([]);
  expect(program.getSourceFiles().map(({ fileName }) => fileName)).toContain(`${home}src/index.ts`);
});
