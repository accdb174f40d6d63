//! The script: how a token ends, and which callers follow.

use std::error::Error;
use std::time::Duration;

use token_rotator_testkit::CertifiedIssuer;

use crate::callers::Callers;
use crate::proxies::Contestant;
use crate::tally::Tally;

const LIFETIME: Duration = Duration::from_secs(6);
/// The share of its life after which a token is revoked. It is past the first quarter, in which `token-rotator` does
/// not refresh after a refusal, and before the half, after which Envoy has replaced the token.
const REVOKED_AT: f64 = 0.4;
/// The number of callers at once.
const CALLERS: u32 = 64;

/// The acts. Each proxy plays each act with an issuer and a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The token expires, and one caller follows. Every proxy is made for this.
    ExpiredForOne,
    /// The token expires, and all callers follow at once.
    Expired,
    /// The issuer revokes the access token and keeps the refresh token. All callers follow at once, before any proxy
    /// can notice.
    ///
    /// The revocation endpoint (RFC 7009) is not used: this issuer revokes the refresh token there too, as section 2.1
    /// allows. No session would be left.
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

    /// The number of tokens that end.
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

    /// Plays the act once. Errors: the issuer or the proxy does not start, or the proxy serves no caller.
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
                    issuer.aged(REVOKED_AT).await;
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
        // A session is alive if a further caller gets a token.
        issuer.expiry().await;
        tally.alive = callers.one().await == Some(200);
        Ok(tally)
    }
}
