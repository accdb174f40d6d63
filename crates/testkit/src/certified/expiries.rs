//! What every client is held to at the certified issuer: however a token ends, one refresh serves all.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{CertifiedGrant, CertifiedIssuer, CertifiedStats};

/// Says how many expiries there are to be, for a long run.
const EXPIRIES: &str = "OIDC_EXPIRIES";
const EXPIRIES_IF_NOT_SAID: u64 = 5;

/// How many requests set out together at each expiry.
const REQUESTS: u64 = 200;

/// How long a round may take; whatever hangs shows by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nobody ever issued it.
    NeverGood,
    /// At the issuer, while it looks good where it is held: so many of those who present it are
    /// refused together, and then whoever comes with it still.
    Refused { together: u64 },
    /// By the clock, for all to see: nobody is to present it any more.
    Expired,
}

impl End {
    /// Every second one is a storm of refusals: now all at once, now with half of them late.
    fn of(round: u64) -> Self {
        match round % 4 {
            _ if round == 1 => Self::NeverGood,
            2 => Self::Refused { together: REQUESTS },
            0 => Self::Refused {
                together: REQUESTS / 2,
            },
            _ => Self::Expired,
        }
    }

    /// How many of the requests are refused.
    fn refusals(self) -> RangeInclusive<u64> {
        match self {
            Self::NeverGood => 1..=REQUESTS,
            Self::Refused { together } => together..=REQUESTS,
            Self::Expired => 0..=0,
        }
    }
}

impl CertifiedIssuer {
    /// Takes a client through five expiries, or as many as `OIDC_EXPIRIES` says, each met by 200
    /// requests at once.
    ///
    /// The client holds the refresh token of this grant, an access token that nobody issued, and
    /// refreshes none before its expiry. `looks_good` tells whether it would present the token it
    /// holds; `send` makes one request to `/echo` and returns the status of the answer.
    ///
    /// At each expiry all requests are answered with 200 after exactly one refresh. At every second
    /// one, those with a token that ended early are refused, 100 or all 200 of them together; a token
    /// that has expired is not even presented. No refresh token is used twice, and the grant is alive
    /// at the end.
    ///
    /// # Panics
    ///
    /// If any of this does not hold.
    pub async fn expiries<F>(
        &self,
        grant: &CertifiedGrant,
        looks_good: impl Fn() -> bool,
        send: impl Fn(u64) -> F,
    ) where
        F: Future<Output = u16> + Send + 'static,
    {
        let expiries = std::env::var(EXPIRIES).map_or(EXPIRIES_IF_NOT_SAID, |count| {
            count.parse().expect("OIDC_EXPIRIES is a number")
        });
        let mut seen = CertifiedStats::default();
        let mut storms = Vec::new();
        for round in 1..=expiries {
            let end = End::of(round);
            self.end_token(end, &looks_good).await;
            let requests: Vec<_> = (0..REQUESTS)
                .map(|number| tokio::spawn(send(number)))
                .collect();
            let answers = async {
                for request in requests {
                    assert_eq!(request.await.expect("no panic"), 200, "{end:?}");
                }
            };
            let in_time = tokio::time::timeout(PATIENCE, answers).await;
            in_time.unwrap_or_else(|_| panic!("round {round} hangs, {end:?}"));

            let stats = self.stats().await;
            let refusals = stats.upstream_401 - seen.upstream_401;
            assert!(end.refusals().contains(&refusals), "{refusals}, {end:?}");
            if let End::Refused { .. } = end {
                storms.push(refusals);
            }
            seen = CertifiedStats {
                token_requests: round,
                refreshes: round,
                upstream_200: round * REQUESTS,
                upstream_401: seen.upstream_401 + refusals,
                // No error, no reuse, no grant revoked.
                ..CertifiedStats::default()
            };
            assert_eq!(stats, seen, "round {round}, {end:?}");
        }
        assert!(self.alive(grant).await);
        println!(
            "certified issuer: {expiries} expiries, {} of them storms of {} to {} refusals",
            storms.len(),
            storms.iter().min().unwrap_or(&0),
            storms.iter().max().unwrap_or(&0),
        );
    }

    /// Ends the token that the client holds.
    async fn end_token(&self, end: End, looks_good: &impl Fn() -> bool) {
        match end {
            End::NeverGood => {}
            End::Refused { together } => {
                // A token younger than this counts as fresh, and its refusal as no reason to refresh.
                tokio::time::sleep(self.access_lifetime() / 4).await;
                self.expire_access_tokens().await;
                self.refuse_together(together).await;
                assert!(looks_good(), "a storm is met with a token that looks good");
            }
            End::Expired => {
                while looks_good() {
                    // The issuer's clock is another process's: there is nothing to wait on but time.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}
