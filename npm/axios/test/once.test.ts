// A request that cannot be sent twice waits for a refresh that is due, whichever request has started it.
import { expect, test } from "vitest";
import { FACES } from "./faces.js";
import { json, startServer } from "./servers.js";

test.each(["axios", "fetch"] as const)("%s: a request that is sent once waits for the early refresh in the air", async (face) => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const server = await startServer(async (request, response) => {
    if (request.url === "/api/auth/refresh") {
      await held;
      return json(response, 200, { accessToken: "newer", expiresIn: 3600 });
    }
    json(response, 200, {});
  });
  const { send, session } = FACES[face]({ baseURL: server.url, onRefreshSuccess: (data) => data });
  // The margin is a quarter of the lifetime at most, so a refresh is due after 75 s of 100.
  const { now } = Date;
  session.setAccessToken("older", { expiresIn: 100 });
  Date.now = () => now() + 90_000;
  try {
    await send("/first");
    await server.arrived("POST /api/auth/refresh", 1);
    const once = send("/once", { skipReplay: true });
    // Another request is sent and answered meanwhile.
    await send("/second");
    expect(server.count("GET /once")).toBe(0);
    release();
    await once;
    const { authorization } = server.seen.find(({ line }) => line === "GET /once")!;
    expect(authorization).toBe("Bearer newer");
  } finally {
    Date.now = now;
    release();
    await server.stop();
  }
});
