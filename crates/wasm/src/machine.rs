//! A session spoken to in numbers.

use core::num::NonZeroU32;

use token_rotator_core::{
    Access, Ending, Failure, Flight, Landing, Now, Policy, Purpose, Session, Stamp, Step, Validity,
};

/// A session whose token is nothing: the driver keeps the token of the current generation.
#[derive(Debug)]
pub struct Machine {
    session: Session<(), NonZeroU32, f64>,
    /// What the last event had to say beyond its code.
    said: f64,
}

/// A flight as the driver hands it back: what [`Machine::flight`], [`Machine::epoch`],
/// [`Machine::generation`] and [`Machine::purpose`] said when it was started.
#[derive(Clone, Copy, Debug)]
pub struct FlightNumbers {
    /// Its number.
    pub id: f64,
    /// The epoch it began in.
    pub epoch: f64,
    /// The generation it began in.
    pub generation: f64,
    /// Why it was started.
    pub purpose: u32,
}

impl Machine {
    /// A session without a token, with the default policy. `required` is not zero if no request
    /// may go out without a token.
    pub fn new(required: u32) -> Self {
        let policy = Policy {
            access: if required == 0 {
                Access::Anonymous
            } else {
                Access::Required
            },
            ..Policy::required()
        };
        Self {
            session: Session::new(policy),
            said: 0.0,
        }
    }

    /// Sets one number of the policy, by its place in [`Policy`] after `access`.
    pub fn set(&mut self, field: u32, value: f64) {
        let policy = &mut self.session.policy;
        let numbers = [
            &mut policy.margin,
            &mut policy.early_interval,
            &mut policy.flight_deadline,
            &mut policy.cool_down,
            &mut policy.cool_down_max,
            &mut policy.retry_after_max,
            &mut policy.fresh,
            &mut policy.fresh_max,
            &mut policy.lifetime_max,
            &mut policy.look_interval,
        ];
        for (place, number) in (0..).zip(numbers) {
            // Every number is written, most as it was: no address depends on an argument.
            *number = if place == field { value } else { *number };
        }
    }

    /// A request is about to be sent. Returns the code of a step.
    pub fn acquire(&mut self, wall: f64, steady: f64) -> u32 {
        let step = self.session.acquire(Now { wall, steady });
        self.step(&step)
    }

    /// A request of this stamp was refused. Returns the code of a step.
    pub fn refused(&mut self, epoch: f64, generation: f64, wall: f64, steady: f64) -> u32 {
        let stamp = Stamp { epoch, generation };
        let step = self.session.refused(stamp, Now { wall, steady });
        self.step(&step)
    }

    /// A caller has waited for this flight. Returns the code of a step.
    pub fn settle(&mut self, flight: FlightNumbers, wall: f64, steady: f64) -> u32 {
        let step = self.session.settle(flight.flight(), Now { wall, steady });
        self.step(&step)
    }

    /// Somebody asks for a refresh. Returns the code of a step.
    pub fn force(&mut self, wall: f64, steady: f64) -> u32 {
        let step = self.session.force(Now { wall, steady });
        self.step(&step)
    }

    /// The flight brought a token: from the issuer, or (`adopted` not zero) from somebody else's
    /// flight. Returns the code of a landing.
    pub fn landed(
        &mut self,
        flight: FlightNumbers,
        adopted: u32,
        validity: Validity<f64>,
        wall: f64,
        steady: f64,
    ) -> u32 {
        let (flight, now) = (flight.flight(), Now { wall, steady });
        let landing = if adopted == 0 {
            self.session.refreshed(flight, (), validity, now)
        } else {
            self.session.adopted(flight, (), validity, now)
        };
        self.landing(landing)
    }

