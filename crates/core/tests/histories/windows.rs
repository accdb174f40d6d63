//! The windows and their edges, one at a time: expiry, early refresh, cool-down, fresh tokens.

use proptest::prelude::*;
use token_rotator_core::{Access, Ending, Purpose};

use crate::common::cases;
use crate::common::events::{Action, Answer, At, Event, Failed, Rules, Sent, Token};
use crate::common::run::Run;

/// A session, played one event after the other.
struct Stage {
    run: Run,
    wall: u64,
    steady: u64,
}

impl Stage {
    fn new(rules: &Rules) -> Self {
        Self {
            run: Run::new(rules),
            wall: 1_000_000_000,
            steady: 0,
        }
    }

    /// Signed in with a token of this lifetime.
    fn signed_in(rules: &Rules, lifetime: Option<u64>) -> Self {
        let mut stage = Self::new(rules);
        let token = token(1, lifetime);
        stage.play(Action::SignIn { token });
        stage
    }

    fn play(&mut self, action: Action) -> Answer {
        self.run.play(&Event {
            action,
            at: (self.wall, self.steady),
        })
    }

    fn pass(&mut self, by: u64) {
        self.wall += by;
        self.steady += by;
    }

    fn acquire(&mut self) -> Answer {
        self.play(Action::Acquire)
    }

    /// The token of now is refused.
    fn refused(&mut self) -> Answer {
        self.refused_at(Sent::default())
    }

    fn refused_at(&mut self, sent: Sent) -> Answer {
        let At { epoch, generation } = self.run.here();
        self.play(Action::Refused {
            epoch,
            generation,
            sent,
        })
    }

    fn fail(&mut self, ending: Ending, retry_after: Option<u64>, jitter: u32) -> Answer {
        let flight = self.run.in_the_air().expect("a flight");
        let failure = Failed {
            error: flight,
            ending,
            retry_after,
            jitter: Some(jitter),
        };
        self.play(Action::Failed { flight, failure })
    }

    fn refresh(&mut self, lifetime: Option<u64>) {
        let flight = self.run.in_the_air().expect("a flight");
        let token = token(100 + flight, lifetime);
        let answer = self.play(Action::Refreshed { flight, token });
        assert!(matches!(answer, Answer::Installed { .. }));
    }
}

fn token(number: u64, lifetime: Option<u64>) -> Token {
    Token {
        number,
        lifetime,
        received: None,
        jitter: None,
    }
}

fn required() -> Rules {
    Rules::default_for(Access::Required)
}

fn starts(answer: Answer, why: Purpose) -> bool {
    answer
        .started()
        .is_some_and(|started| started.purpose == why)
}

fn is_use(answer: Answer) -> bool {
    matches!(answer, Answer::Use { .. })
}

