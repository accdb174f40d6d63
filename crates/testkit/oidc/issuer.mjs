// A certified issuer (npm's oidc-provider), and an upstream that asks it about every token, for the tests.
//
// Usage: node issuer.mjs [--access-token-seconds 3] [--refresh-token-seconds 120] [--token-prefix CANARY-7f3a-]
//
// The environment variables OIDC_ACCESS_TOKEN_SECONDS, OIDC_REFRESH_TOKEN_SECONDS and OIDC_TOKEN_PREFIX set the same
// options. Once all three servers listen, the process prints one line of JSON with their URLs to standard output, and
// nothing else. The process ends when its standard input closes, so that it ends with a killed test: start it with a
// pipe, not with /dev/null. README.md describes the protocol.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

// The provider prints only advice for production with these functions.
console.info = () => {};
console.warn = () => {};

const { default: Provider } = await import('oidc-provider');

const options = {
  accessTokenSeconds: Number(option('access-token-seconds', '3')),
  refreshTokenSeconds: Number(option('refresh-token-seconds', '120')),
  tokenPrefix: option('token-prefix', 'CANARY-7f3a-'),
};

const clients = {
  public: { client_id: 'public-client', token_endpoint_auth_method: 'none' },
  basic: { client_id: 'basic-client', client_secret: 'CANARY-7f3a-client-secret-basic', token_endpoint_auth_method: 'client_secret_basic' },
  post: { client_id: 'post-client', client_secret: 'CANARY-7f3a-client-secret-post', token_endpoint_auth_method: 'client_secret_post' },
};
const scope = 'openid offline_access read';
const tokenPath = '/token';
const deviceCode = 'urn:ietf:params:oauth:grant-type:device_code';

const issuerServer = createServer();
const upstreamServer = createServer(upstream);
const controlServer = createServer(control);
const issuerUrl = await listen(issuerServer);
const upstreamUrl = await listen(upstreamServer);
const controlUrl = await listen(controlServer);

let stats = zeroStats();
const faults = { delayMs: 0, loseAnswers: 0, holdRefusals: 0 };
// The resolve functions of the held refusals.
const heldRefusals = [];
// The issued tokens that were not destroyed, for /_expire: identifier to model.
const issued = new Map();
// Time of issue in milliseconds and stored record of the newest access token, for /_aged.
let newest;

