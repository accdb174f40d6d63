//! The driver: plays events on a session and gives its answers as plain numbers.

use token_rotator_core::{Failure, Flight, Landing, Now, Policy, Session, Stamp, Step, Validity};

use super::events::{
    self, Action, Answer, At, Event, Rules, Served, Started, Times, Token, number,
};

/// A session that is being played on, and what its driver keeps. Tokens and errors are numbers.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) session: Session,
    policy: Policy,
    /// The policy in integers.
    pub(crate) times: Times,
    token: Option<u64>,
    error: Option<u64>,
    /// Every flight ever begun; flight `n` is the one before place `n`.
    flights: Vec<Flight>,
}

impl Run {
    pub(crate) fn new(rules: &Rules) -> Self {
        let policy = rules.policy();
        Self {
            session: Session::new(policy),
            policy,
            times: Times::of(&policy),
            token: None,
            error: None,
            flights: Vec::new(),
        }
    }

    pub(crate) fn play(&mut self, event: &Event) -> Answer {
        let now = now(event.at);
        match event.action {
            Action::Acquire => {
                let step = self.session.acquire(now);
                self.step(step)
            }
            Action::Refused {
                epoch,
                generation,
                sent,
            } => {
                let step = self
                    .session
                    .refused(stamp_of(epoch, generation), sent.attempt(), now);
                self.step(step)
            }
            Action::Accepted {
                epoch,
                generation,
                sent,
            } => {
                self.session
                    .accepted(stamp_of(epoch, generation), sent.attempt());
                Answer::Noted
            }
            Action::Settle { flight } => {
                let step = self.session.settle(self.flight(flight), now);
                self.step(step)
            }
            Action::Force => {
                let step = self.session.force(now);
                self.step(step)
            }
            Action::Refreshed { flight, token } => {
                let (flight, validity) = (self.flight(flight), self.validity(token, event));
                let landing = self.session.refreshed(flight, validity, now);
                self.landed(landing, token)
            }
            Action::Adopted { flight, token } => {
                let (flight, validity) = (self.flight(flight), self.validity(token, event));
                let landing = self.session.adopted(flight, validity, now);
                self.landed(landing, token)
            }
            Action::Failed { flight, failure } => {
                let flight = self.flight(flight);
                let mut reported = Failure::new(failure.ending);
                reported.retry_after = failure.retry_after.map(number);
                reported.jitter = failure.jitter.unwrap_or(reported.jitter);
                let in_slot = self.session.flight() == Some(flight);
                let landing = self.session.failed(flight, reported, now);
                if in_slot && plain(self.session.error()) == plain(flight.id) {
                    self.error = Some(failure.error);
                }
                self.landing(landing)
            }
            Action::Yielded { flight } => {
                let flight = self.flight(flight);
                yes_or_no(self.session.yielded(flight, now))
            }
            Action::Overdue => yes_or_no(self.session.overdue(now)),
            Action::Update { token } => {
                let validity = self.validity(token, event);
                let before = self.session.stamp();
                let stamp = self.session.update(validity, now);
                if stamp != before {
                    self.token = Some(token.number);
                }
                self.installed(stamp)
            }
            Action::SignIn { token } => {
                let validity = self.validity(token, event);
                let stamp = self.session.sign_in(validity, now);
                self.token = Some(token.number);
                self.installed(stamp)
            }
            Action::SignOut => {
                let changed = self.session.sign_out();
                if changed {
                    self.token = None;
                }
                yes_or_no(changed)
            }
        }
    }

    /// What may be served at this time.
    pub(crate) fn current(&self, at: (u64, u64)) -> Option<Served> {
        let until = self.session.current(now(at))?;
        Some(Served {
            generation: plain(self.session.stamp().generation),
            until: events::plain(until),
            token: self.token.expect("a token is served"),
        })
    }

    /// The token of this epoch, usable or not.
    pub(crate) fn held(&self) -> Option<u64> {
        assert_eq!(self.session.has_token(), self.token.is_some(), "one token");
        self.token
    }

