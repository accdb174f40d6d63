//! An issuer in memory: single-use refresh tokens that rotate, with reuse detection.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use token_rotator::{Expiry, ExposeSecret as _, Refreshed, SourceError, TokenSet, TokenSource};
use tokio::sync::watch;

use super::{LIFETIME, lock};

/// What the issuer does instead of a normal answer.
pub(crate) enum IssuerAction {
    /// Fails without spending the refresh token.
    Fail(SourceError),
    /// Rotates the refresh token and loses the answer.
    LoseAnswer,
    /// Rotates the refresh token and never answers.
    SpendAndHang,
    /// Never answers.
    Hang,
    Panic,
    /// Answers after this time.
    Delay(Duration),
    /// Answers with this token set.
    Answer(TokenSet),
}

#[derive(Clone)]
pub(crate) struct Issuer(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    held: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
    running: AtomicUsize,
    max_concurrent: AtomicUsize,
}

struct State {
    prefix: &'static str,
    minted: usize,
    /// Maps a refresh token to its family. Spent tokens stay, so that their reuse is detected.
    families: HashMap<String, usize>,
    active: HashMap<usize, String>,
    /// The last spent refresh token of each family, which `parent_always` accepts.
    parents: HashMap<usize, String>,
    parent_always: bool,
    without_grant: bool,
    with_answer: bool,
    expiry: Expiry,
    script: VecDeque<IssuerAction>,
    reuse_alarms: usize,
    refreshes: usize,
    revoked: Vec<String>,
    fail_revocation: bool,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                prefix: "",
                minted: 0,
                families: HashMap::new(),
                active: HashMap::new(),
                parents: HashMap::new(),
                parent_always: false,
                without_grant: false,
                with_answer: false,
                expiry: Expiry::In(LIFETIME),
                script: VecDeque::new(),
                reuse_alarms: 0,
                refreshes: 0,
                revoked: Vec::new(),
                fail_revocation: false,
            }),
            held: watch::Sender::new(false),
            arrived: watch::Sender::new(0),
            running: AtomicUsize::new(0),
            max_concurrent: AtomicUsize::new(0),
        }))
    }

    /// Begins a new session and returns its tokens.
    pub(crate) fn login(&self) -> TokenSet {
        let mut state = lock(&self.0.state);
        let family = state.minted;
        state.mint(family)
    }

    pub(crate) fn prefix(&self, prefix: &'static str) {
        lock(&self.0.state).prefix = prefix;
    }

    pub(crate) fn expiry(&self, expiry: Expiry) {
        lock(&self.0.state).expiry = expiry;
    }

    /// Accepts the parent of the active refresh token too, as Supabase does.
    pub(crate) fn parent_always(&self) {
        lock(&self.0.state).parent_always = true;
    }

    /// Starts a session for a request without a refresh token, as with client credentials.
    pub(crate) fn without_grant(&self) {
        lock(&self.0.state).without_grant = true;
    }

    /// Adds the answer that the after-refresh hook receives.
    pub(crate) fn with_answer(&self) {
        lock(&self.0.state).with_answer = true;
    }

    pub(crate) fn fail_revocation(&self) {
        lock(&self.0.state).fail_revocation = true;
    }

    /// Appends an action to the script: each refresh takes the next action.
    pub(crate) fn push_action(&self, action: IssuerAction) {
        lock(&self.0.state).script.push_back(action);
    }

    /// Delays every refresh until `release`.
    pub(crate) fn hold(&self) {
        self.0.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// Waits until this many refresh calls have arrived in total.
    pub(crate) async fn wait_for_calls(&self, tasks: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let enough = arrived.wait_for(|arrived| *arrived >= tasks).await;
        enough.expect("the issuer is here");
    }

    /// Number of calls to the refresh endpoint.
    pub(crate) fn refresh_calls(&self) -> usize {
        *self.0.arrived.borrow()
    }

    /// Number of refreshes that returned new tokens; a lost answer counts.
    pub(crate) fn refreshes(&self) -> usize {
        lock(&self.0.state).refreshes
    }

    pub(crate) fn reuse_alarms(&self) -> usize {
        lock(&self.0.state).reuse_alarms
    }

    /// Refresh tokens of the revoked grants, in order.
    pub(crate) fn revoked(&self) -> Vec<String> {
        lock(&self.0.state).revoked.clone()
    }

    /// Maximum number of refreshes that ran at the same time.
    pub(crate) fn max_concurrent(&self) -> usize {
        self.0.max_concurrent.load(Ordering::SeqCst)
    }

    /// Spends this refresh token as another process does.
    pub(crate) fn spend(&self, tokens: &TokenSet) -> TokenSet {
        let mut state = lock(&self.0.state);
        state.rotate(Some(tokens)).expect("a live refresh token")
    }
}

