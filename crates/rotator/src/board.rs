//! Where callers and flights meet: the state machine under a lock, the token published for
//! everybody, and the signal of the flight in the air. No call here waits.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use token_rotator_core::{Failure, Flight, Landing, Now, Policy, Session, Stamp, Step, Validity};

use crate::clock::at_unix_millis;
use crate::error::RefreshError;
use crate::signal::Signal;
use crate::store::{Epoch, Version};
use crate::sync::{Mutex, Published, lock};
use crate::token::{Credential, Issued, Token};
use crate::token_set::TokenSet;

/// See the module.
pub(crate) struct Board {
    published: Published<Issued>,
    desk: Mutex<Desk>,
}

struct Desk {
    session: Session<Arc<Credential>, RefreshError, u64>,
    /// Of the flight in the air, or of the last one.
    signal: Arc<Signal>,
    early_at: u64,
    base: Base,
    /// The epoch whose end has been told.
    told_end_of: Option<u64>,
    /// What the next refresh starts from, where that is not the token set that is served: one that
    /// cannot be sent, but whose refresh token replaces the other's.
    successor: Option<Arc<TokenSet>>,
}

/// What is known of the record behind the session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Base {
    /// The sign-in; `None`: whatever the store holds.
    pub(crate) epoch: Option<Epoch>,
    /// The record as last seen or saved here: what the store should hold.
    pub(crate) seen: Option<Version>,
    /// The greatest revision ever seen. It outlives sign-ins and a store that was lost, so that no
    /// revision is given twice.
    pub(crate) floor: u64,
    /// A sign-in or sign-out of our own that the store does not have yet.
    pub(crate) unwritten: bool,
}

impl Base {
    /// A sign-in or sign-out of our own, which the store does not have yet.
    pub(crate) fn unwritten() -> Self {
        Self {
            epoch: Some(Epoch::random()),
            unwritten: true,
            ..Self::default()
        }
    }

    /// The record in this version.
    pub(crate) fn at(version: Version) -> Self {
        Self {
            epoch: Some(version.epoch),
            seen: Some(version),
            floor: version.revision,
            unwritten: false,
        }
    }
}

/// What became of a sign-in or sign-out that was found in the store.
pub(crate) enum Followed {
    /// Nothing: it is known, or the session has moved on.
    Not,
    SignedIn(Stamp<u64>),
    SignedOut,
}

/// The tokens that a sign-out leaves behind, if there were any.
pub(crate) struct LeftBehind(pub(crate) Option<Arc<TokenSet>>);

/// A flight, with the signal of its end.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) flight: Flight<u64>,
    pub(crate) signal: Arc<Signal>,
}

/// What a caller does next.
pub(crate) enum Next {
    /// Send with this token.
    Go(Token),
    /// Send with this token, after starting the flight.
    GoAndLaunch(Token, Ticket),
    /// Start the flight, then wait for it.
    Launch(Ticket),
    /// Wait for the flight.
    Wait(Ticket),
    /// Send bare; after a refusal: hand it back.
    Bare(Stamp<u64>),
    /// Hand the refusal back.
    HandBack,
    /// The session is another.
    Changed,
    /// The flight is overdue.
    Overdue,
    /// Fail.
    Fail(RefreshError),
}

/// A credential with how long it is good.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) credential: Arc<Credential>,
    pub(crate) validity: Validity<u64>,
}

impl Arrival {
    /// Tokens that cannot be sent: expired from the beginning, so that nobody is ever served them.
    pub(crate) fn unusable(tokens: Arc<TokenSet>) -> Self {
        Self {
            credential: Credential::unusable(tokens),
            validity: Validity::until(0),
        }
    }
}

/// What became of a failure that was reported.
pub(crate) enum Failed {
    /// Callers are told; no flight for so many milliseconds.
    Cooling(u64),
    /// The session has ended; `first`: nobody was told yet in this epoch.
    Ended { first: bool },
    /// It belongs to the past.
    Stale,
}

impl Board {
    pub(crate) fn new(policy: Policy<u64>) -> Self {
        Self {
            published: Published::empty(),
            desk: Mutex::new(Desk {
                session: Session::new(policy),
                signal: Signal::new(),
                early_at: u64::MAX,
                base: Base::default(),
                told_end_of: None,
                successor: None,
            }),
        }
    }

    /// The hot path: the token, if it may be served at this time of the wall clock without asking.
    #[inline]
    pub(crate) fn ready(&self, wall: SystemTime) -> Option<Token> {
        self.published
            .get_if(|issued| wall < issued.until)
            .map(Token)
    }

    /// The same for a request that cannot be repeated: not while a refresh is due.
    pub(crate) fn ready_for_once(&self, wall: SystemTime) -> Option<Token> {
        self.published
            .get_if(|issued| wall < issued.until.min(issued.early_at))
            .map(Token)
    }

