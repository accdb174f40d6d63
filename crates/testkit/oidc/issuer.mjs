// A certified issuer (npm's oidc-provider) and an upstream that asks it about every token, for the tests.
//
//   node issuer.mjs [--access-token-seconds 3] [--refresh-token-seconds 120] [--token-prefix CANARY-7f3a-]
//
// Each option may also come from the environment: OIDC_ACCESS_TOKEN_SECONDS and so on. When everything listens, one line of
// JSON on standard output says where; nothing else is ever written there. The process ends when its standard input closes, so a
// test that is killed leaves no orphan behind: start it with a pipe, not with /dev/null. README.md has the protocol.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

// The provider prints its advice for production, and nothing else, with these two: a fixture heeds none of it.
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

let stats = freshStats();
const faults = { delayMs: 0, loseAnswers: 0, holdRefusals: 0 };
// The upstream's refusals that are held back, each to be let go.
const held = [];
// What the provider has issued and not destroyed, for /_expire: model and identifier.
const issued = new Map();
// When the token that the upstream has taken last was issued and will expire, for /_aged: seconds.
let lastTaken;

const provider = new Provider(issuerUrl, {
  clients: Object.values(clients).map((client) => ({
    ...client,
    // Only a confidential client may have a grant in its own name (RFC 6749 section 4.4).
    grant_types: ['authorization_code', 'refresh_token', deviceCode, ...(client.client_secret ? ['client_credentials'] : [])],
    redirect_uris: ['http://127.0.0.1/callback'],
    application_type: 'native',
  })),
  scopes: scope.split(' '),
  // The default of 15 s would let a token of 3 s live 18.
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
    // Pages for a login with any name and password.
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  cookies: { keys: ['of no value outside this process'] },
});

// Every token, and every code that becomes one, carries the prefix that the canary step of `cargo xtask test` looks for in all output.
for (const model of [provider.AccessToken, provider.RefreshToken, provider.ClientCredentials, provider.AuthorizationCode, provider.DeviceCode]) {
  const original = model.prototype.generateTokenId;
  model.prototype.generateTokenId = function generateTokenId() {
    return options.tokenPrefix + original.call(this);
  };
}

for (const [event, model] of [['access_token', provider.AccessToken], ['client_credentials', provider.ClientCredentials]]) {
  provider.on(`${event}.saved`, (token) => issued.set(token.jti, model));
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

// Faults wrap the provider without touching it: it has answered, and spent the token, before the connection is cut.
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
    return; // The caller hung up in the middle of its body: nobody is left to answer.
  }
  if (url.pathname !== '/echo') {
    answer(response, 404, { error: 'not_found' });
    return;
  }
  const [scheme, value] = (request.headers.authorization ?? '').split(' ');
  const presented = scheme.toLowerCase() === 'bearer' ? value : undefined;
  const token = presented && (await provider.AccessToken.find(presented) ?? await provider.ClientCredentials.find(presented));
  if (!token) {
    stats.upstream_401 += 1;
    await letGoTogether();
    // RFC 6750 section 3.1: no error code where the request carried no token at all.
    const challenge = presented
      ? 'Bearer realm="fixture", error="invalid_token", error_description="the access token expired or was revoked"'
      : 'Bearer realm="fixture"';
    answer(response, 401, { error: presented ? 'invalid_token' : 'unauthorized' }, { 'www-authenticate': challenge });
    return;
  }
  stats.upstream_200 += 1;
  lastTaken = { issuedAt: token.iat, expiresAt: token.exp };
  answer(response, 200, {
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

/** What a test tells the fixture and asks of it. */
async function control(request, response) {
  try {
    const url = new URL(request.url, controlUrl);
    const body = await readJson(request);
    const route = `${request.method} ${url.pathname}`;
    const handler = {
      'POST /_mint': () => mint(body),
      'POST /_expire': expire,
      'GET /_aged': () => aged(Number(url.searchParams.get('share') ?? '1')),
      'POST /_fault': () => fault(body),
      'POST /_reset': () => { stats = { ...freshStats(), token_requests_now: stats.token_requests_now }; return stats; },
      'GET /_stats': () => stats,
      'GET /_alive': async () => ({ alive: Boolean(await provider.Grant.find(url.searchParams.get('grant_id') ?? '')) }),
    }[route];
    if (handler) answer(response, 200, await handler());
    else answer(response, 404, { error: `no such command: ${route}` });
  } catch (error) {
    answer(response, 400, { error: error.message });
  }
}

/** A grant as a login would leave it, without a login. */
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

/** Every access token issued so far is refused from now on; refresh tokens and grants stay. */
async function expire() {
  const all = [...issued];
  issued.clear();
  await Promise.all(all.map(([id, model]) => model.adapter.destroy(id)));
  return { expired: all.length };
}

/** Answers when such a share of the life of the token that the upstream has taken last is over. */
async function aged(share) {
  if (!(share >= 0 && share <= 1)) throw new Error('share is a number from 0 to 1');
  if (!lastTaken) throw new Error('the upstream has taken no token yet');
  const { issuedAt, expiresAt } = lastTaken;
  const moment = (issuedAt + share * (expiresAt - issuedAt)) * 1000;
  // Timers may be early, by a fraction of a millisecond.
  while (Date.now() < moment) await sleep(Math.max(moment - Date.now(), 1));
  return { share };
}

/** Sets the faults; what is left out goes back to none. */
function fault({ delay_ms: delayMs = 0, lose_answers: loseAnswers = 0, hold_refusals: holdRefusals = 0 } = {}) {
  Object.assign(faults, { delayMs, loseAnswers, holdRefusals });
  letGoIfAllAreHere();
  return { delay_ms: delayMs, lose_answers: loseAnswers, hold_refusals: holdRefusals };
}

/** The end of a refusal's wait for the others; at once where none are held. */
function letGoTogether() {
  if (faults.holdRefusals === 0) return undefined;
  return new Promise((letGo) => {
    held.push(letGo);
    letGoIfAllAreHere();
  });
}

function letGoIfAllAreHere() {
  if (held.length < faults.holdRefusals) return;
  faults.holdRefusals = 0;
  for (const letGo of held.splice(0)) letGo();
}

function freshStats() {
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

function answer(response, status, body, headers = {}) {
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
  // Idle connections stay open: a pooled connection that the far side closes would look like a lost answer.
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
