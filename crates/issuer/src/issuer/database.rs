//! The issuer's tokens and the rules of rotation. The database does no IO, and its methods take the time as an
//! argument.
//!
//! - This file opens families and revokes them.
//! - `access` issues and validates access tokens.
//! - `redeem` redeems refresh tokens by the refresh policy.
//! - `codes` and `devices` hold authorization codes and device codes.

mod access;
mod codes;
mod devices;
mod redeem;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::clock::whole_milliseconds;
use crate::issuer::counters::Counters;
use crate::issuer::event::{IssuerEvent, RevocationCause};
use crate::issuer::mint::{IdClaims, Mint};
use crate::issuer::policy::RefreshPolicy;
use crate::issuer::refusal::Refusal;
use access::AccessTokens;
pub(crate) use access::TokenValidity;
use codes::AuthorizationCode;
pub(super) use codes::{Authorization, CodeRedemption};
use devices::DeviceCode;
pub(super) use devices::{DeviceRequest, UserDecision};
pub(super) use redeem::Redemption;

/// Number of a family.
pub(crate) type FamilyId = u64;

/// The scope of a sign-in that requested none.
const DEFAULT_SCOPE: &str = "api";

/// All families with their tokens.
pub(crate) struct TokenDatabase {
    policy: RefreshPolicy,
    /// Lifetime of access tokens minted from now on.
    pub(super) lifetime: Duration,
    mint: Mint,
    families: HashMap<FamilyId, Family>,
    refresh_tokens: HashMap<Arc<str>, RefreshToken>,
    access_tokens: AccessTokens,
    codes: HashMap<String, AuthorizationCode>,
    /// Keyed by device code.
    devices: HashMap<String, DeviceCode>,
    /// The family of each client and scope for client credentials.
    client_families: HashMap<(String, Option<String>), FamilyId>,
    counters: Counters,
    refresh_in_flight: u64,
    events: broadcast::Sender<IssuerEvent>,
}

/// One sign-in and all tokens that descend from it.
pub(super) struct Family {
    subject: Arc<str>,
    client: Arc<str>,
    scope: Arc<str>,
    /// Number of access tokens issued to the family.
    generation: u64,
    revoked: bool,
}

/// State of a refresh token.
struct RefreshToken {
    family: FamilyId,
    parent: Option<Arc<str>>,
    /// Time of the first redemption, in milliseconds on the issuer's clock.
    used_at: Option<i64>,
    /// The refresh token that the last redemption issued.
    successor: Option<Arc<str>>,
    /// Whether a refresh token that descends directly from this token was redeemed.
    child_used: bool,
}

/// The tokens of one response.
pub(crate) struct IssuedTokens {
    pub(crate) access_token: String,
    /// `None` if the client keeps its refresh token, or if the grant type has no refresh tokens.
    pub(crate) refresh_token: Option<String>,
    /// Present after a sign-in whose scope contains `openid`.
    pub(crate) id_token: Option<String>,
    pub(crate) lifetime: Duration,
    pub(crate) scope: String,
    pub(crate) family: FamilyId,
    pub(crate) generation: u64,
}

impl TokenDatabase {
    pub(super) fn new(policy: RefreshPolicy, lifetime: Duration, mint: Mint) -> Self {
        Self {
            policy,
            lifetime,
            mint,
            families: HashMap::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: AccessTokens::default(),
            codes: HashMap::new(),
            devices: HashMap::new(),
            client_families: HashMap::new(),
            counters: Counters::default(),
            refresh_in_flight: 0,
            events: broadcast::Sender::new(4096),
        }
    }

    /// Signs `subject` in: opens a family.
    pub(super) fn sign_in(&mut self, subject: &str, client: &str, now: i64) -> IssuedTokens {
        self.open(subject, client, RequestedAccess::default(), now)
    }

