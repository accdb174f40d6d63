//! A session spoken to in numbers.

use token_rotator_core::{
    Access, Attempt, Ending, Failure, Flight, Now, Policy, Purpose, Session, Stamp, Step, Validity,
};

/// A session. The driver keeps the token of the current generation and the errors of flights.
#[derive(Debug)]
pub struct Machine {
    session: Session,
}

impl Machine {
    /// A machine before [`Machine::begin`]: nothing but zeros, so that the module that holds one
    /// loads no data.
    pub const BLANK: Self = Self {
        session: Session::new(Policy {
            access: Access::Anonymous,
            margin: 0.0,
            early_interval: 0.0,
            flight_deadline: 0.0,
            cool_down: 0.0,
            cool_down_max: 0.0,
            retry_after_max: 0.0,
            fresh: 0.0,
            fresh_max: 0.0,
            lifetime_max: 0.0,
            look_interval: 0.0,
        }),
    };

    /// Gives a blank machine the default policy. `required` is not zero if no request may go out
    /// without a token.
    pub fn begin(&mut self, required: u32) {
        self.session.policy = Policy::required();
        if required == 0 {
            self.session.policy.access = Access::Anonymous;
        }
    }

    /// Sets one number of the policy, by its place in [`Policy`] after `access`.
    pub fn set(&mut self, field: u32, value: f64) {
        // Every number is written, all but one as it was: no address depends on an argument.
        let set = |place, number: &mut f64| *number = if place == field { value } else { *number };
        let policy = &mut self.session.policy;
        set(0, &mut policy.margin);
        set(1, &mut policy.early_interval);
        set(2, &mut policy.flight_deadline);
        set(3, &mut policy.cool_down);
        set(4, &mut policy.cool_down_max);
        set(5, &mut policy.retry_after_max);
        set(6, &mut policy.fresh);
        set(7, &mut policy.fresh_max);
        set(8, &mut policy.lifetime_max);
        set(9, &mut policy.look_interval);
    }

    /// A request is about to be sent.
    pub fn acquire(&mut self, wall: f64, steady: f64) -> Step {
        self.session.acquire(Now { wall, steady })
    }

    /// A request of this stamp was refused. `endpoint` is the driver's hash of origin and path, or
    /// zero for none; `replay` is not zero for the last attempt.
    pub fn refused(
        &mut self,
        epoch: f64,
        generation: f64,
        endpoint: u32,
        replay: u32,
        (wall, steady): (f64, f64),
    ) -> Step {
        let stamp = Stamp { epoch, generation };
        let now = Now { wall, steady };
        self.session.refused(stamp, attempt(endpoint, replay), now)
    }

    /// A request of this stamp was accepted.
    pub fn accepted(&mut self, epoch: f64, generation: f64, endpoint: u32, replay: u32) {
        let stamp = Stamp { epoch, generation };
        self.session.accepted(stamp, attempt(endpoint, replay));
    }

    /// A caller has waited for this flight.
    pub fn settle(&mut self, flight: Flight, wall: f64, steady: f64) -> Step {
        self.session.settle(flight, Now { wall, steady })
    }

    /// A caller asks for a refresh.
    pub fn force(&mut self, wall: f64, steady: f64) -> Step {
        self.session.force(Now { wall, steady })
    }

    /// The flight brought a token: from the issuer, or (`adopted` not zero) from another process's
    /// flight. Returns the code of a landing.
    pub fn landed(
        &mut self,
        flight: Flight,
        adopted: u32,
        validity: Validity,
        wall: f64,
        steady: f64,
    ) -> u32 {
        let now = Now { wall, steady };
        let landing = if adopted == 0 {
            self.session.refreshed(flight, validity, now)
        } else {
            self.session.adopted(flight, validity, now)
        };
        landing as u32
    }

    /// The flight failed. `ending` counts as [`Ending`] does, and a negative `retry_after` is none.
    /// Returns the code of a landing.
    pub fn failed(
        &mut self,
        flight: Flight,
        ending: u32,
        retry_after: f64,
        jitter: u32,
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
        self.session.failed(flight, failure, now) as u32
    }

    /// An early flight would end rather than wait for another process. Not zero if it may end.
    pub fn yielded(&mut self, flight: Flight, wall: f64, steady: f64) -> u32 {
        u32::from(self.session.yielded(flight, Now { wall, steady }))
    }

    /// A timer. Not zero if the flight has just passed its deadline.
    pub fn overdue(&mut self, wall: f64, steady: f64) -> u32 {
        u32::from(self.session.overdue(Now { wall, steady }))
    }

    /// A token from elsewhere: of this epoch, or (`sign_in` not zero) the first of the next.
    pub fn install(&mut self, sign_in: u32, validity: Validity, wall: f64, steady: f64) {
        let now = Now { wall, steady };
        if sign_in == 0 {
            self.session.update(validity, now);
        } else {
            self.session.sign_in(validity, now);
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
        current.unwrap_or(-1.0)
    }

    /// How long a token is good; a lifetime of zero is an unknown one.
    pub fn validity(&self, received: f64, lifetime: f64, jitter: u32) -> Validity {
        self.session
            .policy
            .validity(received, Some(lifetime), jitter)
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

    /// The number of the flight whose error [`Step::Fail`] means; zero if there is none.
    pub fn error(&self) -> f64 {
        self.session.error()
    }

    /// Until when, by the steady clock, no flight starts after a failure.
    pub fn cool_until(&self) -> f64 {
        self.session.cool_until()
    }
}

/// A flight as the driver hands it back: what [`Machine::flight`], [`Machine::epoch`],
/// [`Machine::generation`] and [`Machine::purpose`] said when it was started.
pub fn flight(id: f64, epoch: f64, generation: f64, purpose: u32) -> Flight {
    Flight {
        id,
        began: Stamp { epoch, generation },
        purpose: match purpose {
            0 => Purpose::First,
            1 => Purpose::Early,
            2 => Purpose::Expired,
            3 => Purpose::Refused,
            4 => Purpose::Forced,
            _ => Purpose::Look,
        },
    }
}

fn attempt(endpoint: u32, replay: u32) -> Attempt {
    Attempt {
        endpoint,
        replay: replay != 0,
    }
}
