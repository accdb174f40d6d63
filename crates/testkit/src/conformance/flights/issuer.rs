//! An issuer in memory whose refresh tokens rotate, and whose answers can be held back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use token_rotator::{
    Expiry, ExposeSecret as _, Profile, Refreshed, SourceError, TokenSet, TokenSource,
};
use tokio::sync::watch;

/// How long its access tokens are good.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

/// What it does with a refresh token that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Takes it for a theft and ends the grant.
    Strict,
    /// Takes the last one again.
    ParentAlways,
    /// Takes any.
    MultiUse,
}

impl Policy {
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
pub(super) struct Desk(Arc<Inner>);

struct Inner {
    policy: Policy,
    state: Mutex<State>,
    /// How many requests have arrived.
    arrived: watch::Sender<usize>,
    /// The number of the request whose answer is held back.
    held: watch::Sender<Option<usize>>,
    revoked: watch::Sender<Vec<String>>,
}

#[derive(Default)]
struct State {
    grants: Vec<Grant>,
    refreshes: usize,
    alarms: usize,
}

struct Grant {
    /// The number of its newest token.
    newest: usize,
    alive: bool,
}

impl Desk {
    pub(super) fn new(policy: Policy) -> Self {
        Self(Arc::new(Inner {
            policy,
            state: Mutex::default(),
            arrived: watch::Sender::new(0),
            held: watch::Sender::new(None),
            revoked: watch::Sender::new(Vec::new()),
        }))
    }

    /// A new grant, its access token good.
    pub(super) fn login(&self) -> TokenSet {
        let mut state = self.state();
        state.grants.push(Grant {
            newest: 0,
            alive: true,
        });
        tokens(state.grants.len() - 1, 0)
    }

    /// A new grant whose access token has expired.
    pub(super) fn expired_login(&self) -> TokenSet {
        let past = SystemTime::now() - Duration::from_secs(1);
        self.login().with_expiry(Expiry::At(past))
    }

    /// Holds back the answer to the next request.
    pub(super) fn hold_the_next(&self) {
        let next = *self.0.arrived.borrow() + 1;
        self.0.held.send_replace(Some(next));
    }

    pub(super) fn let_go(&self) {
        self.0.held.send_replace(None);
    }

    /// Ends when so many requests have arrived in all.
    pub(super) async fn arrived(&self, count: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let enough = arrived.wait_for(|arrived| *arrived >= count).await;
        enough.expect("the issuer is here");
    }

    /// Ends when this access token was revoked.
    pub(super) async fn revoked(&self, access_token: &str) {
        let mut revoked = self.0.revoked.subscribe();
        let there = revoked.wait_for(|all| all.iter().any(|one| one == access_token));
        there.await.expect("the issuer is here");
    }

    pub(super) fn requests(&self) -> usize {
        *self.0.arrived.borrow()
    }

    pub(super) fn refreshes(&self) -> usize {
        self.state().refreshes
    }

    pub(super) fn alarms(&self) -> usize {
        self.state().alarms
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Spends the refresh token as it arrives, whatever becomes of the answer.
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
        let State {
            grants,
            refreshes,
            alarms,
        } = &mut *state;
        let held = grants.get_mut(grant).ok_or_else(unknown)?;
        if !held.alive {
            return Err(unknown());
        }
        let taken = match self.0.policy {
            Policy::Strict => number == held.newest,
            Policy::ParentAlways => number + 1 >= held.newest,
            Policy::MultiUse => true,
        };
        if !taken {
            held.alive = false;
            *alarms += 1;
            return Err(unknown().with_reuse_detected());
        }
        *refreshes += 1;
        held.newest += 1;
        Ok(tokens(grant, held.newest))
    }
}

impl TokenSource for Desk {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let mut number = 0;
        let answer = {
            let last = last.as_deref().and_then(TokenSet::refresh_token);
            let answer = self.redeem(last.map_or("", |token| token.expose_secret()));
            self.0.arrived.send_modify(|arrived| {
                *arrived += 1;
                number = *arrived;
            });
            answer
        };
        let mut held = self.0.held.subscribe();
        let free = held.wait_for(|held| *held != Some(number)).await;
        free.expect("the issuer is here");
        answer.map(Refreshed::from)
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        let access_token = tokens.access_token().expose_secret().to_owned();
        self.0.revoked.send_modify(|all| all.push(access_token));
        Ok(())
    }
}

/// The access token of this grant and number.
pub(super) fn access_token(grant: usize, number: usize) -> String {
    format!("access-{grant}-{number}")
}

fn tokens(grant: usize, number: usize) -> TokenSet {
    TokenSet::bearer(access_token(grant, number))
        .with_refresh_token(format!("refresh-{grant}-{number}"))
        .expires_in(LIFETIME)
}
