//! Obtains a token that stays valid for the required time.

use std::time::Duration;

use token_rotator::{Rotator, Token, TokenError};

use crate::command_error::CommandError;
use crate::session::{NamedSession, no_token};

/// The requirements on a token.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenRequirements {
    /// How long the token must stay valid at least.
    pub(crate) min_ttl: Option<Duration>,
    /// Whether to refresh even a valid token.
    pub(crate) refresh: bool,
}

/// Returns the session's token. Refreshes it if the requirements need a newer token.
///
/// *Errors:* there is no token, or the issuer's tokens are shorter than `min_ttl`.
pub(crate) async fn obtain_token(
    session: &NamedSession<'_>,
    rotator: &Rotator,
    wanted: TokenRequirements,
) -> Result<Token, CommandError> {
    let failed = |error| no_token(&session.name, &error);
    if wanted.refresh {
        // Adopts a token that another process has stored, so that its refresh token is used.
        let _ = rotator.token().await;
        return rotator.refresh_now().await.map_err(failed);
    }
    let token = rotator.token().await.map_err(failed)?;
    let Some(min_ttl) = wanted
        .min_ttl
        .filter(|ttl| !is_valid_for(rotator, &token, *ttl))
    else {
        return Ok(token);
    };
    // Every token of this issuer is shorter: a refresh at each call could not help.
    let lifetime = token.token_set().lifetime();
    if let Some(lifetime) = lifetime.filter(|lifetime| *lifetime < min_ttl) {
        return Err(too_short(min_ttl, lifetime));
    }
    // `refused` adopts a token that another process has refreshed, without a second refresh.
    let newer = match rotator.refused(&token).await {
        // The token was just issued: a newer one would not last longer.
        Err(TokenError::FreshTokenRefused) => token,
        newer => newer.map_err(failed)?,
    };
    if is_valid_for(rotator, &newer, min_ttl) {
        return Ok(newer);
    }
    let remaining = rotator.time_left(&newer).unwrap_or_default();
    Err(too_short(min_ttl, Duration::from_secs(remaining.as_secs())))
}

fn too_short(wanted: Duration, lifetime: Duration) -> CommandError {
    CommandError::new(format!("no token lasts for {wanted:?}"))
        .why(format!("the issuer's tokens are valid for {lifetime:?}"))
        .hint("ask for less with `--min-ttl`, or have the issuer give tokens that live longer")
}

/// Returns whether the token stays valid for this time. A token without expiry counts as valid.
fn is_valid_for(rotator: &Rotator, token: &Token, time: Duration) -> bool {
    let left = rotator.time_left(token);
    left.is_none_or(|left| left >= time)
}
