//! The driver: plays events on a session and puts its answers into plain words.

use token_rotator_core::{
    Failure, Flight, Kind, Landing, Now, Policy, Session, Stamp, Step, Validity,
};

use super::words::{Action, Answer, At, Event, Plain, Rules, Served, Started, Token};

/// A session that is being played on. Tokens and errors are numbers too.
#[derive(Clone)]
pub(crate) struct Run<N> {
    pub(crate) session: Session<u64, u64, N>,
    pub(crate) policy: Policy<N>,
    /// Every flight ever begun; flight `n` is the one before place `n`.
    flights: Vec<Flight<N>>,
}

impl<N: Plain> Run<N> {
    pub(crate) fn new(rules: &Rules) -> Self {
        let policy = rules.policy();
        Self {
            session: Session::new(policy),
            policy,
            flights: Vec::new(),
        }
    }

    pub(crate) fn play(&mut self, event: &Event) -> Answer {
        let now = now(event.at);
        match event.action {
            Action::Acquire => {
                let kind = self.session.clone().on_acquire(now);
                let step = self.session.acquire(now);
                self.step(kind, &step)
            }
            Action::Refused { epoch, generation } => {
                let stamp = Stamp {
                    epoch: N::from_plain(epoch),
                    generation: N::from_plain(generation),
                };
                let kind = self.session.clone().on_refused(stamp, now);
                let step = self.session.refused(stamp, now);
                self.step(kind, &step)
            }
            Action::Settle { flight } => {
                let kind = self.session.clone().on_settle(self.flight(flight), now);
                let step = self.session.settle(self.flight(flight), now);
                self.step(kind, &step)
            }
            Action::Force => {
                let kind = self.session.clone().on_force(now);
                let step = self.session.force(now);
                self.step(kind, &step)
            }
            Action::Refreshed { flight, token } => {
                let (flight, validity) = (self.flight(flight), self.validity(token, event));
                landing(self.session.refreshed(flight, token.number, validity, now))
            }
            Action::Adopted { flight, token } => {
                let (flight, validity) = (self.flight(flight), self.validity(token, event));
                landing(self.session.adopted(flight, token.number, validity, now))
            }
            Action::Failed { flight, failure } => {
                let flight = self.flight(flight);
                let mut told = Failure::new(failure.ending);
                told.retry_after = failure.retry_after.map(N::from_plain);
                told.jitter = failure.jitter.unwrap_or(told.jitter);
                let landed = self.session.failed(flight, told, failure.error, now);
                if let Landing::Cooling(until) = landed {
                    assert_eq!(self.session.cool_until(), until, "the cool-down told");
                }
                landing(landed)
            }
            Action::Yielded { flight } => {
                let flight = self.flight(flight);
                yes_or_no(self.session.yielded(flight, now))
            }
            Action::Overdue => yes_or_no(self.session.overdue(now)),
            Action::Update { token } => {
                let validity = self.validity(token, event);
                installed(self.session.update(token.number, validity, now))
            }
            Action::SignIn { token } => {
                let validity = self.validity(token, event);
                installed(self.session.sign_in(token.number, validity, now))
            }
            Action::SignOut => yes_or_no(self.session.sign_out()),
        }
    }

    /// What may be served at this time.
    pub(crate) fn current(&self, at: (u64, u64)) -> Option<Served> {
        let current = self.session.current(now(at))?;
        assert_eq!(
            current.stamp,
            self.session.stamp(),
            "current speaks of the session of now"
        );
        Some(Served {
            generation: plain(current.stamp.generation),
            until: current.until.plain(),
            token: *current.token,
        })
    }

    /// Everything that can be seen of the session.
    pub(crate) fn sight(&self, at: (u64, u64)) -> impl PartialEq + std::fmt::Debug + use<N> {
        let stamp = self.session.stamp();
        (
            self.current(at),
            (plain(stamp.epoch), plain(stamp.generation)),
            self.session.flight().map(|flight| plain(flight.id)),
            self.session.ended(),
            self.session.held().copied(),
        )
    }

    /// The epoch and generation that a flight began in.
    pub(crate) fn began(&self, flight: u64) -> At {
        stamp(self.flight(flight).began)
    }

    fn flight(&self, number: u64) -> Flight<N> {
        let place = usize::try_from(number).expect("a flight's number") - 1;
        self.flights[place]
    }

    fn validity(&self, token: Token, event: &Event) -> Validity<N> {
        self.policy.validity(
            N::from_plain(token.received.unwrap_or(event.at.0)),
            token.lifetime.map(N::from_plain),
            token.jitter.unwrap_or(0),
        )
    }

    fn step(&mut self, kind: Kind, step: &Step<u64, u64, N>) -> Answer {
        assert_eq!(kind, kind_of(step), "a kind is that of the step");
        if let Step::Fail(error) = step {
            assert_eq!(self.session.error(), Some(error), "the error told");
        }
        match *step {
            Step::Bare { stamp: at } => Answer::Bare { stamp: stamp(at) },
            Step::Use { token, stamp: at } => Answer::Use {
                token,
                stamp: stamp(at),
            },
            Step::UseAndRefresh {
                token,
                stamp: at,
                flight,
            } => {
                assert_eq!(at, flight.began, "a flight begins where its caller stands");
                Answer::UseAndRefresh {
                    token,
                    started: self.start(flight),
                }
            }
            Step::Refresh { flight } => Answer::Refresh {
                started: self.start(flight),
            },
            Step::Wait { flight } => {
                assert_eq!(
                    self.session.flight(),
                    Some(flight),
                    "who waits, waits for what is in the air"
                );
                Answer::Wait {
                    flight: plain(flight.id),
                }
            }
            Step::HandBack => Answer::HandBack,
            Step::Changed => Answer::Changed,
            Step::Overdue => Answer::Overdue,
            Step::Fail(error) => Answer::Fail { error },
        }
    }

    fn start(&mut self, flight: Flight<N>) -> Started {
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
}

fn kind_of<N>(step: &Step<u64, u64, N>) -> Kind {
    match step {
        Step::Bare { .. } => Kind::Bare,
        Step::Use { .. } => Kind::Use,
        Step::UseAndRefresh { .. } => Kind::UseAndRefresh,
        Step::Refresh { .. } => Kind::Refresh,
        Step::Wait { .. } => Kind::Wait,
        Step::HandBack => Kind::HandBack,
        Step::Changed => Kind::Changed,
        Step::Overdue => Kind::Overdue,
        Step::Fail(_) => Kind::Fail,
    }
}

fn now<N: Plain>((wall, steady): (u64, u64)) -> Now<N> {
    Now {
        wall: N::from_plain(wall),
        steady: N::from_plain(steady),
    }
}

fn plain<N: Plain>(number: N) -> u64 {
    number.plain().expect("a counter or a moment that comes")
}

fn stamp<N: Plain>(stamp: Stamp<N>) -> At {
    At {
        epoch: plain(stamp.epoch),
        generation: plain(stamp.generation),
    }
}

fn installed<N: Plain>(at: Stamp<N>) -> Answer {
    Answer::Installed { stamp: stamp(at) }
}

fn landing<N: Plain>(landing: Landing<N>) -> Answer {
    match landing {
        Landing::Installed(at) => installed(at),
        Landing::Cooling(until) => Answer::Cooling {
            until: plain(until),
        },
        Landing::Ended => Answer::Ended,
        Landing::Stale => Answer::Stale,
    }
}

fn yes_or_no(yes: bool) -> Answer {
    if yes { Answer::Yes } else { Answer::No }
}
