//! The issuer: sign-ins, a token endpoint and a cookie endpoint over one in-memory token database.
//!
//! - `endpoints` routes requests; `authorize`, `device`, `token_endpoint` and `cookie_session` answer them.
//! - `refresh` leads a refresh request through gate, fault and token database.
//! - `database` holds the tokens and the rotation rules; `mint` creates the token strings.
//! - `client`, `form` and `refusal` are shared by the endpoints.
//! - `builder`, `counters`, `event`, `fault`, `grant` and `policy` hold the public types.

mod authorize;
pub(crate) mod builder;
mod client;
mod cookie_session;
pub(crate) mod counters;
pub(crate) mod database;
mod device;
mod endpoints;
pub(crate) mod event;
pub(crate) mod fault;
mod form;
pub(crate) mod grant;
mod mint;
pub(crate) mod policy;
mod refresh;
mod refusal;
mod token_endpoint;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::clock::IssuerClock;
use crate::gate::Gate;
use crate::server::tasks::Tasks;
use builder::IssuerBuilder;
use client::RegisteredClients;
use counters::Counters;
use database::{FamilyId, IssuedTokens, TokenDatabase, TokenValidity, UserDecision};
use event::IssuerEvent;
use fault::Faults;
use grant::Grant;

/// An authorization server on a loopback port.
///
/// The issuer serves until [`shutdown`](Self::shutdown) or until it is dropped. It processes a refresh request to its
/// end even if the client disconnects, as real issuers do. The refresh token is then consumed and the response lost.
///
/// | endpoint | what it does |
/// |---|---|
/// | `GET /authorize` | RFC 6749 section 4.1.1, with PKCE by S256 (RFC 7636). Signs in `alice`, or the user in `login_hint`, without a page. Redirects with `code`, `state` and `iss` (RFC 9207). With `deny` it redirects with `access_denied` |
/// | `POST /device_authorization` | RFC 8628: issues a device code and a user code |
/// | `GET`, `POST /device` | The page where the user enters the user code. With `user_code` it signs in `alice`, or the user in `user`, at once. With `deny` it denies the device. Responds with a line of text |
/// | `POST /token` | RFC 6749: `authorization_code`, `refresh_token`, `client_credentials` (confidential clients) and `password`; RFC 8628: device codes |
/// | `POST /revoke` | RFC 7009 |
/// | `POST /introspect` | RFC 7662 |
/// | `POST /login` | Takes JSON `{"user", "password"}`; accepts any password but `wrong`. Responds with `{"accessToken", "wsToken", "expiresIn"}` and sets the httpOnly cookie `refresh_token` for `/api/auth` |
/// | `POST /api/auth/refresh` | Redeems the cookie `refresh_token` and responds like `/login`. Responds with 401 if the cookie is missing or its token is invalid |
/// | `POST /logout` | Revokes the session of the cookie, or of the bearer token if the request has no cookie. Clears the cookie and responds with 204 |
/// | `GET /counters` | [`Counters`] as JSON |
/// | `GET /.well-known/oauth-authorization-server`, `GET /.well-known/openid-configuration` | RFC 8414 |
///
/// If the scope contains `openid`, a sign-in by code or device code returns an `id_token`, signed with the key of the
/// JWT access tokens.
pub struct Issuer {
    shared: Arc<IssuerShared>,
    authorize_url: String,
    device_authorization_url: String,
    device_url: String,
    token_url: String,
    cookie_refresh_url: String,
    login_url: String,
    logout_url: String,
    revoke_url: String,
    introspect_url: String,
}

impl Issuer {
    /// Creates a builder. Defaults: one-hour JWTs, single-use refresh tokens and the public client `demo`.
    pub fn builder() -> IssuerBuilder {
        IssuerBuilder::default()
    }

