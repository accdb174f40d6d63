//! Errors of the keyring as store errors, without the secrets that an entry holds.

use keyring_core::Error;
use token_rotator::store::{StoreError, StoreErrorKind};

/// The hints that depend on the operating system.
#[derive(Clone, Copy)]
pub(crate) struct Hints {
    /// For a keyring that denies access.
    pub(crate) locked: &'static str,
    /// For a keyring that cannot be reached or used.
    pub(crate) unreachable: &'static str,
}

/// Converts an error about the entry `name`.
///
/// The keyring's error does not become the cause. Some of its variants hold the entry's secret, which `Debug`
/// would show.
pub(crate) fn store_error(name: &str, hints: Hints, error: &Error) -> StoreError {
    match error {
        Error::NoStorageAccess(cause) => {
            unavailable(&format!("denies access: {cause}")).with_hint(hints.locked)
        }
        Error::PlatformFailure(cause) => {
            unavailable(&format!("cannot be reached: {cause}")).with_hint(hints.unreachable)
        }
        Error::NotSupportedByStore(what) => {
            unavailable(&format!("cannot be used: {what}")).with_hint(hints.unreachable)
        }
        Error::NoDefaultStore => {
            unavailable("cannot be used: this system has none").with_hint(hints.unreachable)
        }
        Error::BadEncoding(_) | Error::BadDataFormat(..) | Error::BadStoreFormat(_) => {
            StoreError::new(
                StoreErrorKind::Corrupt,
                format!("the keyring's entry `{name}` cannot be read; it was left as it is"),
            )
            .with_hint("restore the entry, or choose another entry with `name`")
        }
        Error::Ambiguous(entries) => refused(
            name,
            &format!(
                "the keyring has {} entries of this name, perhaps with different keys",
                entries.len()
            ),
        )
        .with_hint("keep the entry whose key opens the sessions, and remove the other entries"),
        Error::TooLong(what, limit) => refused(name, &format!("its {what} is longer than {limit}"))
            .with_hint("choose another entry with `name`"),
        Error::Invalid(what, why) => refused(name, &format!("its {what} {why}"))
            .with_hint("choose another entry with `name`"),
        // A search for an entry handles `NoEntry` itself. Elsewhere the entry existed a moment ago.
        Error::NoEntry => {
            refused(name, "another process has just removed it").with_hint("try again")
        }
        _ => unavailable("failed for an unknown reason"),
    }
}

/// A refused operation on the entry `name`. `what` completes the message.
pub(crate) fn refused(name: &str, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("the keyring's entry `{name}`: {what}"),
    )
}

/// A keyring that cannot be used. `what` completes the message.
pub(crate) fn unavailable(what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        format!("the system's keyring {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: each keyring error has the hint for its cause.
    #[test]
    fn each_keyring_error_has_its_hint() {
        let hints = Hints {
            locked: "unlock it",
            unreachable: "start it",
        };
        let system = || Box::new(std::io::Error::other("no"));
        for (error, hint) in [
            (Error::NoStorageAccess(system()), "unlock it"),
            (Error::PlatformFailure(system()), "start it"),
            (Error::NotSupportedByStore("no".to_owned()), "start it"),
            (Error::NoDefaultStore, "start it"),
            (Error::BadEncoding(Vec::new()), "restore the entry"),
            (
                Error::TooLong("name".to_owned(), 1),
                "another entry with `name`",
            ),
            (
                Error::Invalid("name".to_owned(), "is empty".to_owned()),
                "another entry with `name`",
            ),
            (Error::Ambiguous(Vec::new()), "remove the other entries"),
            (Error::NoEntry, "try again"),
        ] {
            let error = store_error("key", hints, &error);
            let found = error.hint().expect("a hint");
            assert!(found.contains(hint), "{error}: {found}");
        }
    }
}
