//! What is said of each failure that a session can have: most take more to bring about than a test has.

use std::time::Duration;

use insta::assert_snapshot;
use token_rotator::{SessionKey, SourceError, TokenSet};

use super::*;

fn name() -> SessionName {
    "work".parse().expect("a name")
}

/// All that is said, one after another.
fn text(errors: impl IntoIterator<Item = CommandError>) -> String {
    let texts: Vec<_> = errors.into_iter().map(|error| error.text()).collect();
    texts.join("\n")
}

fn store_error(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, format!("it is {kind:?}"))
}

#[test]
fn a_refresh_that_failed() {
    let after = Duration::from_secs(15);
    let source = |kind| RefreshError::Source(SourceError::new(kind, format!("it is {kind:?}")));
    let unavailable = LeaseError::Unavailable {
        message: "cannot open a file".into(),
        cause: None,
    };
    let errors = [
        source(FailureKind::NotSent),
        source(FailureKind::Transient),
        source(FailureKind::Uncertain),
        source(FailureKind::Terminal),
        source(FailureKind::Misconfigured),
        RefreshError::TimedOut { after },
        RefreshError::Unusable {
            reason: "it is empty",
        },
        RefreshError::InDoubt { wait: None },
        RefreshError::SessionChanged,
        RefreshError::Refused,
        RefreshError::NotSignedIn,
        RefreshError::Lease(LeaseError::Busy { waited: after }),
        RefreshError::Lease(LeaseError::Lost),
        RefreshError::Lease(unavailable),
        RefreshError::Panicked {
            step: "ask the issuer",
            sent: true,
        },
        RefreshError::Abandoned {
            step: "read the session",
            sent: false,
        },
    ];
    let told = errors.map(|error| no_token(&name(), &error.into()));
    assert_snapshot!(text(told));
}

#[test]
fn no_token_without_a_refresh() {
    let errors = [
        TokenError::WaitTimedOut {
            after: Duration::from_secs(30),
        },
        TokenError::Overdue,
        TokenError::SignedOut,
        TokenError::SessionChanged,
        TokenError::FreshTokenRefused,
        TokenError::Reentrant,
        TokenError::NoRuntime,
        TokenError::ShutDown,
    ];
    let told = errors.map(|error| no_token(&name(), &error));
    assert_snapshot!(text(told));
}

#[test]
fn a_store_that_failed() {
    let kinds = [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Corrupt,
        StoreErrorKind::Newer,
        StoreErrorKind::Refused,
        StoreErrorKind::Panicked,
    ];
    let commands = [
        "the store cannot be read",
        "the store cannot keep the session",
        "the session could not be written down",
        "the session is not written down yet; it is tried again for a while",
    ];
    let told = kinds.map(|kind| store_failed(commands[0], &store_error(kind)));
    let more = commands.map(|what| store_failed(what, &store_error(StoreErrorKind::Refused)));
    let token = TokenError::Refresh(RefreshError::Store(store_error(StoreErrorKind::Newer)));
    let all = told.into_iter().chain(more);
    assert_snapshot!(text(all.chain([no_token(&name(), &token)])));
}

/// A token that no header can hold, as an issuer could answer.
#[tokio::test]
async fn an_answer_that_is_no_session() {
    let source = |_| async { Err::<TokenSet, _>(SourceError::transient("not asked")) };
    let rotator = token_rotator::Rotator::builder(source)
        .session(SessionKey::new("work"))
        .build()
        .expect("a rotator");
    let Err(error) = rotator.sign_in(TokenSet::bearer("two\nlines")) else {
        panic!("it was taken");
    };
    assert_snapshot!(unusable_tokens(&error).text());
}
