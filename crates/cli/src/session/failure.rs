//! Failures of a session, in words for the person who typed the command.

use token_rotator::{
    FailureKind, LeaseError, RefreshError, StoreError, StoreErrorKind, TokenError, UnusableTokens,
};

use crate::command_error::CommandError;
use crate::config::SessionName;

/// Somebody has to sign in.
pub(crate) const SIGN_IN: u8 = 3;
/// Not now: trying again later may help.
pub(crate) const LATER: u8 = 4;

const STORE: &str = "the store is to be a server that runs, or a directory that is yours to write, \
                     with room on its disk; `--store` names another";

const REPORT: &str = "run the command again; it is worth a report if that does not help";

/// There is no token to be had, and what to do.
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
        TokenError::SessionChanged => failed.hint("run the command again, for whoever it is now"),
        _ => failed.hint(REPORT),
    }
}

fn refresh_failed(failed: CommandError, name: &SessionName, error: &RefreshError) -> CommandError {
    match error {
        RefreshError::InDoubt { .. } => failed.hint(format!(
            "`token-rotator status --session {name}` says what is known; it is tried again when \
             nothing else is left, or now with `token-rotator token --session {name} --refresh`"
        )),
        RefreshError::Lease(LeaseError::Busy { .. }) => failed.hint(format!(
            "`token-rotator status --session {name}` says which process it is; continue it or end it \
             if it is stopped"
        )),
        RefreshError::Lease(LeaseError::Lost) => {
            failed.hint("run the command again; another process may have refreshed meanwhile")
        }
        RefreshError::Lease(_) => failed.or_hint(STORE),
        RefreshError::Store(error) => store_hint(failed, error),
        RefreshError::SessionChanged => failed.hint("run the command again, for whoever it is now"),
        RefreshError::Unusable { .. } => failed.hint(
            "tell the operator of the issuer; the session's refresh token is kept for the next try",
        ),
        RefreshError::Panicked { sent: false, .. } | RefreshError::Abandoned { sent: false, .. } => {
            failed.hint(REPORT)
        }
        _ => match error.kind() {
            FailureKind::Terminal => failed.hint(sign_in(name)),
            FailureKind::Misconfigured => failed.or_hint(format!(
                "check the session's client id, secret, scope and addresses; \
                 `token-rotator doctor --session {name}` looks at them"
            )),
            FailureKind::NotSent | FailureKind::Transient => {
                failed.or_hint(format!(
                    "the issuer cannot be reached or is busy; try again in a moment, or let \
                     `token-rotator doctor --session {name}` look at it"
                ))
            }
            _ => failed.hint(format!(
                "the answer was lost; `token-rotator status --session {name}` says what is known"
            )),
        },
    }
}

/// The hint to sign in to this session.
pub(crate) fn sign_in(name: &SessionName) -> String {
    format!("sign in with `token-rotator login --session {name}`")
}

/// The store failed, and what to do.
pub(crate) fn store_failed(what: impl Into<String>, error: &StoreError) -> CommandError {
    store_hint(CommandError::new(what).because(error), error)
}

fn store_hint(failed: CommandError, error: &StoreError) -> CommandError {
    let failed = failed.hint_of(error.hint());
    match error.kind() {
        StoreErrorKind::Unavailable => failed.code(LATER).or_hint(STORE),
        StoreErrorKind::Panicked => failed.or_hint(REPORT),
        StoreErrorKind::Newer => failed.or_hint("use the newer version of this program"),
        StoreErrorKind::Corrupt => failed.or_hint(
            "nothing was changed; restore the record from a backup, or remove it and sign in again",
        ),
        _ => failed.or_hint(STORE),
    }
}

/// The issuer's answer is no session.
pub(crate) fn unusable_tokens(error: &UnusableTokens) -> CommandError {
    CommandError::new("what the issuer gave cannot be used")
        .because(error)
        .hint("tell the operator of the issuer; the session is as it was before")
}

/// What a script may go by.
pub(crate) fn exit_code(error: &TokenError) -> u8 {
    match error {
        TokenError::SignedOut => SIGN_IN,
        TokenError::WaitTimedOut { .. } | TokenError::Overdue => LATER,
        TokenError::Refresh(RefreshError::Store(error))
            if error.kind() != StoreErrorKind::Unavailable =>
        {
            1
        }
        TokenError::Refresh(error) => match error.kind() {
            FailureKind::Terminal => SIGN_IN,
            FailureKind::NotSent | FailureKind::Transient | FailureKind::Uncertain => LATER,
            _ => 1,
        },
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
