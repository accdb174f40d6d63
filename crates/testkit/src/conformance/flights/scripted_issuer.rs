//! An issuer in memory with rotating refresh tokens. Tests can hold its responses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use token_rotator::{
    Expiry, ExposeSecret as _, Profile, Refreshed, SourceError, TokenSet, TokenSource,
};
use tokio::sync::watch;

/// Lifetime of the issuer's access tokens.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

/// How the issuer treats a used refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReusePolicy {
    /// Detects the reuse and ends the grant.
    Strict,
    /// Accepts the previous refresh token.
    ParentAlways,
    /// Accepts any refresh token.
    MultiUse,
}

impl ReusePolicy {
    pub(super) fn profile(self) -> Profile {
        match self {
            Self::Strict => Profile::strict(),
            Self::ParentAlways => Profile::parent_always(),
            Self::MultiUse => Profile::multi_use(),
        }
    }
}

/// The issuer, as a token source.
#[derive(Clone)]
pub(super) struct ScriptedIssuer(Arc<Inner>);

struct Inner {
    policy: ReusePolicy,
    state: Mutex<IssuerState>,
    /// Number of requests that have arrived.
    arrived: watch::Sender<usize>,
    /// Number of the request whose response is held.
    held: watch::Sender<Option<usize>>,
    revoked: watch::Sender<Vec<String>>,
}

#[derive(Default)]
struct IssuerState {
    grant_states: Vec<GrantState>,
    refreshes: usize,
    reuses_detected: usize,
}

struct GrantState {
    /// Number of the grant's newest token.
    newest: usize,
    alive: bool,
}

impl ScriptedIssuer {
    pub(super) fn new(policy: ReusePolicy) -> Self {
        Self(Arc::new(Inner {
            policy,
            state: Mutex::default(),
            arrived: watch::Sender::new(0),
            held: watch::Sender::new(None),
            revoked: watch::Sender::new(Vec::new()),
        }))
    }

    /// Creates a grant with a valid access token.
    pub(super) fn login(&self) -> TokenSet {
        let mut state = self.state();
        state.grant_states.push(GrantState {
            newest: 0,
            alive: true,
        });
        tokens(state.grant_states.len() - 1, 0)
    }

    /// Creates a grant with an expired access token.
    pub(super) fn expired_login(&self) -> TokenSet {
        let past = SystemTime::now() - Duration::from_secs(1);
        self.login().with_expiry(Expiry::At(past))
    }

    /// Holds the response to the next request.
    pub(super) fn hold_next_response(&self) {
        let next = *self.0.arrived.borrow() + 1;
        self.0.held.send_replace(Some(next));
    }

    pub(super) fn release_response(&self) {
        self.0.held.send_replace(None);
    }

    /// Waits until this many requests have arrived since the start.
    pub(super) async fn wait_for_requests(&self, count: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let arrival = arrived.wait_for(|arrived| *arrived >= count).await;
        arrival.expect("the issuer exists");
    }

    /// Waits until this access token was revoked.
    pub(super) async fn revoked(&self, access_token: &str) {
        let mut revoked = self.0.revoked.subscribe();
        let revocation =
            revoked.wait_for(|tokens| tokens.iter().any(|token| token == access_token));
        revocation.await.expect("the issuer exists");
    }

    pub(super) fn requests(&self) -> usize {
        *self.0.arrived.borrow()
    }

    pub(super) fn refreshes(&self) -> usize {
        self.state().refreshes
    }

    pub(super) fn reuses_detected(&self) -> usize {
        self.state().reuses_detected
    }

    fn state(&self) -> MutexGuard<'_, IssuerState> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Spends the refresh token on arrival, whether or not the response is received.
    fn redeem(&self, refresh_token: &str) -> Result<TokenSet, SourceError> {
        let unknown = || SourceError::terminal("no such refresh token").with_code("invalid_grant");
        let mut numbers = refresh_token
            .strip_prefix("refresh-")
            .ok_or_else(unknown)?
            .split('-')
            .map(str::parse::<usize>);
        let (Some(Ok(grant)), Some(Ok(number))) = (numbers.next(), numbers.next()) else {
            return Err(unknown());
        };
        let mut state = self.state();
        let IssuerState {
            grant_states,
            refreshes,
            reuses_detected,
        } = &mut *state;
        let held = grant_states.get_mut(grant).ok_or_else(unknown)?;
        if !held.alive {
            return Err(unknown());
        }
        let is_accepted = match self.0.policy {
            ReusePolicy::Strict => number == held.newest,
            ReusePolicy::ParentAlways => number + 1 >= held.newest,
            ReusePolicy::MultiUse => true,
        };
        if !is_accepted {
            held.alive = false;
            *reuses_detected += 1;
            return Err(unknown().with_reuse_detected());
        }
        *refreshes += 1;
        held.newest += 1;
        Ok(tokens(grant, held.newest))
    }
}

impl TokenSource for ScriptedIssuer {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let mut number = 0;
        let result = {
            let last = last.as_deref().and_then(TokenSet::refresh_token);
            let result = self.redeem(last.map_or("", |token| token.expose_secret()));
            self.0.arrived.send_modify(|arrived| {
                *arrived += 1;
                number = *arrived;
            });
            result
        };
        let mut held = self.0.held.subscribe();
        let released = held.wait_for(|held| *held != Some(number)).await;
        released.expect("the issuer exists");
        result.map(Refreshed::from)
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        let access_token = tokens.access_token().expose_secret().to_owned();
        self.0
            .revoked
            .send_modify(|tokens| tokens.push(access_token));
        Ok(())
    }
}

/// Returns the access token with this grant and number.
pub(super) fn access_token(grant: usize, number: usize) -> String {
    format!("access-{grant}-{number}")
}

fn tokens(grant: usize, number: usize) -> TokenSet {
    TokenSet::bearer(access_token(grant, number))
        .with_refresh_token(format!("refresh-{grant}-{number}"))
        .expires_in(LIFETIME)
}
