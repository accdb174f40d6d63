//! The rules of DESIGN section 3 that the core keeps, each said of a history as a bystander sees
//! it: what was asked, what was answered, what may be served.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use token_rotator_core::{Ending, Purpose};

use crate::common::cases;
use crate::common::events::{Action, Answer, At, Event, Served, Started};
use crate::common::generate::World;
use crate::common::run::Run;
use crate::common::scenario::Scenario;

proptest! {
    #![proptest_config(cases(20_000))]

    // Property: rules 1, 3, 4, 5 and 9 hold at every event of any history.
    #[test]
    fn the_rules_hold(
        rules: u64,
        named: bool,
        words in prop::collection::vec(any::<u64>(), 20..60),
    ) {
        let mut world = World::new(rules, named);
        let mut seen = Seen::default();
        for word in &words {
            let event = world.event(*word);
            let before = world.run.clone();
            let (answer, _) = world.play(&event);
            let moment = Moment { event, answer, before, after: &world.run };

            let checked = seen.check(&moment);
            seen.note(&moment);
            checked.and_then(|()| seen.waiters_share_one_outcome(&moment)).map_err(|error| {
                TestCaseError::fail(format!("{error}\n{}", Scenario::text(rules, &words, named)))
            })?;

        }
    }
}

proptest! {
    #![proptest_config(cases(5_000))]

    // Property: what `current` says may be served, until when, is what `acquire` answers: at every
    // moment before it the same token and no change; at that moment something else. Where it says
    // nothing, `acquire` has no token to use.
    #[test]
    fn what_may_be_served_is_what_acquire_answers(
        rules: u64,
        named: bool,
        words in prop::collection::vec(any::<u64>(), 20..60),
        part in 0_u64..=1_000,
    ) {
        let mut world = World::new(rules, named);
        for word in &words {
            let event = world.event(*word);
            let (_, current) = world.play(&event);
            let told = || Scenario::text(rules, &words, named);
            let Some(current) = current else {
                let answer = acquire(&world.run, event.at, 0).0;
                prop_assert!(answer.token().is_none(), "{:?}\n{}", answer, told());
                continue;
            };
            let until = current.until.unwrap_or(event.at.0 + (1 << 40));
            let left = until.saturating_sub(event.at.0);
            let within = [0, left * part / 1_000, left.saturating_sub(1)];
            for by in within.into_iter().filter(|by| *by < left) {
                let (answer, unchanged) = acquire(&world.run, event.at, by);
                let plain = matches!(answer, Answer::Use { token, .. } if token == current.token);
                prop_assert!(plain && unchanged, "{} later: {:?}\n{}", by, answer, told());
            }
            if current.until.is_some() {
                let (answer, _) = acquire(&world.run, event.at, left);
                let plain = matches!(answer, Answer::Use { .. });
                prop_assert!(!plain, "{} later: {:?}\n{}", left, answer, told());
            }
        }
    }
}

/// What `acquire` would answer so much later, and whether it would change nothing.
fn acquire(run: &Run, (wall, steady): (u64, u64), by: u64) -> (Answer, bool) {
    let mut then = run.clone();
    let at = (wall + by, steady + by);
    let answer = then.play(&Event {
        action: Action::Acquire,
        at,
    });
    (answer, then.sight(at) == run.sight(at))
}

/// One event, with the session before and after it.
struct Moment<'a> {
    event: Event,
    answer: Answer,
    before: Run,
    after: &'a Run,
}

impl Moment<'_> {
    fn here(&self) -> At {
        self.before.here()
    }

    fn served(&self) -> Option<Served> {
        self.before.current(self.event.at)
    }

    fn steady(&self) -> u64 {
        self.event.at.1
    }

    /// The stamp that the event speaks of: a request's, or that in which a flight began.
    fn about(&self) -> Option<At> {
        match self.event.action {
            Action::Refused {
                epoch, generation, ..
            } => Some(At { epoch, generation }),
            Action::Settle { flight }
            | Action::Refreshed { flight, .. }
            | Action::Adopted { flight, .. }
            | Action::Failed { flight, .. }
            | Action::Yielded { flight } => Some(self.before.began(flight)),
            _ => None,
        }
    }
}

/// What a bystander remembers.
#[derive(Default)]
struct Seen {
    flights: Vec<Seat>,
    /// Every token installed, with its stamp.
    tokens: Vec<(u64, At)>,
    /// Every error, with its flight.
    errors: Vec<(u64, u64)>,
    /// The last cool-down: until when, whether the issuer asked for it, for which token.
    cooling: Option<(u64, bool, At)>,
    /// The epoch and generation that ended.
    ended: Option<At>,
    /// The epoch that began with the last sign-out.
    signed_out: Option<u64>,
}

