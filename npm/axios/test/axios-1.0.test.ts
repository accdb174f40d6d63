import { expect, test, vi } from "vitest";
import { holds } from "./versions.js";

vi.mock("axios", () => import("axios-1.0"));

test("axios 1.0.0", async () => {
  const { default: axios } = await import("axios");
  expect(axios).toBeTruthy();
  await holds(axios, "1.0.0");
});
