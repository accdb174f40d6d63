//! What a keyring answered instead of a key, in words without secrets.

use keyring_core::Error;
use token_rotator::store::{StoreError, StoreErrorKind};

/// What can be done about it, which depends on the system.
#[derive(Clone, Copy)]
pub(crate) struct Hints {
    /// Where it gives no access.
    pub(crate) locked: &'static str,
    /// Where it cannot be reached.
    pub(crate) gone: &'static str,
}

/// A failure of the entry with this name.
///
/// The error itself goes no further: some of its variants carry what the entry holds, and `Debug`
/// would show it.
pub(crate) fn failed(name: &str, hints: Hints, error: &Error) -> StoreError {
    match error {
        Error::NoStorageAccess(cause) => {
            unavailable(&format!("gives no access: {cause}")).with_hint(hints.locked)
        }
        Error::PlatformFailure(cause) => {
            unavailable(&format!("cannot be reached: {cause}")).with_hint(hints.gone)
        }
        Error::NotSupportedByStore(what) => unavailable(&format!("cannot be used: {what}")),
        Error::NoDefaultStore => unavailable("cannot be used: there is none"),
        Error::BadEncoding(_) | Error::BadDataFormat(..) | Error::BadStoreFormat(_) => {
            StoreError::new(
                StoreErrorKind::Corrupt,
                format!("the keyring's entry `{name}` cannot be read; it was left as it is"),
            )
        }
        Error::Ambiguous(entries) => refused(
            name,
            &format!(
                "it is there {} times, perhaps with several keys",
                entries.len()
            ),
        )
        .with_hint("keep the one that opens the sessions, and remove the others"),
        Error::TooLong(what, limit) => refused(name, &format!("its {what} is longer than {limit}"))
            .with_hint("choose another with `name`"),
        Error::Invalid(what, why) => refused(name, &format!("its {what} {why}")),
        // An entry that is missing is no failure where one is looked for; elsewhere it has just gone.
        Error::NoEntry => refused(name, "it has just been removed"),
        _ => unavailable("failed in a way that this program does not know"),
    }
}

pub(crate) fn refused(name: &str, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("the keyring's entry `{name}`: {what}"),
    )
}

pub(crate) fn unavailable(what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        format!("the system's keyring {what}"),
    )
}