struct Seat {
    started: Started,
    begun: u64,
    reported: bool,
    gave_way: bool,
}

impl Seen {
    fn check(&self, moment: &Moment<'_>) -> TestCaseResult {
        self.one_flight_at_a_time(moment)?;
        Self::a_refusal_counts_against_its_generation(moment)?;
        self.sign_in_and_sign_out_win(moment)?;

        self.a_failure_displaces_nothing(moment)
    }

    /// Rule 1: a flight starts only after every flight of its epoch has reported, however late. A
    /// caller waits only for a flight that has not reported, within its deadline.
    fn one_flight_at_a_time(&self, moment: &Moment<'_>) -> TestCaseResult {
        let epoch = moment.here().epoch;
        let mut unreported = self
            .flights
            .iter()
            .filter(|seat| seat.started.stamp.epoch == epoch && !seat.reported);
        if let Some(started) = moment.answer.started() {
            prop_assert!(unreported.next().is_none(), "rule 1: a second flight");
            prop_assert_eq!(started.stamp, moment.here(), "rule 1: it begins in the now");
        } else if let Answer::Wait { flight } = moment.answer {
            let seat = unreported.find(|seat| seat.started.flight == flight);
            let deadline = moment.before.times.flight_deadline;
            let waits = seat.is_some_and(|seat| moment.steady() < seat.begun + deadline);
            prop_assert!(waits, "rule 1: waits for what does not come");
        }
        Ok(())
    }

    /// Rule 3: a refusal of another epoch says `Changed`. A late one is answered with the token of
    /// now while that is usable, and starts nothing; it never makes that token unusable.
    fn a_refusal_counts_against_its_generation(moment: &Moment<'_>) -> TestCaseResult {
        let Action::Refused {
            epoch, generation, ..
        } = moment.event.action
        else {
            return Ok(());
        };
        let here = moment.here();
        let changed = moment.answer == Answer::Changed;
        prop_assert_eq!(changed, epoch != here.epoch, "rule 3: whose session is it");
        if let (Some(served), false) = (moment.served(), changed) {
            let token = served.token;
            if generation < here.generation {
                let current = Answer::Use { token, stamp: here };
                prop_assert_eq!(moment.answer, current, "rule 3: a late refusal");
            }
            if generation != here.generation {
                let after = moment.after.current(moment.event.at);
                prop_assert_eq!(after, Some(served), "rule 3: not this token's refusal");
            }
        }
        Ok(())
    }

    /// Rule 4: a caller of an older epoch gets nothing of a newer one, and changes nothing. Every
    /// token handed out is the last one installed, of the current epoch. After a sign-out, only a
    /// forced refresh of the same epoch brings a token.
    fn sign_in_and_sign_out_win(&self, moment: &Moment<'_>) -> TestCaseResult {
        let here = moment.here();
        if let Some((token, stamp)) = moment.answer.token() {
            prop_assert_eq!(
                Some(&(token, stamp)),
                self.tokens.last(),
                "rule 4: the last token"
            );
            prop_assert_eq!(stamp, here, "rule 4: of the epoch of now");
        }
        if moment
            .about()
            .is_some_and(|about| about.epoch != here.epoch)
        {
            let lost = match moment.event.action {
                Action::Refused { .. } | Action::Settle { .. } => Answer::Changed,
                Action::Yielded { .. } => Answer::Yes,
                _ => Answer::Stale,
            };
            prop_assert_eq!(moment.answer, lost, "rule 4: of another epoch");
            let at = moment.event.at;
            prop_assert_eq!(moment.before.sight(at), moment.after.sight(at), "rule 4");
        }
        let absent = moment.before.held().is_none() && self.signed_out == Some(here.epoch);
        if absent && moment.after.held().is_some() {
            let allowed = matches!(
                moment.event.action,
                Action::SignIn { .. } | Action::Refreshed { .. } | Action::Adopted { .. }
            );
            prop_assert!(allowed, "rule 4: signed out is signed out");
        }
        Ok(())
    }

