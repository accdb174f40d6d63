import { expect } from "vitest";
import { createTokenRotator } from "../src/index.js";
import { json, startServer } from "./servers.js";

/** What must hold on every version of axios, on its own adapter. */
export async function holds(axios: any, wanted: string): Promise<void> {
  expect(axios.VERSION).toBe(wanted);
  const server = await startServer((request, response) => {
    if (request.url === "/api/auth/refresh") return json(response, 200, { token: "good" });
    const to = /^\/redirect\/(.*)/.exec(request.url!)?.[1];
    if (to) return void response.writeHead(307, { location: decodeURIComponent(to) }).end();
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
    await redirected(axios, server.url);
    await expect(api.get("/api/auth/refresh-not")).resolves.toMatchObject({ status: 200 });
  } finally {
    await server.stop();
  }
}

/** Where Node follows a redirect to another origin, neither header goes with it. */
async function redirected(axios: any, baseURL: string): Promise<void> {
  const other = await startServer(({ headers }, response) => json(response, 200, { authorization: headers.authorization, token: headers["x-auth-token"] }));
  try {
    for (const applyToken of [undefined, (config: any, token: string) => (config.headers["X-Auth-Token"] = token)]) {
      const { api, setAccessToken } = createTokenRotator({ axiosInstance: axios.create({ baseURL }), onRefreshSuccess: () => "never", applyToken });
      setAccessToken("good");
      expect((await api.get(`/redirect/${encodeURIComponent(`${other.url}/x`)}`)).data).toEqual({});
    }
  } finally {
    await other.stop();
  }
}
