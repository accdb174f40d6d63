//! The script: how a token ends, and who calls then.

use std::error::Error;
use std::time::Duration;

use token_rotator_testkit::CertifiedIssuer;

use crate::callers::Callers;
use crate::proxies::Contestant;
use crate::tally::Tally;

/// Long enough that half of it is past the youth in which `token-rotator` takes a refusal for another matter than the
/// token's end, and before the age at which any of the three would refresh it.
const LIFETIME: Duration = Duration::from_secs(6);
/// How many call together.
const CALLERS: u32 = 64;

/// What is played to each proxy, with an issuer and a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// By the clock, and one caller comes then: what every one of them is made for.
    ExpiredForOne,
    /// By the clock, and all call then.
    Expired,
    /// At the issuer, which revokes access tokens halfway and no refresh token, and all call before anybody can know.
    ///
    /// Not at the issuer's endpoint of RFC 7009: this one revokes the refresh token with the access token there, as
    /// section 2.1 lets it, and then no session is left to be kept.
    Revoked,
}

impl Act {
    pub(crate) const ALL: [Self; 3] = [Self::ExpiredForOne, Self::Expired, Self::Revoked];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ExpiredForOne => "expires, one caller",
            Self::Expired => "expires, all together",
            Self::Revoked => "revoked early, all together",
        }
    }

    /// How many tokens end.
    fn ends(self) -> u32 {
        match self {
            Self::ExpiredForOne => 2,
            Self::Expired => 5,
            Self::Revoked => 3,
        }
    }

    fn callers(self) -> u32 {
        match self {
            Self::ExpiredForOne => 1,
            Self::Expired | Self::Revoked => CALLERS,
        }
    }

    /// Plays it once. Errors: the issuer or the proxy does not start, or the proxy never serves anybody.
    pub(crate) async fn play(self, contestant: Contestant) -> Result<Tally, Box<dyn Error>> {
        let issuer = CertifiedIssuer::start(LIFETIME)
            .await
            .ok_or("there is no certified issuer to play with")?;
        let proxy = contestant.start(&issuer).await?;
        let callers = Callers::of(&proxy);
        callers.until_served().await?;
        let mut tally = Tally::of(self.ends());
        for _ in 0..self.ends() {
            let before = match self {
                Self::ExpiredForOne | Self::Expired => {
                    let before = issuer.stats().await;
                    issuer.expiry().await;
                    before
                }
                Self::Revoked => {
                    issuer.expiry().await;
                    callers.one().await;
                    issuer.half_life().await;
                    let before = issuer.stats().await;
                    issuer.expire_access_tokens().await;
                    before
                }
            };
            tally.count(&callers.together(self.callers()).await?);
            let after = issuer.stats().await;
            tally.token_calls += after.token_requests - before.token_requests;
            tally.reuses += after.reuses - before.reuses;
        }
        // Whoever can still get a token is alive.
        issuer.expiry().await;
        tally.alive = callers.one().await == Some(200);
        Ok(tally)
    }
}