proptest! {
    #![proptest_config(cases(2_000))]

    // Property: a token is used until the moment of its expiry and not at it, by the wall clock
    // alone: set back, that clock makes it usable again.
    #[test]
    fn expiry_is_exact(lifetime in 1_u64..10_000_000, suspended in 0_u64..100_000) {
        let rules = Rules { early_interval: Some(0), ..required() };
        let mut stage = Stage::signed_in(&rules, Some(lifetime));
        stage.steady += suspended;
        stage.wall += lifetime - 1;
        let token = stage.run.current((stage.wall, stage.steady)).expect("a token");
        prop_assert!(token.until <= Some(stage.wall + 1));
        prop_assert!(stage.acquire().token().is_some());
        let flights = stage.run.session.flight().is_some();
        stage.wall += 1;
        prop_assert!(stage.run.current((stage.wall, stage.steady)).is_none());
        let answer = stage.acquire();
        let waits = flights && matches!(answer, Answer::Wait { .. });
        prop_assert!(waits || starts(answer, Purpose::Expired));
        stage.wall -= 1;
        prop_assert!(is_use(stage.acquire()));
    }

    // Property: the first caller at the beginning of the window starts an early flight and uses
    // the token. No caller starts one before the window, or while a flight is out. After an early
    // flight gave way or failed, no caller starts one until the interval since its start is over.
    #[test]
    fn early_refresh_starts_once(
        lifetime in 240_000_u64..10_000_000,
        interval in 0_u64..50_000,
        flown in 0_u64..29_999,
    ) {
        let rules = Rules { early_interval: Some(interval), ..required() };
        let mut stage = Stage::signed_in(&rules, Some(lifetime));
        stage.pass(lifetime - 60_000 - 1);
        prop_assert!(is_use(stage.acquire()));
        stage.pass(1);
        prop_assert!(starts(stage.acquire(), Purpose::Early));
        stage.pass(flown);
        prop_assert!(is_use(stage.acquire()));
        let flight = stage.run.in_the_air().expect("a flight");
        prop_assert_eq!(stage.play(Action::Yielded { flight }), Answer::Yes);
        if flown < interval {
            stage.pass(interval - flown - 1);
            prop_assert!(is_use(stage.acquire()));
            stage.pass(1);
        }
        prop_assert!(starts(stage.acquire(), Purpose::Early));
    }

    // Property: an early flight that a caller waits for does not give way.
    #[test]
    fn an_awaited_flight_stays(flown in 0_u64..30_000, settles: bool) {
        let mut stage = Stage::signed_in(&required(), Some(240_000));
        stage.pass(180_000);
        let started = stage.acquire().started().expect("an early flight");
        let flight = started.flight;
        stage.pass(flown);
        let waits = stage.play(if settles { Action::Settle { flight } } else { Action::Force });
        let joined = flown < 30_000;
        prop_assert_eq!(waits, if joined { Answer::Wait { flight } } else { Answer::Overdue });
        prop_assert_eq!(stage.play(Action::Yielded { flight }) == Answer::No, joined);
    }

    // Property: failures in a row are followed by cool-downs that double up to the longest, each
    // with its jitter; what the issuer asks for wins, down to the shortest and up to a limit. Nothing starts before the end
    // of one, and at that moment something does; `force` waits for nothing but the issuer's.
    #[test]
    fn cool_downs_double(
        row in prop::collection::vec((prop::option::of(0_u64..600_000), 800_u32..=1_200), 1..12),
        shift in 0_u64..1_000_000,
        ending in prop::sample::select(vec![
            Ending::Transient, Ending::Uncertain, Ending::Misconfigured,
        ]),
    ) {
        let mut stage = Stage::new(&required());
        let mut nominal = 500;
        for (asked, jitter) in row {
            prop_assert!(starts(stage.acquire(), Purpose::First));
            let wait = asked.map_or(nominal * u64::from(jitter) / 1_000, |asked| asked.clamp(500, 300_000));
            let until = stage.steady + wait;
            prop_assert_eq!(stage.fail(ending, asked, jitter), Answer::Cooling { until });
            // Setting the wall clock shortens nothing.
            stage.wall += shift;
            if wait > 0 {
                stage.pass(wait - 1);
                let fails = |answer| matches!(answer, Answer::Fail { .. });
                prop_assert!(fails(stage.acquire()));
                let mut forced = Stage { run: stage.run.clone(), ..stage };
                let answer = forced.play(Action::Force);
                let goes = starts(answer, Purpose::Forced);
                prop_assert_eq!((goes, fails(answer)), (asked.is_none(), asked.is_some()));
                stage.pass(1);
            }
            nominal = (nominal * 2).min(60_000);
        }
        // A token ends the row.
        prop_assert!(starts(stage.acquire(), Purpose::First));
        stage.refresh(None);
        stage.play(Action::Force);
        let until = stage.steady + 500;
        prop_assert_eq!(stage.fail(ending, None, 1_000), Answer::Cooling { until });
    }

    // Property: an upstream that refuses every token, however often it is asked, gets at most one
    // flight in a time that doubles from two seconds to sixty.
    #[test]
    fn refusals_space_flights_out(
        pauses in prop::collection::vec(1_u64..3_000, 1..20),
        by_others: bool,
    ) {
        let mut stage = Stage::signed_in(&required(), None);
        let mut begun = Vec::new();
        let mut pauses = pauses.into_iter().cycle();
        while stage.steady < 1_200_000 {
            stage.pass(pauses.next().expect("for ever"));
            // The replay is refused at once.
            for _ in 0..3 {
                let Some(started) = stage.refused().started() else {
                    break;
                };
                begun.push(stage.steady);
                let (flight, token) = (started.flight, token(100 + started.flight, None));
                // In a store that others write, the newer token may be from there every time.
                stage.play(if by_others {
                    Action::Adopted { flight, token }
                } else {
                    Action::Refreshed { flight, token }
                });
            }
        }
        // 2, 4, 8, 16, 32, then 60 seconds apart: 24 flights in twenty minutes, and not too few.
        prop_assert!((20..=26).contains(&begun.len()), "{:?}", begun);
        let last = &begun[begun.len() - 10..];
        for pair in last.windows(2) {
            prop_assert!((60_000..63_000).contains(&(pair[1] - pair[0])), "{:?}", begun);
        }
    }

    // Property: a lifetime of one second works: a caller at any pace is served, and the flights are
    // as many as the seconds in which a caller came. A revocation is noticed after a quarter.
    #[test]
    fn one_second_works(pace in 1_u64..1_500, age in 0_u64..1_000) {
        let mut stage = Stage::new(&required());
        let mut flights = 0;
        while stage.steady < 60_000 {
            let answer = stage.acquire();
            if let Some(started) = answer.started() {
                flights += 1;
                stage.refresh(Some(1_000));
                let settled = stage.play(Action::Settle { flight: started.flight });
                prop_assert!(is_use(settled));
            } else {
                prop_assert!(is_use(answer), "{:?}", answer);
            }
            stage.pass(pace);
        }
        // The early window is the last quarter.
        prop_assert!(flights <= 60_000 / 750 + 1, "{} flights", flights);
        let mut stage = Stage::signed_in(&required(), Some(1_000));
        stage.play(Action::Force);
        stage.refresh(Some(1_000));
        stage.pass(age);
        prop_assert_eq!(starts(stage.refused(), Purpose::Refused), age >= 250);
    }

    // Property: an uncertain outcome stops the early refresh of that token, which serves on to its
    // end; the next one is refreshed early again.
    #[test]
    fn uncertain_stops_early_refresh(later in 0_u64..59_000) {
        let mut stage = Stage::signed_in(&required(), Some(240_000));
        stage.pass(180_000);
        prop_assert!(starts(stage.acquire(), Purpose::Early));
        stage.fail(Ending::Uncertain, None, 1_000);
        stage.pass(later);
        prop_assert!(is_use(stage.acquire()));
        stage.pass(60_000 - later);
        prop_assert!(starts(stage.acquire(), Purpose::Expired));
        stage.refresh(Some(240_000));
        stage.pass(180_000);
        prop_assert!(starts(stage.acquire(), Purpose::Early));
    }

    // Property: an ended session looks into its store when it is used, and not before the interval
    // since the last look is over; where no other process writes it, never.
    #[test]
    fn looks_keep_their_interval(pace in 1_u64..2_500, interval in 1_u64..2_500) {
        let rules = Rules { look_interval: Some(interval), ..required() };
        let mut stage = Stage::new(&rules);
        stage.acquire();
        prop_assert_eq!(stage.fail(Ending::Terminal, None, 1_000), Answer::Ended);
        let mut last = None;
        for _ in 0..20 {
            let due = last.is_none_or(|last| stage.steady >= last + interval);
            let answer = stage.acquire();
            prop_assert_eq!(starts(answer, Purpose::Look), due);
            if due {
                last = Some(stage.steady);
                prop_assert_eq!(stage.fail(Ending::Transient, None, 1_000), Answer::Ended);
            } else {
                prop_assert_eq!(answer, Answer::Fail { error: 1 }, "the error that ended it");
            }
            stage.pass(pace);
        }
        let mut alone = Stage::new(&required());
        alone.acquire();
        alone.fail(Ending::Terminal, None, 1_000);
        alone.pass(pace);
        prop_assert_eq!(alone.acquire(), Answer::Fail { error: 1 });
    }
}
