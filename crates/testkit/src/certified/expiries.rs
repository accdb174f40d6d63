//! The test of every client against the certified issuer: one refresh serves all requests, however the token ends.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{CertifiedGrant, CertifiedIssuer, CertifiedStats};

/// Names the environment variable with the number of expiries, for a long run.
const EXPIRIES_VARIABLE: &str = "OIDC_EXPIRIES";
const DEFAULT_EXPIRIES: u64 = 5;

/// Number of concurrent requests at each expiry.
const REQUESTS: u64 = 200;

/// Time limit of a round. A round that hangs fails after it.
const ROUND_TIME_LIMIT: Duration = Duration::from_secs(60);

/// How the client's access token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenEnd {
    /// The token is invalid from the start: the issuer never issued it.
    NeverIssued,
    /// The issuer expires the token early, while the client considers it valid. The API refuses `together` requests at
    /// once, and later requests one by one.
    ExpiredEarly { together: u64 },
    /// The token reaches its announced expiry. The client must not present it.
    Expired,
}

impl TokenEnd {
    /// Every second round is a storm of refusals: in one storm all are sent together, in the next one half of them.
    fn of(round: u64) -> Self {
        match round % 4 {
            _ if round == 1 => Self::NeverIssued,
            2 => Self::ExpiredEarly { together: REQUESTS },
            0 => Self::ExpiredEarly {
                together: REQUESTS / 2,
            },
            _ => Self::Expired,
        }
    }

    /// Returns how many requests the API may refuse.
    fn refusals(self) -> RangeInclusive<u64> {
        match self {
            Self::NeverIssued => 1..=REQUESTS,
            Self::ExpiredEarly { together } => together..=REQUESTS,
            Self::Expired => 0..=0,
        }
    }
}

impl CertifiedIssuer {
    /// Takes a client through five expiries, or as many as `OIDC_EXPIRIES` says, with 200 concurrent requests at each.
    ///
    /// The client starts with the grant's refresh token and an access token that the issuer never issued. It must not
    /// refresh before expiry. `looks_good` returns whether the client would present its token. `send` sends one request
    /// to `/echo` and returns the status of the response.
    ///
    /// At each expiry every request gets a 200 after exactly one refresh. At every second expiry the API refuses 100 or
    /// 200 requests together. The client does not present an expired token. No refresh token is used twice, and the
    /// grant is valid at the end.
    ///
    /// # Panics
    ///
    /// Panics if one of these properties does not hold.
    pub async fn expiries<F>(
        &self,
        grant: &CertifiedGrant,
        looks_good: impl Fn() -> bool,
        send: impl Fn(u64) -> F,
    ) where
        F: Future<Output = u16> + Send + 'static,
    {
        let expiries = std::env::var(EXPIRIES_VARIABLE).map_or(DEFAULT_EXPIRIES, |count| {
            count.parse().expect("OIDC_EXPIRIES is a number")
        });
        let mut previous = CertifiedStats::default();
        let mut storms = Vec::new();
        for round in 1..=expiries {
            let end = TokenEnd::of(round);
            self.end_token(end, &looks_good).await;
            let requests: Vec<_> = (0..REQUESTS)
                .map(|number| tokio::spawn(send(number)))
                .collect();
            let responses = async {
                for request in requests {
                    assert_eq!(request.await.expect("no panic"), 200, "{end:?}");
                }
            };
            let result = tokio::time::timeout(ROUND_TIME_LIMIT, responses).await;
            result.unwrap_or_else(|_| panic!("round {round} hangs, {end:?}"));

            let stats = self.stats().await;
            let refusals = stats.upstream_401 - previous.upstream_401;
            assert!(end.refusals().contains(&refusals), "{refusals}, {end:?}");
            if let TokenEnd::ExpiredEarly { .. } = end {
                storms.push(refusals);
            }
            previous = CertifiedStats {
                token_requests: round,
                refreshes: round,
                upstream_200: round * REQUESTS,
                upstream_401: previous.upstream_401 + refusals,
                // The other counters stay 0: no error, no reuse, no revoked grant.
                ..CertifiedStats::default()
            };
            assert_eq!(stats, previous, "round {round}, {end:?}");
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
    async fn end_token(&self, end: TokenEnd, looks_good: &impl Fn() -> bool) {
        match end {
            TokenEnd::NeverIssued => {}
            TokenEnd::ExpiredEarly { together } => {
                // The client starts no refresh if the API refuses a younger token: rule 17 of the design.
                tokio::time::sleep(self.access_lifetime() / 4).await;
                self.expire_access_tokens().await;
                self.refuse_together(together).await;
                assert!(
                    looks_good(),
                    "the client considers its token valid before a storm"
                );
            }
            TokenEnd::Expired => {
                while looks_good() {
                    // The issuer's clock runs in another process, so the test can only poll.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}
