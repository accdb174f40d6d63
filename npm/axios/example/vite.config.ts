import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// For `npm run example`: the upstream that `token-rotator issuer` printed.
const upstream = process.env.UPSTREAM ?? "http://127.0.0.1:8080";

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  resolve: { alias: { "@token-rotator/axios": fileURLToPath(new URL("../dist/index.js", import.meta.url)) } },
  server: { host: "127.0.0.1", proxy: Object.fromEntries(["/login", "/logout", "/echo", "/api"].map((path) => [path, upstream])) },
});