    /// The number of the flight in the slot.
    pub(crate) fn in_the_air(&self) -> Option<u64> {
        self.session.flight().map(|flight| plain(flight.id))
    }

    /// Everything that can be seen of the session.
    pub(crate) fn sight(&self, at: (u64, u64)) -> impl PartialEq + std::fmt::Debug + use<> {
        (
            self.current(at),
            self.here(),
            self.in_the_air(),
            self.session.ended(),
            self.held(),
        )
    }

    /// Epoch and generation of now.
    pub(crate) fn here(&self) -> At {
        stamp(self.session.stamp())
    }

    /// The epoch and generation that a flight began in.
    pub(crate) fn began(&self, flight: u64) -> At {
        stamp(self.flight(flight).began)
    }

    fn flight(&self, number: u64) -> Flight {
        let place = usize::try_from(number).expect("a flight's number") - 1;
        self.flights[place]
    }

    fn validity(&self, token: Token, event: &Event) -> Validity {
        self.policy.validity(
            number(token.received.unwrap_or(event.at.0)),
            token.lifetime.map(number),
            token.jitter.unwrap_or(0),
        )
    }

    fn step(&mut self, step: Step) -> Answer {
        let stamp = self.here();
        let token = || self.token.expect("a token to use");
        match step {
            Step::Bare => Answer::Bare { stamp },
            Step::Use => Answer::Use {
                token: token(),
                stamp,
            },
            Step::UseAndRefresh => Answer::UseAndRefresh {
                token: token(),
                started: self.start(),
            },
            Step::Refresh => Answer::Refresh {
                started: self.start(),
            },
            Step::Wait => Answer::Wait {
                flight: self.in_the_air().expect("a flight to wait for"),
            },
            Step::HandBack => Answer::HandBack,
            Step::Changed => Answer::Changed,
            Step::Overdue => Answer::Overdue,
            Step::Fail => Answer::Fail {
                error: self.error.expect("an error to fail with"),
            },
            Step::RefusedAgain => Answer::RefusedAgain,
        }
    }

    fn start(&mut self) -> Started {
        let flight = self.session.flight().expect("a flight that begins");
        assert_eq!(flight.began, self.session.stamp(), "it begins in the now");
        self.flights.push(flight);
        let number = plain(flight.id);
        assert_eq!(number, self.flights.len() as u64, "flights are numbered");
        Started {
            stamp: stamp(flight.began),
            flight: number,
            purpose: flight.purpose,
        }
    }

    fn landed(&mut self, landing: Landing, token: Token) -> Answer {
        if landing == Landing::Installed {
            self.token = Some(token.number);
        }
        self.landing(landing)
    }

    fn landing(&self, landing: Landing) -> Answer {
        match landing {
            Landing::Installed => self.installed(self.session.stamp()),
            Landing::Cooling => Answer::Cooling {
                until: plain(self.session.cool_until()),
            },
            Landing::Ended => Answer::Ended,
            Landing::Stale => Answer::Stale,
        }
    }

    fn installed(&self, at: Stamp) -> Answer {
        assert_eq!(at, self.session.stamp(), "installed now");
        Answer::Installed { stamp: stamp(at) }
    }
}

fn now((wall, steady): (u64, u64)) -> Now {
    Now {
        wall: number(wall),
        steady: number(steady),
    }
}

fn plain(number: u64) -> u64 {
    events::plain(number).expect("a counter or a moment that comes")
}

fn stamp(stamp: Stamp) -> At {
    At {
        epoch: plain(stamp.epoch),
        generation: plain(stamp.generation),
    }
}

fn stamp_of(epoch: u64, generation: u64) -> Stamp {
    Stamp {
        epoch: number(epoch),
        generation: number(generation),
    }
}

fn yes_or_no(yes: bool) -> Answer {
    if yes { Answer::Yes } else { Answer::No }
}
