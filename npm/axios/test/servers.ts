import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import axios, { type AxiosAdapter, type AxiosStatic } from "axios";

const PROGRAM = process.env.TOKEN_ROTATOR ?? new URL("../../../target/debug/token-rotator", import.meta.url).pathname;

export interface Issuer {
  upstream: string;
  counters(): Promise<{ issuer: Record<string, number>; upstream: Record<string, any> }>;
  stop(): Promise<void>;
}

/** The testkit's issuer and upstream, as a process of their own. */
export async function startIssuer(...args: string[]): Promise<Issuer> {
  const child: ChildProcess = spawn(PROGRAM, ["issuer", "--json", ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout! });
  const [line] = (await Promise.race([
    once(lines, "line"),
    once(child, "exit").then(() => Promise.reject(new Error("the issuer ended before it was ready"))),
    once(child, "error").then(([error]) => Promise.reject(new Error(`cargo build -p token-rotator-cli: ${error.message}`))),
  ])) as [string];
  const endpoints = JSON.parse(line) as { upstream: string; counters: string };
  return {
    upstream: endpoints.upstream,
    counters: async () => (await fetch(endpoints.counters)).json() as never,
    stop: async () => {
      if (child.exitCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

export interface Server {
  url: string;
  /** `METHOD /path` of every request, in the order of arrival. */
  seen: { line: string; authorization?: string; body: string }[];
  count(line: string): number;
  /** Resolves when so many requests of this line have arrived. */
  arrived(line: string, count: number): Promise<void>;
  stop(): Promise<void>;
}

export type Handler = (request: IncomingMessage & { body: string }, response: ServerResponse) => void | Promise<void>;

/** A server of the test's own, for what a well-behaved issuer never does. */
export async function startServer(handler: Handler): Promise<Server> {
  const seen: Server["seen"] = [];
  let waiting: (() => void)[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString("latin1");
    seen.push({ line: `${request.method} ${request.url}`, authorization: request.headers.authorization, body });
    waiting.splice(0).forEach((wake) => wake());
    await handler(Object.assign(request, { body }), response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const count = (line: string) => seen.filter((one) => one.line === line).length;
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    count,
    arrived: async (line, wanted) => {
      while (count(line) < wanted) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

export function json(response: ServerResponse, status: number, data: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(data));
}

/** Hands requests on to an upstream; `hold` may keep an answer back. */
export async function startFront(upstream: string, hold: (line: string, status: number) => Promise<void> | undefined): Promise<Server> {
  return startServer((request, response) => {
    const { host: _, "transfer-encoding": __, ...headers } = request.headers;
    const out = httpRequest(upstream + request.url, { method: request.method, headers }, async (answer) => {
      await hold(`${request.method} ${request.url}`, answer.statusCode!);
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    out.end(Buffer.from(request.body, "latin1"));
  });
}

/** Node has no cookies: an adapter that keeps them, as a browser would. */
export function withCookies(from: AxiosStatic = axios): AxiosAdapter & { jar: Map<string, string> } {
  const jar = new Map<string, string>();
  const inner = from.getAdapter("http");
  const adapter: AxiosAdapter = async (config) => {
    if (jar.size) config.headers.set("Cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    const keep = (answer: { headers: any } | undefined) => {
      for (const cookie of (answer?.headers["set-cookie"] ?? []) as string[]) {
        const [pair] = cookie.split(";") as [string];
        const at = pair.indexOf("=");
        if (/max-age=0/i.test(cookie)) jar.delete(pair.slice(0, at));
        else jar.set(pair.slice(0, at), pair.slice(at + 1));
      }
    };
    try {
      const answer = await inner(config);
      keep(answer);
      return answer;
    } catch (error) {
      keep((error as { response?: { headers: any } }).response);
      throw error;
    }
  };
  return Object.assign(adapter, { jar });
}
