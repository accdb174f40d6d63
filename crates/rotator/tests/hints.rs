//! Every error has the hint for its own cause, and no advice in its message.

use std::time::Duration;

use token_rotator::store::{LeaseError, StoreError, StoreErrorKind};
use token_rotator::{BuildError, Origin, OriginError, RefreshError, SourceError, TokenError};

/// Asserts that the hint contains `expected`, or that there is no hint if `expected` is `None`. The
/// message must not repeat the hint.
fn assert_hint(message: &str, hint: Option<&str>, expected: Option<&str>) {
    assert_eq!(hint.is_some(), expected.is_some(), "{message}: {hint:?}");
    let (hint, expected) = (hint.unwrap_or_default(), expected.unwrap_or_default());
    assert!(hint.contains(expected), "{message}: {hint}");
    assert!(!message.contains(';'), "{message}");
    assert!(hint.is_empty() || !message.contains(hint), "{message}");
}

#[test]
fn refreshes() {
    let store = StoreError::new(StoreErrorKind::Refused, "the disk is full");
    let store = store.with_hint("make room");
    for (error, expected) in [
        (
            RefreshError::Source(SourceError::transient("no").with_hint("wait")),
            Some("wait"),
        ),
        (RefreshError::Source(SourceError::uncertain("lost")), None),
        (RefreshError::Store(store.clone()), Some("make room")),
        (RefreshError::Lease(store.into()), Some("make room")),
        (RefreshError::Lease(LeaseError::Lost), None),
        (RefreshError::Refused, Some("sign in")),
        (RefreshError::NotSignedIn, Some("sign in")),
        (RefreshError::SessionChanged, None),
        (
            RefreshError::TimedOut {
                after: Duration::from_secs(1),
            },
            Some("in a task that it spawned"),
        ),
    ] {
        // A message of two clauses says what happened, not what to do.
        let message = error.to_string().replace("; it is kept", ", it is kept");
        assert_hint(&message, error.hint(), expected);
        let token = TokenError::Refresh(error);
        assert_hint(&message, token.hint(), expected);
    }
}

#[test]
fn tokens() {
    for (error, expected) in [
        (TokenError::SignedOut, Some("sign in")),
        (TokenError::FreshTokenRefused, Some("audience")),
        (TokenError::NoRuntime, Some("`dedicated_thread`")),
        (TokenError::Reentrant, Some("without this rotator")),
        (TokenError::SessionChanged, None),
        (TokenError::ShutDown, None),
    ] {
        assert_hint(&error.to_string(), error.hint(), expected);
    }
}

#[test]
fn origins() {
    for (text, expected) in [
        ("", "give an origin"),
        (" https://a.example", "remove the blank"),
        ("a.example", "before the host"),
        ("ftp://a.example", "goes to `https://`"),
        ("https://", "after the scheme"),
        ("https://me@a.example", "remove the user name"),
        ("https://b\u{fc}cher.example", "punycode"),
        ("https://a..example", "names are letters"),
        ("https://a.example:0", "correct the port"),
        ("https://a.example/v1", "scheme, host and port alone"),
        ("http://a.example", "use `https://`"),
    ] {
        let error: OriginError = text.parse::<Origin>().expect_err(text);
        assert_hint(&error.to_string(), error.hint(), Some(expected));
        let error = BuildError::Origin(error);
        assert_hint(&error.to_string(), error.hint(), Some(expected));
    }
}

#[test]
fn builders() {
    let thread = BuildError::Thread("no more threads".into());
    for (error, expected) in [
        (BuildError::NoOrigin, "call `origin`"),
        (thread, "`ulimit -u`"),
    ] {
        assert_hint(&error.to_string(), error.hint(), Some(expected));
    }
}