    /// Returns `http://127.0.0.1:PORT`, which is also the `iss` of the issuer's tokens.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Returns the URL of the authorization endpoint (RFC 6749 section 3.1).
    pub fn authorize_url(&self) -> &str {
        &self.authorize_url
    }

    /// Returns the URL of the device authorization endpoint (RFC 8628 section 3.1).
    pub fn device_authorization_url(&self) -> &str {
        &self.device_authorization_url
    }

    /// Returns the URL where a user enters the code that a device shows (RFC 8628 section 3.3).
    pub fn device_url(&self) -> &str {
        &self.device_url
    }

    /// Returns the URL of the OAuth token endpoint (RFC 6749 section 3.2).
    pub fn token_url(&self) -> &str {
        &self.token_url
    }

    /// Returns the URL of the cookie-based refresh endpoint.
    pub fn cookie_refresh_url(&self) -> &str {
        &self.cookie_refresh_url
    }

    /// Returns the URL of the login that sets the refresh cookie.
    pub fn login_url(&self) -> &str {
        &self.login_url
    }

    /// Returns the URL of the logout that revokes the session of the refresh cookie.
    pub fn logout_url(&self) -> &str {
        &self.logout_url
    }

    /// Returns the URL of the revocation endpoint (RFC 7009).
    pub fn revoke_url(&self) -> &str {
        &self.revoke_url
    }

    /// Returns the URL of the introspection endpoint (RFC 7662).
    pub fn introspect_url(&self) -> &str {
        &self.introspect_url
    }

    /// Signs `subject` in without HTTP, for the first registered client. Opens a new family at generation 1.
    pub fn sign_in(&self, subject: &str) -> Grant {
        let now = self.shared.clock.now();
        let issued = self
            .shared
            .database()
            .sign_in(subject, self.shared.clients.first(), now);
        Grant::from(issued)
    }

    /// Enters the code that a device shows, as `user`. Returns false if no device with this code waits for a decision.
    pub fn approve_device(&self, user_code: &str, user: &str) -> bool {
        let decision = UserDecision::Approved(user.to_owned());
        self.shared.record_decision(user_code, decision)
    }

    /// Denies the device that shows this code. Returns false if no device with this code waits for a decision.
    pub fn deny_device(&self, user_code: &str) -> bool {
        self.shared.record_decision(user_code, UserDecision::Denied)
    }

    /// Sets whether the authorization endpoint answers every request with `access_denied`. Default: false.
    pub fn deny_sign_ins(&self, deny: bool) {
        self.shared.deny_sign_ins.store(deny, Ordering::Relaxed);
    }

    /// Expires every access token issued so far. Refresh tokens stay valid.
    pub fn expire_access_tokens(&self) {
        self.shared.database().expire_access_tokens();
    }

    /// Revokes a family, given as its number or as a [`Grant`] of it. The family's refresh and access tokens become
    /// invalid at once.
    pub fn revoke_family(&self, family: impl Into<u64>) {
        self.shared.database().revoke_family(family.into());
    }

    /// Returns whether the family, given as its number or as a [`Grant`] of it, exists and is not revoked.
    pub fn session_alive(&self, family: impl Into<u64>) -> bool {
        self.shared.database().family_alive(family.into())
    }

    /// Returns the generation of the family's newest access token. The family is given as its number or as a [`Grant`]
    /// of it. Returns 0 if the family does not exist.
    pub fn newest_generation(&self, family: impl Into<u64>) -> u64 {
        self.shared.database().newest_generation(family.into())
    }

    /// Returns the generation of an access token, valid or not. Returns `None` if another issuer minted the token.
    pub fn generation_of(&self, access_token: &str) -> Option<u64> {
        self.shared.validate(access_token).generation()
    }

    /// Returns whether the upstream accepts this access token now.
    pub fn accepts(&self, access_token: &str) -> bool {
        matches!(
            self.shared.validate(access_token),
            TokenValidity::Active { .. }
        )
    }

