// What the rotation costs a request that needs nothing of it, beside bare axios, in one run: `npm run hot-path`.
// The adapter answers at once, so that what is measured is axios and the rotation, and no network.
import axios from "axios";
import { createTokenRotator } from "../dist/index.js";

const adapter = async (config) => ({ data: "", status: 200, statusText: "OK", headers: {}, config, request: null });
const baseURL = "https://api.example.com";
const headers = { Authorization: "Bearer token" };
const bare = axios.create({ baseURL, adapter, headers });
const { api, setAccessToken } = createTokenRotator({ axiosInstance: axios.create({ baseURL, adapter }), onRefreshSuccess: () => "token" });
setAccessToken("token");

const ROUNDS = 15;
const REQUESTS = 4_000;
const times = { bare: [], rotated: [] };
for (let round = 0; round < ROUNDS + 3; round++) {
  for (const [name, client] of [["bare", bare], ["rotated", api]]) {
    const start = process.hrtime.bigint();
    for (let n = 0; n < REQUESTS; n++) await client.get("/x");
    if (round >= 3) times[name].push(Number(process.hrtime.bigint() - start) / REQUESTS / 1000);
  }
}
const middle = (list) => list.sort((a, b) => a - b)[list.length >> 1];
const [without, with_] = [middle(times.bare), middle(times.rotated)];
console.log(`bare axios ${without.toFixed(1)} us a request, with the rotation ${with_.toFixed(1)} us: ${(with_ / without).toFixed(2)} times`);
