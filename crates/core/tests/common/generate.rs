//! Histories out of random words: every word is read as an event in the world that the events
//! before it have made, so that it speaks of stamps and flights that exist, and of the moments at
//! which something changes.

use token_rotator_core::{Access, Ending};

use super::events::{Action, Answer, At, Event, Failed, Rules, Sent, Served, Token};
use super::run::Run;

/// A history that goes on.
pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) run: Run,
    wall: u64,
    steady: u64,
    stamps: Vec<At>,
    flights: u64,
    made: u64,
    /// When something changes: of the wall clock, of the steady clock.
    moments: (Vec<u64>, Vec<u64>),
    /// Its requests name endpoints, and some are accepted.
    named: bool,
    /// It begins with a sign-in, as three in four do.
    signs_in: bool,
}

/// Bits of a word, taken from the low end.
struct Bits(u64);

impl Bits {
    fn take(&mut self, bits: u32) -> u64 {
        let taken = self.0 & ((1 << bits) - 1);
        self.0 >>= bits;
        taken
    }

    fn one_in(&mut self, power: u32) -> bool {
        // Zero is the plain case: that is where a failing history shrinks to.
        self.take(power) == (1 << power) - 1
    }
}

/// The policy that a word stands for: the defaults, or all times small, so that they interfere.
pub(crate) fn rules(word: u64) -> Rules {
    let mut bits = Bits(word);
    let access = [Access::Required, Access::Anonymous][usize::from(bits.one_in(1))];
    let mut rules = Rules::default_for(access);
    if bits.one_in(1) {
        rules.look_interval = Some(1_000);
    }
    if bits.one_in(1) {
        rules.margin = Some(100);
        rules.early_interval = Some(50);
        rules.flight_deadline = Some(300);
        rules.cool_down = Some(10);
        rules.cool_down_max = Some(75);
        rules.retry_after_max = Some(500);
        rules.fresh = Some(20);
        rules.fresh_max = Some(130);
        rules.lifetime_max = Some(10_000);
    }
    rules
}

impl World {
    pub(crate) fn new(word: u64, named: bool) -> Self {
        let rules = rules(word);
        Self {
            rules,
            run: Run::new(&rules),
            wall: 10_000_000,
            steady: 0,
            stamps: vec![At {
                epoch: 0,
                generation: 0,
            }],
            flights: 0,
            made: 0,
            moments: (Vec::new(), Vec::new()),
            named,
            signs_in: word >> 32 & 3 != 3,
        }
    }

    /// The next event of this history.
    pub(crate) fn event(&mut self, word: u64) -> Event {
        let mut bits = Bits(word);
        let kind = bits.take(8);
        self.pass(&mut bits);
        let action = match kind {
            _ if std::mem::take(&mut self.signs_in) => Action::SignIn {
                token: self.token(&mut bits),
            },
            0..24 if self.named => self.accepted(&mut bits),
            64..112 => self.refused(&mut bits),
            112..136 if self.flights > 0 => Action::Settle {
                flight: self.flight(&mut bits),
            },
            136..156 if self.flights > 0 => Action::Refreshed {
                flight: self.flight(&mut bits),
                token: self.token(&mut bits),
            },
            156..164 if self.flights > 0 => Action::Adopted {
                flight: self.flight(&mut bits),
                token: self.token(&mut bits),
            },
            164..192 if self.flights > 0 => Action::Failed {
                flight: self.flight(&mut bits),
                failure: self.failed(&mut bits),
            },
            192..202 if self.flights > 0 => Action::Yielded {
                flight: self.flight(&mut bits),
            },
            202..210 => Action::Overdue,
            210..220 => Action::Update {
                token: self.token(&mut bits),
            },
            220..230 => Action::SignIn {
                token: self.token(&mut bits),
            },
            230..236 => Action::SignOut,
            236..248 => Action::Force,
            248..256 => {
                self.set_wall_clock(&mut bits);
                Action::Acquire
            }
            _ => Action::Acquire,
        };
        Event {
            action,
            at: (self.wall, self.steady),
        }
    }

    /// Plays the event, and learns from its answer what later ones may speak of.
    pub(crate) fn play(&mut self, event: &Event) -> (Answer, Option<Served>) {
        let answer = self.run.play(event);
        let policy = self.run.times;
        let steady = self.steady;
        if let Some(started) = answer.started() {
            self.flights = started.flight;
            self.moment(steady + policy.flight_deadline);
            self.moment(steady + policy.early_interval);
        }
        match answer {
            Answer::Installed { stamp } => {
                self.stamps.push(stamp);
                self.installed(event);
            }
            Answer::Bare { stamp } => self.stamps.push(stamp),
            Answer::Cooling { until } => self.moment(until),
            Answer::RefusedAgain => {
                for doublings in 0..4 {
                    self.moment(steady + (policy.fresh << doublings).min(policy.fresh_max));
                }
            }
            Answer::Ended if policy.look_interval < u64::MAX => {
                self.moment(steady + policy.look_interval);
            }
            Answer::Ended => self.moment(steady),
            _ => {}
        }
        (answer, self.run.current(event.at))
    }