impl State {
    fn mint(&mut self, family: usize) -> TokenSet {
        self.minted += 1;
        let (prefix, number) = (self.prefix, self.minted);
        let refresh_token = format!("{prefix}refresh-{number}");
        self.families.insert(refresh_token.clone(), family);
        self.active.insert(family, refresh_token.clone());
        TokenSet::bearer(format!("{prefix}access-{number}"))
            .with_refresh_token(refresh_token)
            .with_id_token(format!("{prefix}id-{number}"))
            .with_extra("ws_token", format!("{prefix}extra-{number}"))
            .with_expiry(self.expiry)
    }

    fn rotate(&mut self, last: Option<&TokenSet>) -> Result<TokenSet, SourceError> {
        let presented = last
            .and_then(TokenSet::refresh_token)
            .map(|token| token.expose_secret().to_owned());
        let Some(presented) = presented else {
            if self.without_grant {
                self.refreshes += 1;
                let family = self.minted;
                return Ok(self.mint(family));
            }
            return Err(SourceError::terminal("there is no refresh token"));
        };
        let invalid = || SourceError::terminal("refused").with_code("invalid_grant");
        let Some(family) = self.families.get(&presented).copied() else {
            return Err(invalid());
        };
        let active = self.active.get(&family).cloned();
        let Some(active) = active else {
            return Err(invalid());
        };
        let parent = self.parent_always && self.parents.get(&family) == Some(&presented);
        if active != presented && !parent {
            self.reuse_alarms += 1;
            self.active.remove(&family);
            return Err(invalid().with_reuse_detected());
        }
        self.parents.insert(family, presented);
        self.refreshes += 1;
        Ok(self.mint(family))
    }
}

/// Counts a call as running until it is dropped.
struct RunningCall<'a>(&'a AtomicUsize);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl TokenSource for Issuer {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let now = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
        let _running = RunningCall(&self.0.running);
        self.0.max_concurrent.fetch_max(now, Ordering::SeqCst);
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let mut held = self.0.held.subscribe();
        held.wait_for(|held| !held)
            .await
            .expect("the issuer is here");
        let act = lock(&self.0.state).script.pop_front();
        match act {
            Some(IssuerAction::Fail(error)) => return Err(error),
            Some(IssuerAction::LoseAnswer) => {
                lock(&self.0.state).rotate(last.as_deref())?;
                return Err(SourceError::uncertain("the answer was lost"));
            }
            Some(IssuerAction::SpendAndHang) => {
                lock(&self.0.state).rotate(last.as_deref())?;
                std::future::pending::<()>().await;
            }
            Some(IssuerAction::Hang) => std::future::pending::<()>().await,
            Some(IssuerAction::Panic) => panic!("the source panics, as the test wants it"),
            Some(IssuerAction::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(IssuerAction::Answer(tokens)) => return Ok(tokens.into()),
            None => {}
        }
        let mut state = lock(&self.0.state);
        let refreshed = Refreshed::from(state.rotate(last.as_deref())?);
        Ok(if state.with_answer {
            refreshed.with_answer(Arc::new("the answer"))
        } else {
            refreshed
        })
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        let mut state = lock(&self.0.state);
        let token = tokens.refresh_token().expect("a refresh token");
        state.revoked.push(token.expose_secret().to_owned());
        if state.fail_revocation {
            return Err(SourceError::transient("no revocation today"));
        }
        Ok(())
    }
}