    /// A request is about to be sent.
    pub(crate) fn acquire(&self, now: Now<u64>) -> Next {
        self.turn(now, |session| session.acquire(now))
    }

    /// A request that cannot be repeated is about to be sent: it waits for a refresh that is due.
    pub(crate) fn acquire_for_once(&self, now: Now<u64>) -> Next {
        let mut desk = lock(&self.desk);
        let due = now.wall >= desk.early_at;
        let step = match desk.session.acquire(now) {
            Step::UseAndRefresh { flight, .. } => {
                // The caller waits for it, so it is no longer one that may give way.
                let _waits = desk.session.settle(flight, now);
                Step::Refresh { flight }
            }
            Step::Use { token, stamp } if due => match desk.session.flight() {
                Some(flight) => match desk.session.settle(flight, now) {
                    Step::Wait { flight } => Step::Wait { flight },
                    _ => Step::Use { token, stamp },
                },
                None => Step::Use { token, stamp },
            },
            step => step,
        };
        self.next(&mut desk, step, now)
    }

    /// A request was refused.
    pub(crate) fn refused(&self, stamp: Stamp<u64>, now: Now<u64>) -> Next {
        let mut desk = lock(&self.desk);
        let step = desk.session.refused(stamp, now);
        // The token may be marked as refused by now, whatever the step is: nobody else gets it.
        self.publish(&desk, now);
        self.next(&mut desk, step, now)
    }

    /// Somebody asks for a refresh.
    pub(crate) fn force(&self, now: Now<u64>) -> Next {
        self.turn(now, |session| session.force(now))
    }

    /// The caller has waited for this flight.
    pub(crate) fn settle(&self, flight: Flight<u64>, now: Now<u64>) -> Next {
        let mut desk = lock(&self.desk);
        let step = desk.session.settle(flight, now);
        self.next(&mut desk, step, now)
    }

    /// The flight brought a token: it is installed and served from here on, its waiters are not
    /// yet released. `None`: the flight belongs to the past.
    pub(crate) fn refreshed(
        &self,
        flight: Flight<u64>,
        arrival: &Arrival,
        base: Base,
        now: Now<u64>,
    ) -> Option<Stamp<u64>> {
        self.land(arrival, base, now, |session| {
            let credential = Arc::clone(&arrival.credential);
            session.refreshed(flight, credential, arrival.validity, now)
        })
    }

    /// The flight found a token that somebody else had refreshed. Otherwise as above.
    pub(crate) fn adopted(
        &self,
        flight: Flight<u64>,
        arrival: &Arrival,
        base: Base,
        now: Now<u64>,
    ) -> Option<Stamp<u64>> {
        self.land(arrival, base, now, |session| {
            let credential = Arc::clone(&arrival.credential);
            session.adopted(flight, credential, arrival.validity, now)
        })
    }

    fn land(
        &self,
        arrival: &Arrival,
        base: Base,
        now: Now<u64>,
        event: impl FnOnce(&mut Session<Arc<Credential>, RefreshError, u64>) -> Landing<u64>,
    ) -> Option<Stamp<u64>> {
        let mut desk = lock(&self.desk);
        let early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        let landing = event(&mut desk.session);
        let Landing::Installed(stamp) = landing else {
            return None;
        };
        desk.early_at = early_at;
        desk.successor = None;
        desk.go_by(base);
        self.publish(&desk, now);
        Some(stamp)
    }

    /// The flight failed. Its waiters are not yet released.
    pub(crate) fn failed(
        &self,
        flight: Flight<u64>,
        failure: Failure<u64>,
        error: RefreshError,
        now: Now<u64>,
    ) -> Failed {
        let mut desk = lock(&self.desk);
        let landing = desk.session.failed(flight, failure, error, now);
        self.publish(&desk, now);
        match landing {
            Landing::Cooling(until) => Failed::Cooling(until.saturating_sub(now.steady)),
            Landing::Ended => {
                let epoch = desk.session.stamp().epoch;
                let first = desk.told_end_of.replace(epoch) != Some(epoch);
                Failed::Ended { first }
            }
            Landing::Installed(_) | Landing::Stale => Failed::Stale,
        }
    }

    /// An early flight would rather not wait for somebody else: may it end without a result?
    pub(crate) fn yielded(&self, flight: Flight<u64>, now: Now<u64>) -> bool {
        let mut desk = lock(&self.desk);
        let yielded = desk.session.yielded(flight, now);
        self.publish(&desk, now);
        yielded
    }

