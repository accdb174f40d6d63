//! The session, described from its past alone.

use proptest::prelude::*;
use token_rotator_core::{Access, Ending, Purpose};

use crate::common::cases;
use crate::common::events::{Action, Answer, At, Event, Failed, Sent, Started, Token};
use crate::common::generate::World;
use crate::common::scenario::Scenario;
use crate::past::{By, Fact, Past};

// Property: over any history, every answer of the session is the one that its past demands by the
// rules, and so is what it says may be served: nothing if the token is not usable, else the token.
proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn every_answer_follows_from_the_past(
        rules: u64,
        named: bool,
        words in prop::collection::vec(any::<u64>(), 20..60),
    ) {
        let mut world = World::new(rules, named);
        let mut past = Past { policy: world.run.times, facts: Vec::new() };
        for word in &words {
            let event = world.event(*word);
            let expected = past.expect(&event);
            let (answer, current) = world.play(&event);
            prop_assert_eq!(answer, expected, "\n{}", Scenario::text(rules, &words, named));
            past.record(&event, answer);
            let served = past.usable(event.at.0).then(|| past.token().map(|(token, ..)| token));
            prop_assert_eq!(
                current.map(|current| current.token),
                served.flatten(),
                "served\n{}", Scenario::text(rules, &words, named)
            );
            prop_assert_eq!(world.run.session.ended(), past.ended());
            prop_assert_eq!(world.run.session.signed_out(), past.signed_out());
            prop_assert_eq!(
                world.run.in_the_air(),
                past.in_the_air().map(|(flight, ..)| flight)
            );
            prop_assert_eq!(
                world.run.held(),
                past.token().map(|(token, ..)| token)
            );
        }
    }
}

impl Past {
    /// What the session has to answer to this.
    pub(crate) fn expect(&self, event: &Event) -> Answer {
        let (wall, steady) = event.at;
        match event.action {
            Action::Acquire => self.acquire(event.at),
            Action::Refused {
                epoch,
                generation,
                sent,
            } => self.refused(At { epoch, generation }, sent, event.at),
            Action::Accepted { .. } => Answer::Noted,
            Action::Settle { flight } => self.settle(flight, event.at),
            Action::Force => self.force(steady),
            Action::Refreshed { flight, .. } | Action::Adopted { flight, .. } => {
                let (began, _) = self.beginning(flight);
                let newest = began == self.here();
                // What is in the air installs; so does what was given up, if nothing newer came.
                if self.is_up(flight) || newest {
                    self.next_stamp(0)
                } else {
                    Answer::Stale
                }
            }
            Action::Failed { flight, failure } => self.failed(flight, failure, steady),
            Action::Yielded { flight } => {
                let released = self.since_it_began(|fact| matches!(fact, Fact::Late));
                let awaited = self.since_it_began(|fact| matches!(fact, Fact::Joined));
                let early = self.beginning(flight).1 == Purpose::Early;
                let unwanted = early && self.usable(wall) && (released || !awaited);
                yes_or_no(!self.is_up(flight) || unwanted)
            }
            Action::Overdue => {
                let told = self.since_it_began(|fact| matches!(fact, Fact::Late));
                let late = self.in_the_air().is_some() && self.in_time(steady).is_none();
                yes_or_no(late && !told)
            }
            Action::Update { .. } if self.signed_out() => Answer::Installed { stamp: self.here() },
            Action::Update { .. } => self.next_stamp(0),
            Action::SignIn { .. } => self.next_stamp(1),
            Action::SignOut => {
                let never = self.token().is_none() && !self.signed_out();
                let nothing = never && self.in_the_air().is_none();
                let alone = self.policy.look_interval == u64::MAX;
                yes_or_no(!(nothing && alone && self.policy.access == Access::Anonymous))
            }
        }
    }

    fn failed(&self, flight: u64, failure: Failed, steady: u64) -> Answer {
        let (began, purpose) = self.beginning(flight);
        if !self.is_up(flight) || began != self.here() {
            return Answer::Stale;
        }
        if purpose == Purpose::Look || failure.ending == Ending::Terminal {
            return Answer::Ended;
        }
        let mut after = Past {
            policy: self.policy,
            facts: self.facts.clone(),
        };
        after.facts.push(Fact::Landed(Some(failure), steady));
        let (until, _) = after.cooling().expect("a cool-down");
        Answer::Cooling { until }
    }