    /// The flight failed. `ending` counts as [`Ending`] does, a negative `retry_after` is none, and
    /// `error` is the driver's number for it, not zero. Returns the code of a landing.
    pub fn failed(
        &mut self,
        flight: FlightNumbers,
        ending: u32,
        retry_after: f64,
        jitter: u32,
        error: u32,
        (wall, steady): (f64, f64),
    ) -> u32 {
        let failure = Failure {
            ending: match ending {
                0 => Ending::Transient,
                1 => Ending::Uncertain,
                2 => Ending::Misconfigured,
                _ => Ending::Terminal,
            },
            retry_after: (retry_after >= 0.0).then_some(retry_after),
            jitter,
        };
        let now = Now { wall, steady };
        let error = NonZeroU32::new(error).unwrap_or(NonZeroU32::MAX);
        let landing = self.session.failed(flight.flight(), failure, error, now);
        self.landing(landing)
    }

    /// An early flight would rather not wait for others. Not zero if it may end.
    pub fn yielded(&mut self, flight: FlightNumbers, wall: f64, steady: f64) -> u32 {
        u32::from(self.session.yielded(flight.flight(), Now { wall, steady }))
    }

    /// A timer. Not zero if the flight has just passed its deadline.
    pub fn overdue(&mut self, wall: f64, steady: f64) -> u32 {
        u32::from(self.session.overdue(Now { wall, steady }))
    }

    /// A token from elsewhere: of this epoch, or (`sign_in` not zero) the first of the next.
    pub fn install(&mut self, sign_in: u32, validity: Validity<f64>, wall: f64, steady: f64) {
        let now = Now { wall, steady };
        if sign_in == 0 {
            self.session.update((), validity, now);
        } else {
            self.session.sign_in((), validity, now);
        }
    }

    /// Not zero if the sign-out changed something.
    pub fn sign_out(&mut self) -> u32 {
        u32::from(self.session.sign_out())
    }

    /// Until when, by the wall clock, the current token may be served without asking; negative if
    /// there is none to serve.
    pub fn current(&self, wall: f64, steady: f64) -> f64 {
        let current = self.session.current(Now { wall, steady });
        current.map_or(-1.0, |current| current.until)
    }

    /// How long a token is good; a lifetime of zero is an unknown one.
    pub fn validity(&self, received: f64, lifetime: f64, jitter: u32) -> Validity<f64> {
        self.session.policy.validity(received, Some(lifetime), jitter)
    }

    /// The epoch of now.
    pub fn epoch(&self) -> f64 {
        self.session.stamp().epoch
    }

    /// The generation of now.
    pub fn generation(&self) -> f64 {
        self.session.stamp().generation
    }

    /// The number of the flight that holds the slot; zero if none does.
    pub fn flight(&self) -> f64 {
        self.session.flight().map_or(0.0, |flight| flight.id)
    }

    /// Why that flight was started, counted as [`Purpose`] does.
    pub fn purpose(&self) -> u32 {
        self.session
            .flight()
            .map_or(0, |flight| flight.purpose as u32)
    }

    /// The number of the error of a step `Fail`; the time of a landing `Cooling`.
    pub fn said(&self) -> f64 {
        self.said
    }

    fn step(&mut self, step: &Step<(), NonZeroU32, f64>) -> u32 {
        match *step {
            Step::Bare { .. } => 0,
            Step::Use { .. } => 1,
            Step::UseAndRefresh { .. } => 2,
            Step::Refresh { .. } => 3,
            Step::Wait { .. } => 4,
            Step::HandBack => 5,
            Step::Changed => 6,
            Step::Overdue => 7,
            Step::Fail(error) => {
                self.said = f64::from(error.get());
                8
            }
        }
    }

    fn landing(&mut self, landing: Landing<f64>) -> u32 {
        match landing {
            Landing::Installed(_) => 0,
            Landing::Cooling(until) => {
                self.said = until;
                1
            }
            Landing::Ended => 2,
            Landing::Stale => 3,
        }
    }
}

impl FlightNumbers {
    fn flight(self) -> Flight<f64> {
        Flight {
            id: self.id,
            began: Stamp {
                epoch: self.epoch,
                generation: self.generation,
            },
            purpose: match self.purpose {
                0 => Purpose::First,
                1 => Purpose::Early,
                2 => Purpose::Expired,
                3 => Purpose::Refused,
                4 => Purpose::Forced,
                _ => Purpose::Look,
            },
        }
    }
}
