//! Where callers and flights meet: the state machine under a lock, the token published for
//! everybody, and the signal of the flight in the air. No call here waits.

mod desk;
mod words;

use std::sync::Arc;
use std::time::SystemTime;

use token_rotator_core::{Attempt, Failure, Flight, Landing, Now, Policy, Session, Stamp, Step};

use self::desk::Desk;
pub(crate) use self::words::{Arrival, Base, Failed, Followed, LeftBehind, Next, Ticket};
use crate::error::RefreshError;
use crate::signal::Signal;
use crate::store::Version;
use crate::sync::{Mutex, Published, lock};
use crate::token::{Issued, Token};
use crate::token_set::TokenSet;

/// See the module.
pub(crate) struct Board {
    published: Published<Issued>,
    desk: Mutex<Desk>,
}

impl Board {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            published: Published::empty(),
            desk: Mutex::new(Desk {
                session: Session::new(policy),
                credential: None,
                error: None,
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
    pub(crate) fn acquire(&self, now: Now) -> Next {
        let mut desk = lock(&self.desk);
        let step = desk.session.acquire(now);
        self.next(&mut desk, step, now)
    }

    /// A request that cannot be repeated is about to be sent: it waits for a refresh that is due.
    pub(crate) fn acquire_for_once(&self, now: Now) -> Next {
        let mut desk = lock(&self.desk);
        let due = now.wall >= desk.early_at;
        let mut step = desk.session.acquire(now);
        let flight = desk.session.flight();
        if let (Step::UseAndRefresh, Some(flight)) = (step, flight) {
            // The caller waits for the flight, so the flight may not end without a result.
            let _waits = desk.session.settle(flight, now);
            step = Step::Refresh;
        } else if let (Step::Use, true, Some(flight)) = (step, due, flight)
            && desk.session.settle(flight, now) == Step::Wait
        {
            step = Step::Wait;
        }
        self.next(&mut desk, step, now)
    }

    /// A request was refused.
    pub(crate) fn refused(&self, stamp: Stamp, attempt: Attempt, now: Now) -> Next {
        let mut desk = lock(&self.desk);
        let step = desk.session.refused(stamp, attempt, now);
        // The session may have marked the token as refused, so no other caller may get it.
        self.publish(&desk, now);
        self.next(&mut desk, step, now)
    }

    /// A request was accepted. Waits for the lock, so it is for the first acceptance of a token
    /// and for replays.
    pub(crate) fn accepted(&self, stamp: Stamp, attempt: Attempt) {
        lock(&self.desk).session.accepted(stamp, attempt);
    }

    /// Somebody asks for a refresh.
    pub(crate) fn force(&self, now: Now) -> Next {
        let mut desk = lock(&self.desk);
        let step = desk.session.force(now);
        self.next(&mut desk, step, now)
    }

    /// The caller has waited for this flight.
    pub(crate) fn settle(&self, flight: Flight, now: Now) -> Next {
        let mut desk = lock(&self.desk);
        let step = desk.session.settle(flight, now);
        self.next(&mut desk, step, now)
    }

    /// The flight brought a token: it is installed and served from here on, its waiters are not
    /// yet released. `None`: the flight belongs to the past.
    pub(crate) fn refreshed(
        &self,
        flight: Flight,
        arrival: &Arrival,
        base: Base,
        now: Now,
    ) -> Option<Stamp> {
        self.land(arrival, base, now, |session| {
            session.refreshed(flight, arrival.validity, now)
        })
    }

    /// The flight found a token that somebody else had refreshed. Otherwise as above.
    pub(crate) fn adopted(
        &self,
        flight: Flight,
        arrival: &Arrival,
        base: Base,
        now: Now,
    ) -> Option<Stamp> {
        self.land(arrival, base, now, |session| {
            session.adopted(flight, arrival.validity, now)
        })
    }

    fn land(
        &self,
        arrival: &Arrival,
        base: Base,
        now: Now,
        event: impl FnOnce(&mut Session) -> Landing,
    ) -> Option<Stamp> {
        let mut desk = lock(&self.desk);
        let early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        if event(&mut desk.session) != Landing::Installed {
            return None;
        }
        let stamp = desk.session.stamp();
        desk.credential = Some(Arc::clone(&arrival.credential));
        desk.early_at = early_at;
        desk.successor = None;
        desk.go_by(base);
        self.publish(&desk, now);
        Some(stamp)
    }

    /// The flight failed. Its waiters are not yet released.
    pub(crate) fn failed(
        &self,
        flight: Flight,
        failure: Failure,
        error: RefreshError,
        now: Now,
    ) -> Failed {
        let mut desk = lock(&self.desk);
        let landing = desk.session.failed(flight, failure, now);
        if desk.session.error() == flight.id {
            desk.error = Some(error);
        }
        self.publish(&desk, now);
        match landing {
            Landing::Cooling => {
                let until = desk.session.cool_until();
                Failed::Cooling(until.saturating_sub(now.steady))
            }
            Landing::Ended => {
                let epoch = desk.session.stamp().epoch;
                let first = desk.told_end_of.replace(epoch) != Some(epoch);
                Failed::Ended { first }
            }
            Landing::Installed | Landing::Stale => Failed::Stale,
        }
    }

    /// An early flight would rather not wait for somebody else: may it end without a result?
    pub(crate) fn yielded(&self, flight: Flight, now: Now) -> bool {
        let mut desk = lock(&self.desk);
        let yielded = desk.session.yielded(flight, now);
        self.publish(&desk, now);
        yielded
    }

    /// Is the flight past its deadline? True if it has just become so.
    pub(crate) fn overdue(&self, flight: Flight, now: Now) -> bool {
        let mut desk = lock(&self.desk);
        let this_one = desk.session.flight() == Some(flight);
        let overdue = this_one && desk.session.overdue(now);
        self.publish(&desk, now);
        overdue
    }

    /// A newer token of the sign-in of `stamp`, made from the one that was current then. `None`:
    /// the session has moved on since.
    pub(crate) fn update(&self, stamp: Stamp, arrival: Arrival, now: Now) -> Option<Stamp> {
        let mut desk = lock(&self.desk);
        if desk.session.stamp() != stamp || desk.session.signed_out() {
            return None;
        }
        desk.early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        desk.successor = None;
        let stamp = desk.session.update(arrival.validity, now);
        desk.credential = Some(arrival.credential);
        self.publish(&desk, now);
        Some(stamp)
    }

    /// The flight brought tokens that cannot be sent; the next one starts from them.
    pub(crate) fn go_on_with(&self, flight: Flight, tokens: Arc<TokenSet>) {
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
        now: Now,
    ) -> (Stamp, Option<Arc<TokenSet>>) {
        let mut desk = lock(&self.desk);
        let before = desk.tokens();
        let stamp = desk.sign_in(arrival, base, now);
        self.release(desk, now);
        (stamp, before)
    }

    /// A sign-out. `None`: there was nothing to sign out of.
    pub(crate) fn sign_out(&self, base: Base, now: Now) -> Option<LeftBehind> {
        let mut desk = lock(&self.desk);
        let before = desk.tokens();
        if !desk.session.sign_out() {
            return None;
        }
        desk.credential = None;
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
        began: Stamp,
        arrival: Option<Arrival>,
        base: Base,
        now: Now,
    ) -> Followed {
        let mut desk = lock(&self.desk);
        if desk.session.stamp().epoch != began.epoch || desk.base.epoch == base.epoch {
            return Followed::Not;
        }
        let followed = if let Some(arrival) = arrival {
            Followed::SignedIn(desk.sign_in(arrival, base, now))
        } else if desk.session.sign_out() {
            desk.credential = None;
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
    pub(crate) fn base(&self, began: Stamp) -> Option<Base> {
        let desk = lock(&self.desk);
        (desk.session.stamp().epoch == began.epoch).then_some(desk.base)
    }

    /// The same, with the token set that a refresh starts from: both of the same moment.
    pub(crate) fn standing(&self, flight: Flight) -> Option<(Base, Option<Arc<TokenSet>>)> {
        let desk = lock(&self.desk);
        (desk.session.stamp().epoch == flight.began.epoch).then(|| (desk.base, desk.tokens()))
    }

    /// What is known of the record, with the stamp it is true of.
    pub(crate) fn known(&self) -> (Stamp, Base, Option<Arc<TokenSet>>) {
        let desk = lock(&self.desk);
        (desk.session.stamp(), desk.base, desk.tokens())
    }

    /// The record was seen or saved in this version, if the session is still that of `stamp`.
    pub(crate) fn saw(&self, stamp: Stamp, version: Version) {
        let mut desk = lock(&self.desk);
        if desk.session.stamp().epoch == stamp.epoch {
            desk.go_by(Base::at(version));
        }
    }

    /// The sign-in or sign-out that the store does not have yet, if the session is still that of
    /// `stamp`: what is known of it, and its tokens if there are any.
    pub(crate) fn unwritten(&self, stamp: Stamp) -> Option<(Base, Option<Arc<TokenSet>>)> {
        let desk = lock(&self.desk);
        let ours = desk.session.stamp().epoch == stamp.epoch && desk.base.unwritten;
        ours.then(|| (desk.base, desk.tokens()))
    }

    /// The token set that a refresh starts from, usable or not.
    pub(crate) fn tokens(&self) -> Option<Arc<TokenSet>> {
        lock(&self.desk).tokens()
    }

    /// The token of now, if it is usable.
    pub(crate) fn usable(&self, now: Now) -> Option<Token> {
        lock(&self.desk)
            .issue(now)
            .map(|issued| Token(Arc::new(issued)))
    }

    /// Epoch and generation of now.
    pub(crate) fn stamp(&self) -> Stamp {
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
}