    /// Writes down what happened.
    pub(crate) fn record(&mut self, event: &Event, answer: Answer) {
        let (wall, steady) = event.at;
        let up = |flight| self.is_up(flight);
        let landed = match event.action {
            Action::Failed { flight, failure } if up(flight) => Some(Some(failure)),
            Action::Refreshed { flight, .. } | Action::Adopted { flight, .. } if up(flight) => {
                Some(None)
            }

            Action::Yielded { flight } if up(flight) && answer == Answer::Yes => Some(None),
            _ => None,
        };
        if let Some(landed) = landed {
            self.facts.push(Fact::Landed(landed, steady));
        }
        match event.action {
            Action::SignIn { .. } => self.facts.push(Fact::SignedIn),
            Action::SignOut if answer == Answer::Yes => self.facts.push(Fact::SignedOut),
            Action::Overdue if answer == Answer::Yes => self.facts.push(Fact::Late),
            Action::Accepted {
                epoch,
                generation,
                sent,
            } if self.here() == (At { epoch, generation }) && self.token().is_some() => {
                self.facts.push(Fact::Accepted(sent));
            }
            Action::Refused {
                epoch,
                generation,
                sent,
            } => {
                let here = self.here() == At { epoch, generation };
                let expired = self.expired(wall);
                let named = sent.endpoint != 0 && !expired && here && self.token().is_some();
                if named && sent.replay {
                    self.facts.push(Fact::ReplayRefused(sent.endpoint, steady));
                } else if here
                    && !(named && self.is_paused(sent.endpoint, steady))
                    && let Some((_, _, since)) = self.token()
                    && !self.was_refused()
                {
                    let too_soon = !expired && steady - since < self.counts_from_age(sent);
                    self.facts.push(Fact::Refused {
                        too_soon,
                        at: steady,
                    });
                }
            }
            _ => {}
        }
        let too_late = matches!(event.action, Action::Update { .. }) && self.signed_out();
        if let (Some(token), Answer::Installed { .. }, false) =
            (event.action.token(), answer, too_late)
        {
            let by = match event.action {
                Action::Refreshed { .. } => By::Flight,
                Action::Adopted { .. } => By::Store,
                _ => By::Program,
            };
            self.install(token, by, event.at);
        }
        if let Some(Started {
            stamp,
            flight,
            purpose,
        }) = answer.started()
        {
            self.facts.push(Fact::Began {
                flight,
                began: stamp,
                purpose,
                at: steady,
            });
        }
        if matches!(answer, Answer::Wait { .. }) {
            self.facts.push(Fact::Joined);
        }
    }

    fn install(&mut self, token: Token, by: By, (wall, steady): (u64, u64)) {
        let received = token.received.unwrap_or(wall);
        let jitter = token.jitter.unwrap_or(0);
        self.facts.push(Fact::Installed {
            token: token.number,
            validity: self.policy.validity(received, token.lifetime, jitter),
            by,
            at: steady,
        });
    }

    fn need(&self, purpose: Purpose, steady: u64) -> Answer {
        if let Some(flight) = self.in_time(steady) {
            return Answer::Wait { flight };
        }
        if self.in_the_air().is_some() {
            return Answer::Overdue;
        }
        let fail = || Answer::Fail {
            error: self.error().expect("an error"),
        };
        if self.ended() {
            return if self.look_is_due(steady) {
                self.refresh(Purpose::Look)
            } else {
                fail()
            };
        }
        match self.cooling() {
            Some((until, _)) if steady < until => fail(),
            _ => self.refresh(purpose),
        }
    }

    fn start(&self, purpose: Purpose) -> Started {
        let began = |fact: &&Fact| matches!(fact, Fact::Began { .. });
        Started {
            stamp: self.here(),
            flight: self.facts.iter().filter(began).count() as u64 + 1,
            purpose,
        }
    }

    fn refresh(&self, purpose: Purpose) -> Answer {
        Answer::Refresh {
            started: self.start(purpose),
        }
    }