    /// Is the flight past its deadline? True if it has just become so.
    pub(crate) fn overdue(&self, flight: Flight<u64>, now: Now<u64>) -> bool {
        let mut desk = lock(&self.desk);
        let this_one = desk.session.flight() == Some(flight);
        let overdue = this_one && desk.session.overdue(now);
        self.publish(&desk, now);
        overdue
    }

    /// A newer token of the sign-in of `stamp`, made from the one that was current then. `None`:
    /// the session has moved on since.
    pub(crate) fn update(
        &self,
        stamp: Stamp<u64>,
        arrival: Arrival,
        now: Now<u64>,
    ) -> Option<Stamp<u64>> {
        let mut desk = lock(&self.desk);
        if desk.session.stamp() != stamp || desk.session.signed_out() {
            return None;
        }
        desk.early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        desk.successor = None;
        let stamp = desk
            .session
            .update(arrival.credential, arrival.validity, now);
        self.publish(&desk, now);
        Some(stamp)
    }

    /// The flight brought tokens that cannot be sent; the next one starts from them.
    pub(crate) fn go_on_with(&self, flight: Flight<u64>, tokens: Arc<TokenSet>) {
        let mut desk = lock(&self.desk);
        if desk.session.stamp() == flight.began {
            desk.successor = Some(tokens);
        }
    }

    /// A sign-in. Whoever waits for a flight of the session before it is released.
    pub(crate) fn sign_in(
        &self,
        arrival: Arrival,
        base: Base,
        now: Now<u64>,
    ) -> (Stamp<u64>, Option<Arc<TokenSet>>) {
        let mut desk = lock(&self.desk);
        let before = desk.tokens();
        let stamp = desk.sign_in(arrival, base, now);
        self.release(desk, now);
        (stamp, before)
    }

    /// A sign-out. `None`: there was nothing to sign out of.
    pub(crate) fn sign_out(&self, base: Base, now: Now<u64>) -> Option<LeftBehind> {
        let mut desk = lock(&self.desk);
        let before = desk.tokens();
        if !desk.session.sign_out() {
            return None;
        }
        desk.successor = None;
        desk.go_by(base);
        desk.signal.sign_out();
        self.release(desk, now);
        Some(LeftBehind(before))
    }

    /// Somebody else has signed in (or out: no arrival), as a flight that began in `began` found.
    /// Unless the session has moved on since, or knows that already, so it is here.
    pub(crate) fn follow(
        &self,
        began: Stamp<u64>,
        arrival: Option<Arrival>,
        base: Base,
        now: Now<u64>,
    ) -> Followed {
        let mut desk = lock(&self.desk);
        if desk.session.stamp().epoch != began.epoch || desk.base.epoch == base.epoch {
            return Followed::Not;
        }
        let followed = if let Some(arrival) = arrival {
            Followed::SignedIn(desk.sign_in(arrival, base, now))
        } else if desk.session.sign_out() {
            desk.successor = None;
            desk.go_by(base);
            desk.signal.sign_out();
            Followed::SignedOut
        } else {
            return Followed::Not;
        };
        self.release(desk, now);
        followed
    }

    /// What is known of the record behind the session, if that is still the one of `began`.
    pub(crate) fn base(&self, began: Stamp<u64>) -> Option<Base> {
        let desk = lock(&self.desk);
        (desk.session.stamp().epoch == began.epoch).then_some(desk.base)
    }

    /// The same, with the token set that a refresh starts from: both of the same moment.
    pub(crate) fn standing(&self, flight: Flight<u64>) -> Option<(Base, Option<Arc<TokenSet>>)> {
        let desk = lock(&self.desk);
        (desk.session.stamp().epoch == flight.began.epoch).then(|| (desk.base, desk.tokens()))
    }

    /// What is known of the record, with the stamp it is true of.
    pub(crate) fn known(&self) -> (Stamp<u64>, Base, Option<Arc<TokenSet>>) {
        let desk = lock(&self.desk);
        (desk.session.stamp(), desk.base, desk.tokens())
    }

    /// The record was seen or saved in this version, if the session is still that of `stamp`.
    pub(crate) fn saw(&self, stamp: Stamp<u64>, version: Version) {
        let mut desk = lock(&self.desk);
        if desk.session.stamp().epoch == stamp.epoch {
            desk.go_by(Base::at(version));
        }
    }

    /// The sign-in or sign-out that the store does not have yet, if the session is still that of
    /// `stamp`: what is known of it, and its tokens if there are any.
    pub(crate) fn unwritten(&self, stamp: Stamp<u64>) -> Option<(Base, Option<Arc<TokenSet>>)> {
        let desk = lock(&self.desk);
        let ours = desk.session.stamp().epoch == stamp.epoch && desk.base.unwritten;
        ours.then(|| (desk.base, desk.tokens()))
    }

