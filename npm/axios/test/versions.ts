import { expect } from "vitest";
import { createTokenRotator } from "../src/index.js";
import { json, startServer } from "./servers.js";

/** What must hold on every version of axios, on its own adapter. */
export async function holds(axios: any, wanted: string): Promise<void> {
  expect(axios.VERSION).toBe(wanted);
  const server = await startServer((request, response) => {
    if (request.url === "/api/auth/refresh") return json(response, 200, { token: "good" });
    return json(response, request.headers.authorization === "Bearer good" ? 200 : 401, { body: request.body, type: request.headers["content-type"] });
  });
  try {
    const axiosInstance = axios.create({ baseURL: server.url });
    const { api, setAccessToken } = createTokenRotator<{ token: string }>({ axiosInstance, onRefreshSuccess: (data) => data.token });
    setAccessToken("old");
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => api.post("/x", { n }, { params: { n } })));
    expect(answers.map(({ data }) => data)).toEqual(answers.map((_, n) => ({ body: `{"n":${n}}`, type: "application/json" })));
    expect(server.count("POST /api/auth/refresh")).toBe(1);
    expect(server.count("POST /x?n=7")).toBe(2);
    await expect(api.get("/api/auth/refresh-not")).resolves.toMatchObject({ status: 200 });
  } finally {
    await server.stop();
  }
}