    fn serve(&self) -> Answer {
        Answer::Use {
            token: self.token().expect("a token").0,
            stamp: self.here(),
        }
    }

    fn need_for_age(&self, steady: u64) -> Answer {
        let purposes = [Purpose::Expired, Purpose::Refused];
        self.need(purposes[usize::from(self.was_refused())], steady)
    }

    fn acquire(&self, at: (u64, u64)) -> Answer {
        let anonymous = self.policy.access == Access::Anonymous;
        let bare = Answer::Bare { stamp: self.here() };
        let Some((token, ..)) = self.token() else {
            return if self.signed_out() || anonymous {
                bare
            } else {
                self.need(Purpose::First, at.1)
            };
        };
        if self.usable(at.0) {
            let purpose = if self.early_is_due(at) {
                Purpose::Early
            } else if self.look_is_due(at.1) {
                Purpose::Look
            } else {
                return self.serve();
            };
            let started = self.start(purpose);
            return Answer::UseAndRefresh { token, started };
        }
        match self.need_for_age(at.1) {
            Answer::Fail { .. } | Answer::Overdue if anonymous && self.ended() => bare,
            answer => answer,
        }
    }

    fn refused(&self, stamp: At, sent: Sent, at: (u64, u64)) -> Answer {
        let here = self.here();
        if stamp.epoch != here.epoch {
            return Answer::Changed;
        }
        if self.signed_out() || stamp.generation > here.generation {
            return Answer::HandBack;
        }
        let Some((_, _, since)) = self.token() else {
            return self.need(Purpose::First, at.1);
        };
        if stamp.generation < here.generation {
            return if self.usable(at.0) {
                self.serve()
            } else {
                self.need_for_age(at.1)
            };
        }
        let or_wait = |answer| {
            let flight = self.in_time(at.1);
            flight.map_or(answer, |flight| Answer::Wait { flight })
        };
        if sent.endpoint != 0 && !self.expired(at.0) {
            if sent.replay {
                return Answer::RefusedAgain;
            }
            if self.is_paused(sent.endpoint, at.1) {
                return or_wait(Answer::RefusedAgain);
            }
        }
        if self.usable(at.0) && at.1 - since < self.counts_from_age(sent) {
            return or_wait(Answer::HandBack);
        }
        self.need(Purpose::Refused, at.1)
    }

    fn settle(&self, flight: u64, at: (u64, u64)) -> Answer {
        let (began, purpose) = self.beginning(flight);
        if began.epoch != self.here().epoch {
            return Answer::Changed;
        }
        let landed = self.in_the_air().is_none_or(|(other, ..)| other != flight);
        let newer = self.here().generation > began.generation && self.token().is_some();
        if newer && (self.usable(at.0) || landed && self.error().is_none()) {
            return self.serve();
        }
        if !landed && self.in_time(at.1).is_some() {
            return Answer::Wait { flight };
        }
        if purpose == Purpose::Look && self.policy.access == Access::Anonymous {
            return Answer::Bare { stamp: self.here() };
        }
        match self.error() {
            _ if !landed => Answer::Overdue,
            Some(error) => Answer::Fail { error },
            None => Answer::HandBack,
        }
    }

    fn force(&self, steady: u64) -> Answer {
        match (self.in_time(steady), self.cooling()) {
            (Some(flight), _) => Answer::Wait { flight },
            _ if self.in_the_air().is_some() => Answer::Overdue,
            (None, Some((until, true))) if steady < until => Answer::Fail {
                error: self.error().expect("an error"),
            },
            _ => self.refresh(Purpose::Forced),
        }
    }

    fn next_stamp(&self, epochs: u64) -> Answer {
        let mut stamp = self.here();
        stamp.epoch += epochs;
        stamp.generation += 1;
        Answer::Installed { stamp }
    }

    /// Whether this flight is the one in the air.
    fn is_up(&self, flight: u64) -> bool {
        self.in_the_air().is_some_and(|(other, ..)| other == flight)
    }
}

fn yes_or_no(yes: bool) -> Answer {
    if yes { Answer::Yes } else { Answer::No }
}