    /// The token set that a refresh starts from, usable or not.
    pub(crate) fn tokens(&self) -> Option<Arc<TokenSet>> {
        lock(&self.desk).tokens()
    }

    /// The token of now, if it is usable.
    pub(crate) fn usable(&self, now: Now<u64>) -> Option<Token> {
        lock(&self.desk)
            .issue(now)
            .map(|issued| Token(Arc::new(issued)))
    }

    /// Epoch and generation of now.
    pub(crate) fn stamp(&self) -> Stamp<u64> {
        lock(&self.desk).session.stamp()
    }

    /// Whether somebody signed out and nobody in since.
    pub(crate) fn signed_out(&self) -> bool {
        lock(&self.desk).session.signed_out()
    }

    /// Whether the issuer has refused to refresh this session any more.
    pub(crate) fn ended(&self) -> bool {
        lock(&self.desk).session.ended()
    }

    fn turn(
        &self,
        now: Now<u64>,
        event: impl FnOnce(
            &mut Session<Arc<Credential>, RefreshError, u64>,
        ) -> Step<Arc<Credential>, RefreshError, u64>,
    ) -> Next {
        let mut desk = lock(&self.desk);
        let step = event(&mut desk.session);
        self.next(&mut desk, step, now)
    }

    fn next(
        &self,
        desk: &mut Desk,
        step: Step<Arc<Credential>, RefreshError, u64>,
        now: Now<u64>,
    ) -> Next {
        match step {
            Step::Wait { flight } => Next::Wait(desk.ticket(flight)),
            Step::Bare { stamp } => Next::Bare(stamp),
            Step::HandBack => Next::HandBack,
            Step::Changed => Next::Changed,
            Step::Overdue => Next::Overdue,
            Step::Fail(error) => Next::Fail(error),
            Step::Refresh { flight } => {
                desk.signal = Signal::new();
                self.publish(desk, now);
                Next::Launch(desk.ticket(flight))
            }
            Step::Use { token, stamp } => Next::Go(self.token(desk, token, stamp, now)),
            Step::UseAndRefresh {
                token,
                stamp,
                flight,
            } => {
                desk.signal = Signal::new();
                Next::GoAndLaunch(self.token(desk, token, stamp, now), desk.ticket(flight))
            }
        }
    }

    /// The published token where it is this one, so that a storm of waiters shares it.
    fn token(
        &self,
        desk: &Desk,
        credential: Arc<Credential>,
        stamp: Stamp<u64>,
        now: Now<u64>,
    ) -> Token {
        self.publish(desk, now);
        let published = self.published.get_if(|issued| issued.stamp == stamp);
        Token(published.unwrap_or_else(|| {
            Arc::new(Issued {
                credential,
                stamp,
                until: UNIX_EPOCH,
                early_at: at_unix_millis(desk.early_at),
            })
        }))
    }

    fn publish(&self, desk: &Desk, now: Now<u64>) {
        let Some(new) = desk.issue(now) else {
            if !self.published.is_empty() {
                self.published.replace(None);
            }
            return;
        };
        // What stands already need not be written again: writing disturbs every reader.
        let stands = |old: &Issued| new.stamp == old.stamp && new.until == old.until;
        if self.published.get_if(stands).is_none() {
            self.published.replace(Some(Arc::new(new)));
        }
    }

    /// Publishes, then lets go of everybody who waits for a flight of the past.
    fn release(&self, mut desk: crate::sync::MutexGuard<'_, Desk>, now: Now<u64>) {
        self.publish(&desk, now);
        let signal = std::mem::replace(&mut desk.signal, Signal::new());
        drop(desk);
        signal.give();
    }
}

impl Desk {
    fn sign_in(&mut self, arrival: Arrival, base: Base, now: Now<u64>) -> Stamp<u64> {
        self.successor = None;
        self.early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        self.go_by(base);
        self.session
            .sign_in(arrival.credential, arrival.validity, now)
    }

    fn go_by(&mut self, base: Base) {
        self.base = Base {
            floor: self.base.floor.max(base.floor),
            ..base
        };
    }

    fn ticket(&self, flight: Flight<u64>) -> Ticket {
        Ticket {
            flight,
            signal: Arc::clone(&self.signal),
        }
    }

    fn issue(&self, now: Now<u64>) -> Option<Issued> {
        self.session.current(now).map(|current| Issued {
            credential: Arc::clone(current.token),
            stamp: current.stamp,
            until: at_unix_millis(current.until),
            early_at: at_unix_millis(self.early_at),
        })
    }

    fn tokens(&self) -> Option<Arc<TokenSet>> {
        let held = self.session.held();
        self.successor
            .clone()
            .or_else(|| held.map(|credential| Arc::clone(&credential.tokens)))
    }
}