    /// Rule 5: to settle starts nothing and changes nothing; after the flight has reported it asks
    /// for no wait. It gives a token installed since the flight began, or the error of that flight
    /// or of a newer one; and to everybody the same.
    fn waiters_share_one_outcome(&self, moment: &Moment<'_>) -> TestCaseResult {
        let at = moment.event.at;
        let here = moment.after.here();
        let mut waiters = moment.after.clone();
        for seat in self.flights.iter().rev().take(3) {
            let flight = seat.started.flight;
            let settle = Event {
                action: Action::Settle { flight },
                at,
            };
            let answer = waiters.play(&settle);
            prop_assert_eq!(answer, waiters.play(&settle), "rule 5: one outcome for all");
            prop_assert!(answer.started().is_none(), "rule 5: no second flight");
            let began = seat.started.stamp;
            prop_assert_eq!(
                answer == Answer::Changed,
                began.epoch != here.epoch,
                "rule 4"
            );
            if seat.reported {
                let waits = matches!(answer, Answer::Wait { .. } | Answer::Overdue);
                prop_assert!(!waits, "rule 5: no second wait");
            }
            match answer {
                Answer::Use { stamp, .. } => {
                    prop_assert!(
                        stamp.generation > began.generation,
                        "rule 5: installed since"
                    );
                }
                Answer::Fail { error } => {
                    let of = self.errors.iter().find(|known| known.0 == error);
                    let of = of.expect("an error of a flight").1;
                    // A look has none of its own: it leaves its waiters with what ended the session.
                    let look = seat.started.purpose == Purpose::Look;
                    // No caller waited for a flight that gave way.
                    prop_assert!(of >= flight || look || seat.gave_way, "rule 5: whose error");
                }
                _ => {}
            }
        }
        prop_assert_eq!(
            waiters.sight(at),
            moment.after.sight(at),
            "rule 5: no change"
        );
        Ok(())
    }

    /// Rule 9: a failure takes no usable token away. In a cool-down nothing starts but what was
    /// asked for, and not even that if the issuer asked for the pause; a new token ends it. An ended
    /// session serves on, and starts nothing but looks and what was asked for.
    fn a_failure_displaces_nothing(&self, moment: &Moment<'_>) -> TestCaseResult {
        if let (Action::Failed { .. }, Some(served)) = (moment.event.action, moment.served()) {
            let after = moment.after.current(moment.event.at);
            prop_assert_eq!(
                after.map(|after| after.token),
                Some(served.token),
                "rule 9: the token stays"
            );
        }
        let Some(started) = moment.answer.started() else {
            return Ok(());
        };
        let (forced, look) = (
            started.purpose == Purpose::Forced,
            started.purpose == Purpose::Look,
        );
        if let Some((until, asked, of)) = self.cooling
            && of == started.stamp
            && moment.steady() < until
        {
            let allowed = look || forced && !asked;
            prop_assert!(allowed, "rule 9: cooling down until {}", until);
        }
        let over = self.ended == Some(started.stamp);
        prop_assert!(!over || forced || look, "rule 9: it has ended");
        prop_assert!(over || !look, "rule 9: a look is for what has ended");
        Ok(())
    }

    fn note(&mut self, moment: &Moment<'_>) {
        let answer = moment.answer;
        if let Some(started) = answer.started() {
            self.flights.push(Seat {
                started,
                begun: moment.steady(),

                reported: false,
                gave_way: false,
            });
        }
        let epoch = moment.after.here().epoch;
        match moment.event.action {
            Action::SignOut if answer == Answer::Yes => self.signed_out = Some(epoch),

            Action::Yielded { flight } if answer == Answer::Yes => {
                self.report(flight);
                self.flights[flight as usize - 1].gave_way = true;
            }

            Action::Failed { flight, failure } => {
                self.report(flight);
                self.errors.push((failure.error, flight));
                if let Answer::Cooling { until } = answer {
                    self.cooling = Some((until, failure.retry_after.is_some(), moment.here()));
                }
                if answer == Answer::Ended && failure.ending == Ending::Terminal {
                    let look = self.purpose(flight) == Purpose::Look;
                    self.ended = if look {
                        self.ended
                    } else {
                        Some(moment.here())
                    };
                }
            }

            Action::Refreshed { flight, .. } | Action::Adopted { flight, .. } => {
                self.report(flight);
            }
            _ => {}
        }
        // An update after a sign-out is answered with the stamp of before: it installs nothing.
        if let (Some(token), Answer::Installed { stamp }) = (moment.event.action.token(), answer)
            && stamp != moment.here()
        {
            self.tokens.push((token.number, stamp));
        }
    }

    fn purpose(&self, flight: u64) -> Purpose {
        self.flights[flight as usize - 1].started.purpose
    }

    fn report(&mut self, flight: u64) {
        self.flights[flight as usize - 1].reported = true;
    }
}
