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
        Error::NotSupportedByStore(what) => {
            unavailable(&format!("cannot be used: {what}")).with_hint(hints.gone)
        }
        Error::NoDefaultStore => unavailable("cannot be used: there is none").with_hint(hints.gone),
        Error::BadEncoding(_) | Error::BadDataFormat(..) | Error::BadStoreFormat(_) => {
            StoreError::new(
                StoreErrorKind::Corrupt,
                format!("the keyring's entry `{name}` cannot be read; it was left as it is"),
            )
            .with_hint("bring the entry back as it was, or use another with `name`")
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
        Error::Invalid(what, why) => {
            refused(name, &format!("its {what} {why}")).with_hint("choose another with `name`")
        }
        // An entry that is missing is no failure where one is looked for; elsewhere it has just gone.
        Error::NoEntry => refused(name, "it has just been removed").with_hint("try again"),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: each answer of a keyring has the hint for its own cause.
    #[test]
    fn each_answer_has_its_hint() {
        let hints = Hints {
            locked: "unlock it",
            gone: "start it",
        };
        let system = || Box::new(std::io::Error::other("no"));
        for (error, hint) in [
            (Error::NoStorageAccess(system()), "unlock it"),
            (Error::PlatformFailure(system()), "start it"),
            (Error::NotSupportedByStore("no".to_owned()), "start it"),
            (Error::NoDefaultStore, "start it"),
            (Error::BadEncoding(Vec::new()), "bring the entry back"),
            (Error::TooLong("name".to_owned(), 1), "another with `name`"),
            (
                Error::Invalid("name".to_owned(), "is empty".to_owned()),
                "another with `name`",
            ),
            (Error::Ambiguous(Vec::new()), "remove the others"),
            (Error::NoEntry, "try again"),
        ] {
            let failed = failed("key", hints, &error);
            let found = failed.hint().expect("a hint");
            assert!(found.contains(hint), "{failed}: {found}");
        }
    }
}
