//! Rule 17, "a refresh must prove useful", over minutes of requests.

use proptest::prelude::*;
use token_rotator_core::Access;

use crate::common::cases;
use crate::common::events::{Action, Answer, At, Event, Rules, Sent, Token};
use crate::common::run::Run;

/// An upstream behind a session: each request is answered at once, and each flight lands at once.
struct World {
    run: Run,
    now: u64,
    /// When each refresh began.
    refreshes: Vec<u64>,
    tokens: u64,
}

impl World {
    fn signed_in() -> Self {
        let mut world = Self {
            run: Run::new(&Rules::default_for(Access::Required)),
            now: 0,
            refreshes: Vec::new(),
            tokens: 0,
        };
        let token = world.next_token();
        world.play(Action::SignIn { token });
        world
    }

    fn next_token(&mut self) -> Token {
        self.tokens += 1;
        Token {
            number: self.tokens,
            lifetime: None,
            received: None,
            jitter: None,
        }
    }

    fn play(&mut self, action: Action) -> Answer {
        let at = (1_000_000_000 + self.now, self.now);
        self.run.play(&Event { action, at })
    }

    /// Sends one request and, where the session says so, its replay. Returns whether the last
    /// answer was no refusal.
    fn request(&mut self, endpoint: u32, accepts: impl Fn(u64) -> bool) -> bool {
        let first = self.play(Action::Acquire).token().expect("a token");
        if self.send(first, endpoint, false, &accepts) {
            return true;
        }
        let At { epoch, generation } = first.1;
        let sent = Sent {
            endpoint,
            replay: false,
        };
        let answer = self.play(Action::Refused {
            epoch,
            generation,
            sent,
        });
        let again = match answer.started() {
            Some(started) => {
                self.refreshes.push(self.now);
                let flight = started.flight;
                let token = self.next_token();
                self.play(Action::Refreshed { flight, token });
                self.play(Action::Settle { flight }).token()
            }
            None => answer.token(),
        };
        let Some(again) = again else {
            return false;
        };
        let accepted = self.send(again, endpoint, true, &accepts);
        if !accepted {
            let At { epoch, generation } = again.1;
            let sent = Sent {
                endpoint,
                replay: true,
            };
            self.play(Action::Refused {
                epoch,
                generation,
                sent,
            });
        }
        accepted
    }

    fn send(
        &mut self,
        (token, stamp): (u64, At),
        endpoint: u32,
        replay: bool,
        accepts: impl Fn(u64) -> bool,
    ) -> bool {
        let accepted = accepts(token);
        if accepted {
            let At { epoch, generation } = stamp;
            let sent = Sent { endpoint, replay };
            self.play(Action::Accepted {
                epoch,
                generation,
                sent,
            });
        }
        accepted
    }

    /// The most refreshes in any minute.
    fn most_in_a_minute(&self) -> usize {
        let from = |at: u64| {
            let minute = at..at + 60_000;
            self.refreshes
                .iter()
                .filter(|at| minute.contains(at))
                .count()
        };
        self.refreshes.iter().map(|at| from(*at)).max().unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(cases(300))]

    // Property: tokens of unknown expiry that live 1 to 3 s are refreshed at each expiry, and no
    // request ends with a refusal.
    #[test]
    fn short_opaque_tokens_serve_every_request(life in 1_000_u64..3_000, pace in 1_u64..200) {
        let mut world = World::signed_in();
        let mut born = 0;
        while world.refreshes.len() < 20 {
            world.now += pace;
            let (now, newest) = (world.now, world.tokens);
            let good = |token: u64| token > newest || now < born + life;
            prop_assert!(world.request(1, good), "refused at {}", world.now);
            if world.tokens > newest {
                born = world.now;
            }
        }
    }

    // Property: an endpoint that refuses every token has the session refreshed at most 8 times a
    // minute, and costs the healthy endpoints nothing: after a key change each of their requests
    // is accepted at the latest as a replay.
    #[test]
    fn a_broken_endpoint_harms_no_other(
        pace in 10_u64..300,
        change in 1_000_u64..200_000,
        healthy in 1_u32..20,
    ) {
        let mut world = World::signed_in();
        let mut old = 0;
        let mut changed = false;
        while world.now < 240_000 {
            world.now += pace;
            if !changed && world.now >= change {
                (old, changed) = (world.tokens, true);
            }
            for endpoint in 1..=healthy {
                let accepted = world.request(100 + endpoint, |token| token > old);
                prop_assert!(accepted, "healthy endpoint {} at {}", endpoint, world.now);
            }
            prop_assert!(!world.request(1, |_| false));
        }
        prop_assert!(world.most_in_a_minute() <= 8, "{:?}", world.refreshes);
    }

    // Property: a token for the wrong audience, beside one public endpoint that accepts any token,
    // has the session refreshed at most 8 times a minute, over 1,000 distinct paths.
    #[test]
    fn a_wrong_audience_is_bounded(pace in 1_u64..300) {
        let mut world = World::signed_in();
        for path in 0..u32::try_from(240_000 / pace).expect("a count") {
            world.now += pace;
            prop_assert!(world.request(1, |_| true), "the public endpoint");
            prop_assert!(!world.request(2 + path % 1_000, |_| false));
        }
        prop_assert!(world.refreshes.len() >= 5, "it goes on: {:?}", world.refreshes);
        prop_assert!(world.most_in_a_minute() <= 8, "{:?}", world.refreshes);
    }
}