const provider = new Provider(issuerUrl, {
  clients: Object.values(clients).map((client) => ({
    ...client,
    // Only a confidential client may use client credentials (RFC 6749 section 4.4).
    grant_types: ['authorization_code', 'refresh_token', deviceCode, ...(client.client_secret ? ['client_credentials'] : [])],
    redirect_uris: ['http://127.0.0.1/callback'],
    application_type: 'native',
  })),
  scopes: scope.split(' '),
  // With the default of 15 s, a token of 3 s would be valid for 18 s.
  clockTolerance: 0,
  rotateRefreshToken: true,
  issueRefreshToken: async () => true,
  findAccount: async (_ctx, accountId) => ({ accountId, claims: async () => ({ sub: accountId }) }),
  ttl: {
    AccessToken: options.accessTokenSeconds,
    ClientCredentials: options.accessTokenSeconds,
    RefreshToken: options.refreshTokenSeconds,
    IdToken: 60,
    Grant: 3600,
    Session: 3600,
    Interaction: 600,
    AuthorizationCode: 60,
    DeviceCode: 600,
  },
  features: {
    // Login pages that accept any name and password.
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  cookies: { keys: ['of no value outside this process'] },
});

// Every token and every code has the prefix that the canary step of `cargo xtask test` searches for in all output.
for (const model of [provider.AccessToken, provider.RefreshToken, provider.ClientCredentials, provider.AuthorizationCode, provider.DeviceCode]) {
  const original = model.prototype.generateTokenId;
  model.prototype.generateTokenId = function generateTokenId() {
    return options.tokenPrefix + original.call(this);
  };
}

for (const [event, model] of [['access_token', provider.AccessToken], ['client_credentials', provider.ClientCredentials]]) {
  provider.on(`${event}.saved`, (token) => {
    issued.set(token.jti, model);
    // The record is read now, because it may be deleted before its expiry is requested.
    newest = { issuedAt: Date.now(), stored: model.adapter.find(token.jti) };
  });
  provider.on(`${event}.destroyed`, (token) => issued.delete(token.jti));
}
provider.on('grant.success', (ctx) => {
  if (ctx.oidc.params.grant_type === 'refresh_token') stats.refreshes += 1;
});
provider.on('grant.error', (_ctx, error) => {
  stats.errors += 1;
  stats.errors_by_code[error.error] = (stats.errors_by_code[error.error] ?? 0) + 1;
  if (error.error_detail === 'refresh token already used') stats.reuses += 1;
});
provider.on('grant.revoked', () => { stats.grants_revoked += 1; });
provider.on('server_error', (_ctx, error) => {
  stats.server_errors += 1;
  console.error('server_error', error);
});

// The faults wrap the provider: it has spent the token and responded before the connection is closed.
provider.use(async (ctx, next) => {
  if (ctx.path !== tokenPath) return next();
  stats.token_requests += 1;
  stats.token_requests_now += 1;
  stats.token_requests_at_once = Math.max(stats.token_requests_at_once, stats.token_requests_now);
  try {
    if (faults.delayMs > 0) await sleep(faults.delayMs);
    await next();
  } finally {
    stats.token_requests_now -= 1;
  }
  if (faults.loseAnswers > 0) {
    faults.loseAnswers -= 1;
    stats.answers_lost += 1;
    ctx.respond = false;
    ctx.req.socket.destroy();
  }
  return undefined;
});

issuerServer.on('request', provider.callback());

console.log(JSON.stringify({
  issuer: issuerUrl,
  token_endpoint: issuerUrl + tokenPath,
  revocation_endpoint: `${issuerUrl}/token/revocation`,
  introspection_endpoint: `${issuerUrl}/token/introspection`,
  upstream: upstreamUrl,
  control: controlUrl,
  clients: Object.fromEntries(Object.entries(clients).map(([name, client]) => [
    name,
    { client_id: client.client_id, client_secret: client.client_secret ?? null },
  ])),
  scope,
  access_token_seconds: options.accessTokenSeconds,
  refresh_token_seconds: options.refreshTokenSeconds,
  token_prefix: options.tokenPrefix,
  pid: process.pid,
}));

process.stdin.resume();
for (const event of ['end', 'close', 'error']) process.stdin.on(event, () => process.exit(0));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));

/** The protected API: GET or POST /echo. */
async function upstream(request, response) {
  const url = new URL(request.url, upstreamUrl);
  const hash = createHash('sha256');
  let length = 0;
  try {
    for await (const chunk of request) {
      hash.update(chunk);
      length += chunk.length;
    }
  } catch {
    return; // The client closed the connection before the end of its body.
  }
  if (url.pathname !== '/echo') {
    respond(response, 404, { error: 'not_found' });
    return;
  }
  const [scheme, value] = (request.headers.authorization ?? '').split(' ');
  const presented = scheme.toLowerCase() === 'bearer' ? value : undefined;
  const token = presented && (await provider.AccessToken.find(presented) ?? await provider.ClientCredentials.find(presented));
  if (!token) {
    stats.upstream_401 += 1;
    await waitForHeldRefusals();
    // RFC 6750 section 3.1: no error code if the request has no token.
    const challenge = presented
      ? 'Bearer realm="fixture", error="invalid_token", error_description="the access token expired or was revoked"'
      : 'Bearer realm="fixture"';
    respond(response, 401, { error: presented ? 'invalid_token' : 'unauthorized' }, { 'www-authenticate': challenge });
    return;
  }
  stats.upstream_200 += 1;
  respond(response, 200, {
    method: request.method,
    path: url.pathname,
    query: url.search.slice(1),
    client_id: token.clientId,
    account_id: token.accountId ?? null,
    grant_id: token.grantId ?? null,
    body_length: length,
    body_sha256: hash.digest('hex'),
  });
}