    /// Returns the issuer's counters.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Sets all counters to zero. Requests in flight still count towards the maximum.
    pub fn reset_counters(&self) {
        self.shared.database().reset_counters();
    }

    /// Returns the queue of faults for coming refresh requests.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Returns the gate that holds refresh requests before the issuer draws a fault and redeems the token.
    pub fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    /// Returns the gate that holds refresh requests after their token was redeemed and before the response is sent.
    pub fn answer_gate(&self) -> Gate {
        self.shared.answer_gate.clone()
    }

    /// Sets the lifetime of access tokens issued from now on. Tokens issued earlier keep their expiry.
    pub fn set_access_lifetime(&self, lifetime: Duration) {
        self.shared.database().lifetime = lifetime;
    }

    /// Moves the issuer's clock forward: tokens and leeways age without waiting.
    ///
    /// The clients' clocks do not move, so the call adds to the skew between issuer and clients.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    /// Subscribes to sign-ins, refreshes, detected reuses and revocations from now on.
    ///
    /// The channel holds 4,096 events. A receiver that falls further behind gets a `Lagged` error and misses the oldest
    /// events.
    pub fn events(&self) -> broadcast::Receiver<IssuerEvent> {
        self.shared.database().events()
    }

    /// Closes the port and all connections, and waits until every task has ended.
    ///
    /// The counters stay readable. An [`Upstream`](crate::Upstream) of this issuer continues to validate tokens.
    pub async fn shutdown(&self) {
        self.shared.tasks.shutdown().await;
    }

    fn from_shared(shared: Arc<IssuerShared>) -> Self {
        let at = |path: &str| format!("{}{path}", shared.url);
        Self {
            authorize_url: at("/authorize"),
            device_authorization_url: at("/device_authorization"),
            device_url: at("/device"),
            token_url: at("/token"),
            cookie_refresh_url: at("/api/auth/refresh"),
            login_url: at("/login"),
            logout_url: at("/logout"),
            revoke_url: at("/revoke"),
            introspect_url: at("/introspect"),
            shared,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<IssuerShared> {
        &self.shared
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.tasks.stop();
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Issuer")
            .field("url", &self.shared.url)
            .finish_non_exhaustive()
    }
}

/// State that the issuer's handle, its requests and its upstreams share.
pub(crate) struct IssuerShared {
    pub(crate) url: String,
    pub(crate) clock: IssuerClock,
    clients: RegisteredClients,
    database: Mutex<TokenDatabase>,
    faults: Faults,
    gate: Gate,
    answer_gate: Gate,
    answer_delay: Duration,
    announce_lifetime: bool,
    /// Whether every authorization request is denied.
    deny_sign_ins: AtomicBool,
    device_codes: DeviceCodeOptions,
    tasks: Tasks,
}

/// Lifetime and polling interval of device codes.
#[derive(Clone, Copy, Debug)]
struct DeviceCodeOptions {
    lifetime: Duration,
    interval: Duration,
}

impl IssuerShared {
    /// Locks the token database. The guard is never held across an await.
    fn database(&self) -> MutexGuard<'_, TokenDatabase> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.database().counters()
    }

    /// Records the user's decision on a user code. Returns false if no device with this code waits for a decision.
    fn record_decision(&self, user_code: &str, decision: UserDecision) -> bool {
        let now = self.clock.now();
        self.database().record_decision(user_code, decision, now)
    }

    /// Returns the validity of an access token now.
    pub(crate) fn validate(&self, access_token: &str) -> TokenValidity {
        let now = self.clock.now();
        self.database().validate(access_token, now)
    }
}

impl From<IssuedTokens> for Grant {
    fn from(issued: IssuedTokens) -> Self {
        Self {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token.unwrap_or_default(),
            expires_in: issued.lifetime,
            family: issued.family,
            generation: issued.generation,
        }
    }
}

impl From<&Grant> for FamilyId {
    fn from(grant: &Grant) -> Self {
        grant.family
    }
}
