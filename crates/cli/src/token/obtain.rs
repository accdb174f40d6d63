//! Obtains a token that stays valid for the required time.

use std::time::{Duration, SystemTime};

use token_rotator::{
    ExposeSecret as _, FailureKind, RefreshError, Rotator, Token, TokenError, TokenSet,
};

use crate::command_error::CommandError;
use crate::session::{NamedSession, no_token};

/// The requirements on a token.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenRequirements {
    /// How long the token must stay valid at least.
    pub(crate) min_ttl: Option<Duration>,
    /// Whether to refresh even a valid token.
    pub(crate) refresh: bool,
    /// Whether the `id_token` is wanted, which may expire before the access token.
    pub(crate) id_token: bool,
    /// Whether to fail at once in a cool-down, however short.
    pub(crate) no_wait: bool,
}

/// The longest cool-down that a command waits through.
const COOL_DOWN_MAX: Duration = Duration::from_secs(2);

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
    let token = token_after_cool_down(rotator, wanted.no_wait).await;
    let token = token.map_err(failed)?;
    if wanted.id_token {
        let min_ttl = wanted.min_ttl.unwrap_or_default();
        // A token set that arrived after its `id_token` had expired shows that this issuer gives no new
        // one with a refresh.
        let is_due = id_token_expiry(token.token_set()).is_some_and(|end| {
            let arrived_late = token.token_set().obtained_at().is_some_and(|at| at >= end);
            SystemTime::now() + min_ttl >= end && !arrived_late
        });
        if !is_due {
            return Ok(token);
        }
        // Adopts a token set that another process has stored, so that all processes refresh once.
        return rotator.refresh_now().await.map_err(failed);
    }
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

/// Returns the token. Waits once through a cool-down that another process has begun, if it is short
/// and the issuer did not ask for it.
async fn token_after_cool_down(rotator: &Rotator, no_wait: bool) -> Result<Token, TokenError> {
    let outcome = rotator.token().await;
    let Err(TokenError::Refresh(RefreshError::Shared { failure, left })) = &outcome else {
        return outcome;
    };
    let passes = !failure.asked_by_issuer && failure.kind != FailureKind::Misconfigured;
    if no_wait || !passes || *left > COOL_DOWN_MAX {
        return outcome;
    }
    // A little longer, so that the next flight finds the cool-down over.
    tokio::time::sleep(*left + Duration::from_millis(5)).await;
    rotator.token().await
}

/// Returns when the `id_token` of this token set expires. Returns `None` if it is missing or names no
/// time.
pub(super) fn id_token_expiry(tokens: &TokenSet) -> Option<SystemTime> {
    let hint = token_rotator::jwt::expiry_hint(tokens.id_token()?.expose_secret())?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(hint.expires_at_unix_ms))
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
