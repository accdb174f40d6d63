//! The issuer: sign-ins, a token endpoint and a cookie endpoint over one ledger of refresh tokens.

mod authorize;
pub(crate) mod builder;
mod client;
mod cookie_session;
pub(crate) mod counters;
mod device;
mod endpoints;
pub(crate) mod event;
pub(crate) mod fault;
mod form;
pub(crate) mod grant;
pub(crate) mod ledger;
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

use crate::clock::Clock;
use crate::gate::Gate;
use crate::server::tasks::Tasks;
use builder::IssuerBuilder;
use client::Clients;
use counters::Counters;
use event::IssuerEvent;
use fault::Faults;
use grant::Grant;
use ledger::{Decision, FamilyId, Issued, Judgement, Ledger};

/// An authorization server on a loopback port.
///
/// It serves until [`shutdown`](Self::shutdown) or until it is dropped. A refresh request that was read is processed to
/// its end even when its client has gone, as real issuers do: the token is consumed, the answer is lost.
///
/// | endpoint | what it does |
/// |---|---|
/// | `GET /authorize` | RFC 6749 section 4.1.1, with PKCE by S256 (RFC 7636): signs the user in without a page, `alice` or whom `login_hint` names, and redirects with `code`, `state` and `iss` (RFC 9207); with `deny` it answers `access_denied` |
/// | `POST /device_authorization` | RFC 8628: gives a device code and a user code |
/// | `GET`, `POST /device` | where the user code is entered: with `user_code` it signs in `alice`, or whom `user` names, at once; with `deny` it says no; answers with a line of text |
/// | `POST /token` | RFC 6749: `authorization_code`, `refresh_token`, `client_credentials` (confidential clients) and `password`; RFC 8628: device codes |
/// | `POST /revoke` | RFC 7009 |
/// | `POST /introspect` | RFC 7662 |
/// | `POST /login` | JSON `{"user", "password"}`; any password but `wrong`; answers `{"accessToken", "wsToken", "expiresIn"}` and sets the httpOnly cookie `refresh_token` for `/api/auth` |
/// | `POST /api/auth/refresh` | redeems that cookie and answers like `/login`; 401 without one or with a dead one |
/// | `POST /logout` | revokes the session of the cookie, or of the bearer token where the cookie does not reach, and clears the cookie; 204 |
/// | `GET /counters` | [`Counters`] as JSON |
/// | `GET /.well-known/oauth-authorization-server`, `GET /.well-known/openid-configuration` | RFC 8414 |
///
/// With `openid` in its scope a sign-in brings an `id_token`, signed as the JWT access tokens are.
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
    /// An issuer of one-hour JWTs with single-use refresh tokens and the public client `demo`, unless told otherwise.
    pub fn builder() -> IssuerBuilder {
        IssuerBuilder::default()
    }

    /// `http://127.0.0.1:PORT`, also the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The authorization endpoint (RFC 6749 section 3.1).
    pub fn authorize_url(&self) -> &str {
        &self.authorize_url
    }

    /// The device authorization endpoint (RFC 8628 section 3.1).
    pub fn device_authorization_url(&self) -> &str {
        &self.device_authorization_url
    }

    /// Where a user enters the code that a device shows (RFC 8628 section 3.3).
    pub fn device_url(&self) -> &str {
        &self.device_url
    }

    /// The OAuth token endpoint (RFC 6749 section 3.2).
    pub fn token_url(&self) -> &str {
        &self.token_url
    }

    /// The cookie-based refresh endpoint.
    pub fn cookie_refresh_url(&self) -> &str {
        &self.cookie_refresh_url
    }

    /// The login that sets the refresh cookie.
    pub fn login_url(&self) -> &str {
        &self.login_url
    }

    /// The logout that revokes the session of the refresh cookie.
    pub fn logout_url(&self) -> &str {
        &self.logout_url
    }

    /// The revocation endpoint (RFC 7009).
    pub fn revoke_url(&self) -> &str {
        &self.revoke_url
    }

    /// The introspection endpoint (RFC 7662).
    pub fn introspect_url(&self) -> &str {
        &self.introspect_url
    }

    /// Signs `subject` in without HTTP, for the first client: a new family at generation 1.
    pub fn sign_in(&self, subject: &str) -> Grant {
        let now = self.shared.clock.now();
        let issued = self
            .shared
            .ledger()
            .sign_in(subject, self.shared.clients.first(), now);
        Grant::from(issued)
    }

    /// Lets `user` enter the code that a device shows. False if no such code waits for a decision.
    pub fn approve_device(&self, user_code: &str, user: &str) -> bool {
        let decision = Decision::Approved(user.to_owned());
        self.shared.decide(user_code, decision)
    }

    /// Lets a user say no to the code that a device shows. False if no such code waits for a decision.
    pub fn deny_device(&self, user_code: &str) -> bool {
        self.shared.decide(user_code, Decision::Denied)
    }

    /// Whether the authorization endpoint answers every request with `access_denied`. At first it does not.
    pub fn deny_sign_ins(&self, deny: bool) {
        self.shared.denies.store(deny, Ordering::Relaxed);
    }

    /// Refuses every access token issued so far, long before it expires. Refresh tokens stay.
    pub fn expire_access_tokens(&self) {
        self.shared.ledger().expire_access_tokens();
    }

    /// Revokes a family, given as its number or as a [`Grant`] of it: its refresh and access tokens are dead at once.
    pub fn revoke_family(&self, family: impl Into<u64>) {
        self.shared.ledger().revoke_family(family.into());
    }

    /// Whether the family, given as its number or as a [`Grant`] of it, exists and is not revoked.
    pub fn session_alive(&self, family: impl Into<u64>) -> bool {
        self.shared.ledger().family_alive(family.into())
    }

    /// The generation of the newest access token of the family, given as its number or as a [`Grant`] of it;
    /// 0 where there is no such family.
    pub fn newest_generation(&self, family: impl Into<u64>) -> u64 {
        self.shared.ledger().newest_generation(family.into())
    }

    /// The generation an access token was minted with, whether it is still good or not; `None` for a foreign one.
    pub fn generation_of(&self, access_token: &str) -> Option<u64> {
        self.shared.judge(access_token).generation()
    }

    /// Whether the upstream accepts this access token now.
    pub fn accepts(&self, access_token: &str) -> bool {
        matches!(self.shared.judge(access_token), Judgement::Active { .. })
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Sets all counters to zero. Requests in flight still count towards the maximum from here on.
    pub fn reset_counters(&self) {
        self.shared.ledger().reset_counters();
    }

    /// The faults that coming refresh requests meet, in order.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Holds refresh requests before they are looked at: no fault is drawn and no token consumed yet.
    pub fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    /// Holds refresh requests whose token was looked at (consumed, if it was good) and whose answer is about to go out.
    pub fn answer_gate(&self) -> Gate {
        self.shared.answer_gate.clone()
    }

    /// From now on access tokens live this long; those that are out keep their expiry.
    pub fn set_access_lifetime(&self, lifetime: Duration) {
        self.shared.ledger().lifetime = lifetime;
    }

    /// Moves the issuer's clock forward: tokens and leeways age without waiting.
    ///
    /// The clients' clocks stay, so this adds to the skew between them.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    /// Sign-ins, refreshes, reuse alarms and revocations from now on.
    ///
    /// A receiver that falls more than 4,096 events behind is told so and loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<IssuerEvent> {
        self.shared.ledger().events()
    }

    /// Closes the port and all connections, and waits until every task has ended.
    ///
    /// The ledger stays readable, and an [`Upstream`](crate::Upstream) of this issuer goes on judging tokens by it.
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

