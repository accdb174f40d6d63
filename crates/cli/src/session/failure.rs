//! Errors of a session as command errors: the cause, the hint for this cause and the exit code.

use std::time::Duration;

use token_rotator::store::{LeaseError, StoreError, StoreErrorKind};
use token_rotator::{FailureKind, RefreshError, SourceError, TokenError, UnusableTokens};

use crate::command_error::CommandError;
use crate::config::SessionName;

/// Exit code: a user must sign in.
pub(crate) const EXIT_SIGN_IN: u8 = 3;
/// Exit code: a temporary failure; a later attempt may succeed.
pub(crate) const EXIT_TRY_LATER: u8 = 4;

const CHECK_STORE: &str = "check that the store is a server that runs, or a directory that you may write, \
                     with room on its disk; `--store` names another";

const REPORT: &str = "run the command again; report the error if that does not help";

/// Returns the error that a session has no token.
pub(crate) fn no_token(name: &SessionName, error: &TokenError) -> CommandError {
    let failed = CommandError::new(format!("there is no token for session `{name}`"))
        .because(error)
        .hint_of(error.hint())
        .code(exit_code(error));
    match error {
        TokenError::SignedOut | TokenError::StepUp(_) => failed.hint(sign_in(name)),
        TokenError::Refresh(error) => refresh_failed(failed, name, error),
        TokenError::WaitTimedOut { .. } | TokenError::Overdue => {
            failed.hint("the issuer is slow; try again in a moment")
        }
        TokenError::FreshTokenRefused => failed.hint(
            "ask for another scope, resource or audience at the next login; another token of this \
             kind would be refused as well",
        ),
        TokenError::SessionChanged => {
            failed.hint("run the command again; it uses the session's new sign-in")
        }
        _ => failed.hint(REPORT),
    }
}

fn refresh_failed(failed: CommandError, name: &SessionName, error: &RefreshError) -> CommandError {
    match error {
        RefreshError::Shared { failure, left } => {
            // The host that failed waits a little longer than the issuer asked for.
            let wait = wait_of((*left).min(failure.wait));
            let force = if failure.asked_by_issuer {
                "the issuer asked for this wait".to_owned()
            } else {
                format!("`token-rotator token --session {name} --refresh` tries now")
            };
            failed.hint(match failure.kind {
                FailureKind::Misconfigured => format!(
                    "check the session's client id, secret, scope and addresses; retry after {wait}"
                ),
                _ => format!("retry after {wait}; {force}"),
            })
        }
        RefreshError::RefusedWithoutReason { .. } => failed.hint(format!(
            "{}; if a gateway in between is at fault, `token-rotator token --session {name} --refresh` \
             tries again",
            sign_in(name)
        )),
        RefreshError::ContentRefused { .. } => failed.hint(format!(
            "the session keeps the newest refresh token; correct its settings (`token_type`, `fields`), or \
             ask once more with `token-rotator token --session {name} --refresh`"
        )),
        RefreshError::OlderRecord => failed.hint(format!(
            "was the store restored from a backup? `token-rotator token --session {name} --refresh` uses \
             the refresh token all the same; a sign-in replaces it"
        )),
        RefreshError::InDoubt { .. } => failed.hint(format!(
            "`token-rotator status --session {name}` shows its state; it is tried again when the access \
             token has expired, or now with `token-rotator token --session {name} --refresh`"
        )),
        RefreshError::Lease(LeaseError::Busy { .. }) => failed.hint(format!(
            "`token-rotator status --session {name}` shows which process it is; continue it or end it \
             if it is stopped"
        )),
        RefreshError::Lease(LeaseError::Lost) => {
            failed.hint("run the command again; another process may have refreshed meanwhile")
        }
        RefreshError::Lease(_) => failed.or_hint(CHECK_STORE),
        RefreshError::Store(error) => store_hint(failed, error),
        RefreshError::SessionChanged => {
            failed.hint("run the command again; it uses the session's new sign-in")
        }
        RefreshError::Unusable { .. } => failed.hint(
            "report this to the issuer's operator; the session keeps its refresh token for the next try",
        ),
        RefreshError::Panicked { sent: false, .. } | RefreshError::Abandoned { sent: false, .. } => {
            failed.hint(REPORT)
        }
        _ => match error.kind() {
            FailureKind::Terminal => failed.hint(sign_in(name)),
            FailureKind::Misconfigured if source_hint(error).is_some() => failed.hint_of(source_hint(error)),
            FailureKind::Misconfigured => failed.or_hint(format!(
                "check the session's client id, secret, scope and addresses; \
                 `token-rotator doctor --session {name}` checks them"
            )),
            FailureKind::Transient if is_without_reason(error) => failed.hint(format!(
                "{}: `token-rotator login --session {name}`",
                error.hint().unwrap_or("signing in again may help")
            )),
            FailureKind::Transient if error.retry_after().is_some() => failed.hint(format!(
                "the issuer asks to wait: retry after {}",
                wait_of(error.retry_after().unwrap_or_default())
            )),
            FailureKind::NotSent | FailureKind::Transient => {
                failed.or_hint(format!(
                    "the issuer cannot be reached or is busy; try again in a moment, or run \
                     `token-rotator doctor --session {name}`"
                ))
            }
            _ => failed.hint(format!(
                "the answer was lost; `token-rotator status --session {name}` shows the session's state"
            )),
        },
    }
}

