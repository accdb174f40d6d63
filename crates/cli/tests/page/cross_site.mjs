// Sends requests from pages of three origins to a proxy: an origin that the proxy does not know, an
// allowed origin, and a development server that forwards `/api` to the proxy. The first page is visited
// under two names: with `localhost` it is another site, with `127.0.0.1` only another origin.
//
//   node cross_site.mjs
//
// Prints the ports of the pages as JSON. Then reads the proxy's URL from stdin, and prints the results.
import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { chromium } from "playwright-core";
import { ARGUMENTS } from "./browser.mjs";

const HTML = "<!doctype html><title>page</title><iframe name=frame></iframe>";
let proxy;

/** Serves an empty page, and forwards `/api` to the proxy as Vite does with `changeOrigin`. */
async function serve() {
  const server = createServer((asked, answer) => {
    if (!asked.url.startsWith("/api/")) {
      answer.setHeader("content-type", "text/html").end(HTML);
      return;
    }
    const headers = { ...asked.headers, host: new URL(proxy).host };
    const path = asked.url.slice("/api".length);
    const forwarded = request(`${proxy}${path}`, { method: asked.method, headers }, (answered) => {
      answer.writeHead(answered.statusCode, answered.headers);
      answered.pipe(answer);
    });
    asked.pipe(forwarded);
  });
  await new Promise((listening) => server.listen(0, listening));
  return server;
}

/** Each kind of request that a page can send. Runs in the page. */
const KINDS = {
  "no-cors-get": (url) => fetch(url, { mode: "no-cors" }),
  "no-cors-post": (url) => fetch(url, { mode: "no-cors", method: "POST", body: "x" }),
  "credentials": (url) => fetch(url, { mode: "no-cors", credentials: "include" }),
  "cors-get": (url) => fetch(url).then((answer) => answer.text()),
  "cors-post": (url) => fetch(url, { method: "POST", body: "x" }).then((answer) => answer.text()),
  "delete": (url) => fetch(url, { method: "DELETE" }),
  "json": (url) => fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }),
  "image": (url) => new Promise((done) => {
    const image = new Image();
    image.onload = image.onerror = done;
    image.src = url;
  }),
  "script": (url) => new Promise((done) => {
    const script = document.createElement("script");
    script.onload = script.onerror = done;
    script.src = url;
    document.body.append(script);
  }),
  "stylesheet": (url) => new Promise((done) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.onload = link.onerror = done;
    link.href = url;
    document.head.append(link);
  }),
  "frame": (url) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = done;
    frame.src = url;
    document.body.append(frame);
  }),
  "form": (url) => new Promise((done) => {
    const frame = document.querySelector("iframe[name=frame]");
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: url, target: "frame" });
    document.body.append(form);
    frame.onload = done;
    form.submit();
  }),
  "websocket": (url) => new Promise((done) => {
    const socket = new WebSocket(url.replace("http:", "ws:"));
    socket.onopen = socket.onclose = socket.onerror = done;
  }),
  "event-source": (url) => new Promise((done) => {
    const events = new EventSource(url);
    events.onopen = events.onerror = () => { events.close(); done(); };
  }),
  "beacon": (url) => navigator.sendBeacon(url, "x"),
};

/** Kinds that leave the page. */
const LEAVING = {
  "top-level-form": (url) => {
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: url });
    document.body.append(form);
    form.submit();
  },
  "link": (url) => { location.href = url; },
};

async function attack(context, page, name) {
  const [tab] = context.pages();
  await tab.goto(page);
  for (const [kind, send] of Object.entries(KINDS)) {
    const seen = context.waitForEvent("request", (sent) => sent.url().includes(`kind=${kind}-${name}`))
      // Playwright reports no request for a WebSocket.
      .catch((error) => assert.equal(kind, "websocket", error));
    const url = `${proxy}/echo?kind=${kind}-${name}`;
    await tab.evaluate(`Promise.resolve((${send})(${JSON.stringify(url)})).then(() => null, () => null)`);
    if (kind !== "websocket") await seen;
  }
  for (const [kind, send] of Object.entries(LEAVING)) {
    await tab.goto(page);
    const url = `${proxy}/echo?kind=${kind}-${name}`;
    const answered = tab.waitForResponse((answer) => answer.url() === url);
    await tab.evaluate(`(${send})(${JSON.stringify(url)})`);
    assert.equal((await answered).status(), 403, kind);
    await tab.waitForURL(url);
  }
}

/** Uses the API from a page of an allowed origin, reading every answer. */
const useApi = async (base) => {
  const read = async (path, options) => {
    const answer = await fetch(`${base}${path}`, options);
    const body = await answer.json();
    return { status: answer.status, body, type: answer.headers.get("content-type") };
  };
  return {
    get: await read("/echo?kind=allowed-get"),
    post: await read("/echo?kind=allowed-post", {
      method: "POST", headers: { "content-type": "application/json", "x-trace": "1" }, body: "{}",
    }),
    delete: await read("/echo?kind=allowed-delete", { method: "DELETE", credentials: "include" }),
    problem: await read("/a/..%2fb"),
  };
};

const servers = await Promise.all([serve(), serve(), serve()]);
const [attacker, allowed, development] = servers.map((server) => server.address().port);
console.log(JSON.stringify({ attacker, allowed, development }));
const lines = createInterface({ input: process.stdin });
proxy = (await lines[Symbol.asyncIterator]().next()).value;

const profile = await mkdtemp(join(tmpdir(), "page-test-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ARGUMENTS,
});
try {
  await attack(context, `http://localhost:${attacker}/`, "site");
  await attack(context, `http://127.0.0.1:${attacker}/`, "origin");
  const [tab] = context.pages();
  await tab.goto(`http://localhost:${allowed}/`);
  const api = await tab.evaluate(useApi, proxy);
  await tab.goto(`http://localhost:${development}/`);
  const developed = await tab.evaluate(useApi, "/api");
  // The user opens the address.
  const opened = (await tab.goto(`${proxy}/echo?kind=typed`)).status();
  const kinds = Object.keys(KINDS).length + Object.keys(LEAVING).length;
  console.log(JSON.stringify({ kinds, api, developed, opened }));
} finally {
  await context.close();
  await rm(profile, { recursive: true, force: true });
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  lines.close();
  process.stdin.destroy();
}