/// What the issuer's handle, its requests and its upstreams share.
pub(crate) struct IssuerShared {
    pub(crate) url: String,
    pub(crate) clock: Clock,
    clients: Clients,
    ledger: Mutex<Ledger>,
    faults: Faults,
    gate: Gate,
    answer_gate: Gate,
    answer_delay: Duration,
    announce_lifetime: bool,
    /// Whether every authorization request is denied.
    denies: AtomicBool,
    device_codes: DeviceCodes,
    tasks: Tasks,
}

/// How device codes are given out.
#[derive(Clone, Copy, Debug)]
struct DeviceCodes {
    lifetime: Duration,
    interval: Duration,
}

impl IssuerShared {
    /// The ledger, locked. Never to be held across an await.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has happened so far.
    pub(crate) fn counters(&self) -> Counters {
        self.ledger().counters()
    }

    /// What a user makes of a user code; false if none waits for it.
    fn decide(&self, user_code: &str, decision: Decision) -> bool {
        let now = self.clock.now();
        self.ledger().decide(user_code, decision, now)
    }

    /// What the upstream thinks of an access token.
    pub(crate) fn judge(&self, access_token: &str) -> Judgement {
        let now = self.clock.now();
        self.ledger().judge(access_token, now)
    }
}

impl From<Issued> for Grant {
    fn from(issued: Issued) -> Self {
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