    fn installed(&mut self, event: &Event) {
        let Some(token) = event.action.token() else {
            return;
        };
        let policy = self.run.times;
        let received = token.received.unwrap_or(self.wall);
        let validity = policy.validity(received, token.lifetime, token.jitter.unwrap_or(0));
        self.moments.0.extend(validity.expires_at);
        self.moments.0.extend(validity.refresh_at);
        let quarter = validity.lifetime.unwrap_or(u64::MAX) / 4;
        for doublings in 0..4 {
            let fresh = policy.fresh.min(quarter) << doublings;
            self.moment(self.steady + fresh.min(policy.fresh_max));
        }
    }

    fn moment(&mut self, steady: u64) {
        self.moments.1.push(steady);
    }

    /// Time passes: often not at all, else a little, much, or to the moment when something changes.
    fn pass(&mut self, bits: &mut Bits) {
        let mode = bits.take(4);
        let amount = bits.take(16);
        let by = match mode {
            6 => 1,
            7..9 => amount % 16,
            9..11 => amount % 4_096,
            11 => amount * 2,
            12..16 => {
                let walls = self.moments.0.iter().map(|at| at.saturating_sub(self.wall));
                let steadies = self.moments.1.iter();
                let steadies = steadies.map(|at| at.saturating_sub(self.steady));
                let ahead: Vec<u64> = walls.chain(steadies).filter(|by| *by > 0).collect();
                match ahead.len() {
                    0 => 0,
                    some => {
                        let by = ahead[some - 1 - (amount >> 2) as usize % some];
                        // Right at it, just before it, just after it.
                        [by, by, by - 1, by + 1][(amount & 3) as usize]
                    }
                }
            }
            _ => 0,
        };
        // Far enough for everything but a lifetime of years, and sixty times that fits 32 bits.
        let by = if by < 1 << 25 { by } else { 1 };
        self.wall += by;
        self.steady += by;
    }

    fn set_wall_clock(&mut self, bits: &mut Bits) {
        let by = bits.take(12) * 1_000;
        self.wall = if bits.one_in(1) {
            self.wall + by
        } else {
            self.wall.saturating_sub(by)
        };
    }

    fn refused(&self, bits: &mut Bits) -> Action {
        let At { epoch, generation } = self.stamp(bits);
        let sent = self.sent(bits);
        Action::Refused {
            epoch,
            generation,
            sent,
        }
    }

    fn accepted(&self, bits: &mut Bits) -> Action {
        let At { epoch, generation } = self.stamp(bits);
        let sent = self.sent(bits);
        Action::Accepted {
            epoch,
            generation,
            sent,
        }
    }

    fn stamp(&self, bits: &mut Bits) -> At {
        let mut here = self.run.here();
        if bits.one_in(1) {
            here = self.stamps[bits.take(8) as usize % self.stamps.len()];
        } else if bits.one_in(5) {
            // No request was ever sent with this one.
            here.generation += 1;
        }
        here
    }

    fn sent(&self, bits: &mut Bits) -> Sent {
        if !self.named {
            return Sent::default();
        }
        Sent {
            // A few often, and more than the table holds.
            endpoint: match bits.take(1) {
                0 => bits.take(2) as u32,
                _ => bits.take(4) as u32,
            },
            replay: bits.one_in(1),
        }
    }

    fn flight(&self, bits: &mut Bits) -> u64 {
        if bits.one_in(1) {
            bits.take(8) % self.flights + 1
        } else {
            self.flights
        }
    }

    fn token(&mut self, bits: &mut Bits) -> Token {
        self.made += 1;
        let lifetime = match bits.take(3) {
            0 | 1 => Some(bits.take(12) + 1_000),
            2 => None,
            3 => Some(bits.take(3)),
            4 | 5 => Some(bits.take(12) * 1_000),
            6 => Some(315_576_000_000 - 8 + bits.take(4)),
            _ => Some(bits.take(7) + 50),
        };
        Token {
            number: self.made,
            lifetime,
            received: bits
                .one_in(3)
                .then(|| self.wall.saturating_sub(bits.take(10))),
            jitter: bits.one_in(1).then(|| bits.take(7) as u32),
        }
    }

    fn failed(&mut self, bits: &mut Bits) -> Failed {
        self.made += 1;
        let ending = match bits.take(3) {
            0..3 => Ending::Transient,
            3 | 4 => Ending::Uncertain,
            5 => Ending::Misconfigured,
            _ => Ending::Terminal,
        };
        Failed {
            error: self.made,
            ending,
            retry_after: bits.one_in(2).then(|| bits.take(9) * 700),
            jitter: bits.one_in(1).then(|| 800 + bits.take(8) as u32),
        }
    }
}

/// The words of a fixed seed (splitmix64), the same on every machine and in every year.
pub(crate) struct Seed(pub(crate) u64);

impl Iterator for Seed {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(word ^ (word >> 31))
    }
}
