// Property: the machine answers every scenario as the core does, byte for byte.
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { minifiedPlay } from "./minified.js";

const play = await minifiedPlay();
const home = new URL("../../../scenarios/", import.meta.url);
const files = ["", "generated/"].flatMap((folder) =>
  readdirSync(new URL(folder, home)).filter((name) => name.endsWith(".json")).map((name) => folder + name));

test("there are scenarios to replay", () => expect(files.length).toBeGreaterThan(70));

test.each(files)("%s", (name) => {
  const text = readFileSync(new URL(name, home), "utf8");
  const played = [JSON.parse(text)].flat().flatMap(play).map((event) => JSON.stringify(event));
  const expected = text.split("\n").filter((line) => line.startsWith('    {"event"')).map((line) => line.trim().replace(/,$/, ""));
  expect(expected.length).toBeGreaterThan(0);
  expect(played).toEqual(expected);
});
