//! A token that is good for as long as it has to be.

use std::time::{Duration, SystemTime};

use token_rotator::{Rotator, Token, TokenError};

use crate::command_error::CommandError;
use crate::session::{Session, no_token};

/// How good a token has to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// For how long it has to be good.
    pub(crate) min_ttl: Option<Duration>,
    /// Refreshed, however good it is.
    pub(crate) refresh: bool,
}

/// The session's token, refreshed if it has to be.
pub(crate) async fn fresh(
    session: &Session<'_>,
    rotator: &Rotator,
    wanted: Wanted,
) -> Result<Token, CommandError> {
    let failed = |error| no_token(&session.name, &error);
    if wanted.refresh {
        // What others have refreshed meanwhile is where to go on from.
        let _ = rotator.token().await;
        return rotator.refresh_now().await.map_err(failed);
    }
    let token = rotator.token().await.map_err(failed)?;
    let Some(min_ttl) = wanted.min_ttl.filter(|ttl| !lasts(&token, *ttl)) else {
        return Ok(token);
    };
    // Where no token of this issuer lasts so long, a refresh is not tried in vain each time.
    let lifetime = token.token_set().lifetime();
    if let Some(lifetime) = lifetime.filter(|lifetime| *lifetime < min_ttl) {
        return Err(too_short(min_ttl, lifetime));
    }
    // As after a refusal: whoever has refreshed it meanwhile is followed, and asks nothing again.
    let newer = match rotator.refused(&token).await {
        // It was issued a moment ago, and another would last no longer.
        Err(TokenError::FreshTokenRefused) => token,
        newer => newer.map_err(failed)?,
    };
    if lasts(&newer, min_ttl) {
        return Ok(newer);
    }
    let left = left(&newer).unwrap_or_default();
    Err(too_short(min_ttl, Duration::from_secs(left.as_secs())))
}

fn too_short(wanted: Duration, lifetime: Duration) -> CommandError {
    CommandError::new(format!("no token lasts for {wanted:?}"))
        .why(format!("the issuer's are good for {lifetime:?}"))
        .hint("ask for less with `--min-ttl`, or have the issuer give tokens that live longer")
}

/// Whether it is good for so long; one that does not say is good until it is refused.
fn lasts(token: &Token, time: Duration) -> bool {
    token.token_set().expires_at().is_none() || left(token).is_some_and(|left| left >= time)
}

fn left(token: &Token) -> Option<Duration> {
    let at = token.token_set().expires_at()?;
    at.duration_since(SystemTime::now()).ok()
}