    /// Signs in over HTTP: counts the login, and refuses the password `wrong`.
    pub(super) fn login(
        &mut self,
        subject: &str,
        password: &str,
        client: &str,
        requested: RequestedAccess<'_>,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        if password == "wrong" {
            return Err(Refusal::Grant("wrong password"));
        }
        self.counters.logins += 1;
        Ok(self.open(subject, client, requested, now))
    }

    /// Issues an access token for the client itself (RFC 6749 section 4.4), without a refresh token.
    pub(super) fn client_credentials(
        &mut self,
        client: &str,
        requested: RequestedAccess<'_>,
        now: i64,
    ) -> IssuedTokens {
        let key = (client.to_owned(), requested.scope.map(str::to_owned));
        let existing = self
            .client_families
            .get(&key)
            .copied()
            .filter(|family| self.family_alive(*family));
        let family = existing.unwrap_or_else(|| {
            let family = self.new_family(client, client, requested.scope);
            self.client_families.insert(key, family);
            family
        });
        self.counters.client_credentials += 1;
        self.issue(family, requested, None, now)
    }

    pub(super) fn revoke_family(&mut self, family: FamilyId) {
        self.revoke(family, RevocationCause::Test);
    }

    /// Revokes a refresh token with its family, or an access token alone (RFC 7009 section 2.1).
    pub(super) fn revoke_token(&mut self, token: &str, client: &str) {
        if let Some(refresh) = self.refresh_tokens.get(token) {
            let family = refresh.family;
            if self.owns(client, family) {
                self.revoke(family, RevocationCause::Client);
            }
        } else if let Some(identity) = self.mint.identity(token) {
            let family = self
                .access_tokens
                .get(&identity)
                .map(|access| access.family);
            if family.is_some_and(|family| self.owns(client, family)) {
                self.access_tokens.revoke(&identity);
            }
        }
    }

    /// Ends the session of the refresh token, or of the access token if the refresh token is unknown.
    pub(super) fn log_out(&mut self, refresh_token: Option<&str>, access_token: Option<&str>) {
        self.counters.logouts += 1;
        let by_cookie = refresh_token
            .and_then(|token| self.refresh_tokens.get(token))
            .map(|refresh| refresh.family);
        let by_bearer = || {
            let identity = self.mint.identity(access_token?)?;
            Some(self.access_tokens.get(&identity)?.family)
        };
        if let Some(family) = by_cookie.or_else(by_bearer) {
            self.revoke(family, RevocationCause::Client);
        }
    }

    pub(super) fn expire_access_tokens(&mut self) {
        self.access_tokens.expire_all();
    }

    pub(super) fn family_alive(&self, family: FamilyId) -> bool {
        self.families
            .get(&family)
            .is_some_and(|family| !family.revoked)
    }

    pub(super) fn newest_generation(&self, family: FamilyId) -> u64 {
        self.families
            .get(&family)
            .map_or(0, |family| family.generation)
    }

    /// Returns the validity of an access token at `now`.
    pub(crate) fn validate(&self, token: &str, now: i64) -> TokenValidity {
        let access = self
            .mint
            .identity(token)
            .and_then(|identity| self.access_tokens.get(&identity));
        match access {
            None => TokenValidity::Unknown,
            Some(access)
                if self.access_tokens.is_inactive(access, now)
                    || !self.family_alive(access.family) =>
            {
                TokenValidity::Inactive {
                    generation: access.generation,
                }
            }
            Some(access) => TokenValidity::Active(access.clone()),
        }
    }

    /// Returns the family of a refresh token that can still be redeemed.
    pub(super) fn redeemable(&self, token: &str) -> Option<&Family> {
        let refresh = self.refresh_tokens.get(token)?;
        let reusable = matches!(
            self.policy,
            RefreshPolicy::MultiUse | RefreshPolicy::Rotating
        );
        let family = self
            .families
            .get(&refresh.family)
            .filter(|family| !family.revoked)?;
        (reusable || refresh.used_at.is_none()).then_some(family)
    }

    pub(super) fn socket_token(&self) -> String {
        self.mint.socket_token()
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn reset_counters(&mut self) {
        self.counters = Counters {
            refresh_in_flight_max: self.refresh_in_flight,
            ..Counters::default()
        };
    }

    pub(super) fn count_token_request(&mut self) {
        self.counters.token_requests += 1;
    }

    pub(super) fn count_revoke_call(&mut self) {
        self.counters.revoke_calls += 1;
    }

    pub(super) fn refresh_begins(&mut self) {
        self.refresh_in_flight += 1;
        self.counters.refresh_in_flight_max = self
            .counters
            .refresh_in_flight_max
            .max(self.refresh_in_flight);
    }

    pub(super) fn refresh_ends(&mut self) {
        self.refresh_in_flight -= 1;
    }

    pub(super) fn events(&self) -> broadcast::Receiver<IssuerEvent> {
        self.events.subscribe()
    }

    fn open(
        &mut self,
        subject: &str,
        client: &str,
        requested: RequestedAccess<'_>,
        now: i64,
    ) -> IssuedTokens {
        let family = self.new_family(subject, client, requested.scope);
        let refresh_token = self.new_refresh_token(family, None);
        let issued = self.issue(family, requested, Some(&refresh_token), now);
        self.report(IssuerEvent::SignedIn { family });
        issued
    }

    /// Signs in over HTTP by an authorization code or a device code. Adds an `id_token` if the scope contains `openid`.
    fn open_by_code(
        &mut self,
        subject: &str,
        client: &str,
        requested: RequestedAccess<'_>,
        nonce: Option<&str>,
        now: i64,
    ) -> IssuedTokens {
        self.counters.logins += 1;
        let mut issued = self.open(subject, client, requested, now);
        if issued.scope.split(' ').any(|scope| scope == "openid") {
            issued.id_token = Some(self.mint.id_token(&IdClaims {
                subject,
                client,
                nonce,
                issued_at: now,
                expires_at: now.saturating_add(whole_milliseconds(self.lifetime)),
            }));
        }
        issued
    }

    fn new_family(&mut self, subject: &str, client: &str, scope: Option<&str>) -> FamilyId {
        let family = self.families.len() as FamilyId + 1;
        let scope = scope.unwrap_or(DEFAULT_SCOPE).into();
        let family_state = Family {
            subject: subject.into(),
            client: client.into(),
            scope,
            generation: 0,
            revoked: false,
        };
        self.families.insert(family, family_state);
        family
    }

    fn new_refresh_token(&mut self, family: FamilyId, parent: Option<&Arc<str>>) -> Arc<str> {
        let token: Arc<str> = self.mint.refresh_token().into();
        let refresh = RefreshToken {
            family,
            parent: parent.cloned(),
            used_at: None,
            successor: None,
            child_used: false,
        };
        self.refresh_tokens.insert(Arc::clone(&token), refresh);
        token
    }

    fn owns(&self, client: &str, family: FamilyId) -> bool {
        self.families
            .get(&family)
            .is_some_and(|family| &*family.client == client)
    }

    fn revoke(&mut self, family: FamilyId, cause: RevocationCause) {
        let Some(family_state) = self
            .families
            .get_mut(&family)
            .filter(|family| !family.revoked)
        else {
            return;
        };
        family_state.revoked = true;
        let generation = family_state.generation;
        match cause {
            RevocationCause::Reuse => self.counters.revocations += 1,
            RevocationCause::Client => self.counters.ended_by_client += 1,
            RevocationCause::CodeReuse | RevocationCause::Test => {}
        }
        self.report(IssuerEvent::Revoked {
            family,
            generation,
            cause,
        });
    }

    fn report(&self, event: IssuerEvent) {
        // Sending fails if the channel has no receiver, which is no error.
        let _ = self.events.send(event);
    }
}

impl Family {
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    fn covers(&self, scope: &str) -> bool {
        scope.split_ascii_whitespace().all(|requested| {
            self.scope
                .split_ascii_whitespace()
                .any(|granted| granted == requested)
        })
    }
}

/// Scope and audience that a request asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct RequestedAccess<'a> {
    pub(super) scope: Option<&'a str>,
    pub(super) audience: Option<&'a str>,
}