fn source_hint(error: &RefreshError) -> Option<&'static str> {
    match error {
        RefreshError::Source(error) => setting_hint(error),
        _ => None,
    }
}

fn is_without_reason(error: &RefreshError) -> bool {
    match error {
        RefreshError::Source(error) => error.refused_without_reason().is_some(),
        _ => false,
    }
}

/// Returns a wait as text, in whole seconds that are not too few.
fn wait_of(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    format!("{seconds} s")
}

/// The hint to sign in to this session.
pub(crate) fn sign_in(name: &SessionName) -> String {
    format!("sign in with `token-rotator login --session {name}`")
}

/// Returns the error of a store, for this failed action.
pub(crate) fn store_failed(what: impl Into<String>, error: &StoreError) -> CommandError {
    store_hint(CommandError::new(what).because(error), error)
}

fn store_hint(failed: CommandError, error: &StoreError) -> CommandError {
    let failed = failed.hint_of(error.hint());
    match error.kind() {
        StoreErrorKind::Unavailable => failed.code(EXIT_TRY_LATER).or_hint(CHECK_STORE),
        StoreErrorKind::Panicked => failed.or_hint(REPORT),
        StoreErrorKind::Newer => failed.or_hint("use the newer version of this program"),
        StoreErrorKind::Corrupt => failed.or_hint(
            "nothing was changed; restore the record from a backup, or remove it and sign in again",
        ),
        _ => failed.or_hint(CHECK_STORE),
    }
}

/// Completes the error of a failed login: the exit code by the kind of the failure, and the hints that
/// name a flag or a key.
pub(crate) fn source_failed(failed: CommandError, error: &SourceError) -> CommandError {
    let failed = match setting_hint(error) {
        Some(hint) => failed.hint(hint),
        None => failed,
    };
    match error.kind() {
        FailureKind::NotSent | FailureKind::Transient | FailureKind::Uncertain => {
            failed.code(EXIT_TRY_LATER)
        }
        _ => failed,
    }
}

/// Returns the hint for a failure that a setting resolves.
fn setting_hint(error: &SourceError) -> Option<&'static str> {
    match (error.kind(), error.code()) {
        (FailureKind::Misconfigured, Some("invalid_client" | "incorrect_client_credentials")) => {
            Some(
                "check the client id, the client's secret and how the client authenticates \
             (`--client-auth basic`, `post` or `none`)",
            )
        }
        _ => None,
    }
}

/// Returns the error for tokens that no session can hold.
pub(crate) fn unusable_tokens(error: &UnusableTokens) -> CommandError {
    CommandError::new("the issuer's tokens cannot be used")
        .because(error)
        .hint("report this to the issuer's operator; the session has not changed")
}

/// Returns the exit code for scripts: [`EXIT_SIGN_IN`], [`EXIT_TRY_LATER`] or 1.
pub(crate) fn exit_code(error: &TokenError) -> u8 {
    match error {
        TokenError::SignedOut => EXIT_SIGN_IN,
        TokenError::WaitTimedOut { .. } | TokenError::Overdue => EXIT_TRY_LATER,
        TokenError::Refresh(RefreshError::Store(error))
            if error.kind() != StoreErrorKind::Unavailable =>
        {
            1
        }
        TokenError::Refresh(error) if error.needs_sign_in() => EXIT_SIGN_IN,
        TokenError::Refresh(error) => match error.kind() {
            FailureKind::NotSent | FailureKind::Transient | FailureKind::Uncertain => {
                EXIT_TRY_LATER
            }
            _ => 1,
        },
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