/** The control interface for tests. */
async function control(request, response) {
  try {
    const url = new URL(request.url, controlUrl);
    const body = await readJson(request);
    const route = `${request.method} ${url.pathname}`;
    const handler = {
      'POST /_mint': () => mint(body),
      'POST /_expire': expireAccessTokens,
      'GET /_aged': () => waitForAge(Number(url.searchParams.get('share') ?? '1')),
      'POST /_fault': () => setFaults(body),
      'POST /_reset': () => { stats = { ...zeroStats(), token_requests_now: stats.token_requests_now }; return stats; },
      'GET /_stats': () => stats,
      'GET /_alive': async () => ({ alive: Boolean(await provider.Grant.find(url.searchParams.get('grant_id') ?? '')) }),
    }[route];
    if (handler) respond(response, 200, await handler());
    else respond(response, 404, { error: `no such command: ${route}` });
  } catch (error) {
    respond(response, 400, { error: error.message });
  }
}

/** Creates a grant as a login would, without a login. */
async function mint({ client = 'public', account = 'alice', access_token: withAccessToken = true } = {}) {
  if (!clients[client]) throw new Error(`no such client: ${client}; there are ${Object.keys(clients).join(', ')}`);
  const clientModel = await provider.Client.find(clients[client].client_id);
  const grant = new provider.Grant({ accountId: account, clientId: clientModel.clientId });
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  const common = { accountId: account, client: clientModel, grantId, gty: 'authorization_code', scope };
  const refreshToken = await new provider.RefreshToken({ ...common, authTime: Math.floor(Date.now() / 1000) }).save();
  const session = {
    grant_id: grantId,
    client_id: clientModel.clientId,
    refresh_token: refreshToken,
    token_type: 'Bearer',
    scope,
  };
  if (withAccessToken) {
    session.access_token = await new provider.AccessToken(common).save();
    session.expires_in = options.accessTokenSeconds;
  }
  return session;
}

/** Expires every access token issued so far. Refresh tokens and grants stay valid. */
async function expireAccessTokens() {
  const all = [...issued];
  issued.clear();
  await Promise.all(all.map(([id, model]) => model.adapter.destroy(id)));
  return { expired: all.length };
}

/** Waits until `share` of the newest access token's lifetime has passed. */
async function waitForAge(share) {
  if (!(share >= 0 && share <= 1)) throw new Error('share is a number from 0 to 1');
  if (!newest) throw new Error('no access token has been issued yet');
  const { issuedAt, stored } = newest;
  const { exp } = await stored;
  const moment = issuedAt + share * (exp * 1000 - issuedAt);
  // Timers may fire a fraction of a millisecond early.
  while (Date.now() < moment) await sleep(Math.max(moment - Date.now(), 1));
  return { share };
}

/** Sets the faults. A fault that the request omits is switched off. */
function setFaults({ delay_ms: delayMs = 0, lose_answers: loseAnswers = 0, hold_refusals: holdRefusals = 0 } = {}) {
  Object.assign(faults, { delayMs, loseAnswers, holdRefusals });
  releaseIfComplete();
  return { delay_ms: delayMs, lose_answers: loseAnswers, hold_refusals: holdRefusals };
}

/** Waits until as many refusals are held as configured. Returns at once if no refusals are to be held. */
function waitForHeldRefusals() {
  if (faults.holdRefusals === 0) return undefined;
  return new Promise((release) => {
    heldRefusals.push(release);
    releaseIfComplete();
  });
}

function releaseIfComplete() {
  if (heldRefusals.length < faults.holdRefusals) return;
  faults.holdRefusals = 0;
  for (const release of heldRefusals.splice(0)) release();
}

function zeroStats() {
  return {
    token_requests: 0,
    token_requests_now: 0,
    token_requests_at_once: 0,
    refreshes: 0,
    errors: 0,
    errors_by_code: {},
    reuses: 0,
    grants_revoked: 0,
    answers_lost: 0,
    server_errors: 0,
    upstream_200: 0,
    upstream_401: 0,
  };
}

function respond(response, status, body, headers = {}) {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store', ...headers });
  response.end(text);
}

async function readJson(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : {};
}

function listen(server) {
  // Idle connections stay open. Closing a pooled connection would look like a lost response to a client.
  server.keepAliveTimeout = 0;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', 1024, () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}

function option(name, fallback) {
  const index = process.argv.indexOf(`--${name}`);
  return (index > 0 ? process.argv[index + 1] : undefined)
    ?? process.env[`OIDC_${name.toUpperCase().replaceAll('-', '_')}`]
    ?? fallback;
}
