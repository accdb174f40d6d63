//! The text of every failure of a session. Most failures cannot be caused in a test of the program.

use std::time::{Duration, UNIX_EPOCH};

use insta::assert_snapshot;
use token_rotator::store::{SharedFailure, StoreTime};
use token_rotator::{RefusingEndpoint, SessionKey, SourceError, TokenSet};

use super::*;

fn name() -> SessionName {
    "work".parse().expect("a name")
}

/// Returns the printed texts, one after another.
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
    let errors = errors.map(|error| no_token(&name(), &error.into()));
    assert_snapshot!(text(errors), @"
    exit code 4
    error: there is no token for session `work`
      because the access token could not be refreshed: it is NotSent
    hint: the issuer cannot be reached or is busy; try again in a moment, or run `token-rotator doctor --session work`

    exit code 4
    error: there is no token for session `work`
      because the access token could not be refreshed: it is Transient
    hint: the issuer cannot be reached or is busy; try again in a moment, or run `token-rotator doctor --session work`

    exit code 4
    error: there is no token for session `work`
      because the access token could not be refreshed: it is Uncertain
    hint: the answer was lost; `token-rotator status --session work` shows the session's state

    exit code 3
    error: there is no token for session `work`
      because the access token could not be refreshed: it is Terminal
    hint: sign in with `token-rotator login --session work`

    exit code 1
    error: there is no token for session `work`
      because the access token could not be refreshed: it is Misconfigured
    hint: check the session's client id, secret, scope and addresses; `token-rotator doctor --session work` checks them

    exit code 4
    error: there is no token for session `work`
      because the issuer did not answer within 15s, and the refresh token may be spent
    hint: the answer was lost; `token-rotator status --session work` shows the session's state

    exit code 1
    error: there is no token for session `work`
      because the issuer's answer cannot be used: it is empty
    hint: report this to the issuer's operator; the session keeps its refresh token for the next try

    exit code 4
    error: there is no token for session `work`
      because an earlier refresh got no answer, and its refresh token may be spent; the refresh token is used again only as the last resort
    hint: `token-rotator status --session work` shows its state; it is tried again when the access token has expired, or now with `token-rotator token --session work --refresh`

    exit code 4
    error: there is no token for session `work`
      because the session changed before the refresh was sent
    hint: run the command again; it uses the session's new sign-in

    exit code 3
    error: there is no token for session `work`
      because the issuer has refused this session's refresh token before
    hint: sign in with `token-rotator login --session work`

    exit code 3
    error: there is no token for session `work`
      because the session is not signed in
    hint: sign in with `token-rotator login --session work`

    exit code 4
    error: there is no token for session `work`
      because the refresh got no lease: another process has held the refresh lease for 15s
    hint: `token-rotator status --session work` shows which process it is; continue it or end it if it is stopped

    exit code 4
    error: there is no token for session `work`
      because the refresh got no lease: the lease was lost
    hint: run the command again; another process may have refreshed meanwhile

    exit code 4
    error: there is no token for session `work`
      because the refresh got no lease: the coordinator cannot be reached: cannot open a file
    hint: check that the store is a server that runs, or a directory that you may write, with room on its disk; `--store` names another

    exit code 4
    error: there is no token for session `work`
      because the refresh panicked while it was to ask the issuer
    hint: the answer was lost; `token-rotator status --session work` shows the session's state

    exit code 4
    error: there is no token for session `work`
      because the runtime ended while the refresh was to read the session
    hint: run the command again; report the error if that does not help
    ");
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
    let errors = errors.map(|error| no_token(&name(), &error));
    assert_snapshot!(text(errors), @"
    exit code 4
    error: there is no token for session `work`
      because no token within 30s; the refresh goes on without this caller
    hint: the issuer is slow; try again in a moment

    exit code 4
    error: there is no token for session `work`
      because the refresh is overdue; the next refresh starts only after it ends
    hint: the issuer is slow; try again in a moment

    exit code 3
    error: there is no token for session `work`
      because the session is not signed in
    hint: sign in with `token-rotator login --session work`

    exit code 1
    error: there is no token for session `work`
      because the session changed while the request waited
    hint: run the command again; it uses the session's new sign-in

    exit code 1
    error: there is no token for session `work`
      because the token was refused although it is new
    hint: ask for another scope, resource or audience at the next login; another token of this kind would be refused as well

    exit code 1
    error: there is no token for session `work`
      because the token source asked its own rotator for a token
    hint: run the command again; report the error if that does not help

    exit code 1
    error: there is no token for session `work`
      because no tokio runtime to refresh on
    hint: run the command again; report the error if that does not help

    exit code 1
    error: there is no token for session `work`
      because the rotator was shut down
    hint: run the command again; report the error if that does not help
    ");
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
        "the session could not be saved",
        "the session is not saved yet; saving is tried again for a while",
    ];
    let errors = kinds.map(|kind| store_failed(commands[0], &store_error(kind)));
    let more = commands.map(|what| store_failed(what, &store_error(StoreErrorKind::Refused)));
    let token = TokenError::Refresh(RefreshError::Store(store_error(StoreErrorKind::Newer)));
    let all = errors.into_iter().chain(more);
    assert_snapshot!(text(all.chain([no_token(&name(), &token)])), @"
    exit code 4
    error: the store cannot be read
      because it is Unavailable
    hint: check that the store is a server that runs, or a directory that you may write, with room on its disk; `--store` names another

    exit code 1
    error: the store cannot be read
      because it is Corrupt
    hint: nothing was changed; restore the record from a backup, or remove it and sign in again

    exit code 1
    error: the store cannot be read
      because it is Newer
    hint: use the newer version of this program

    exit code 1
    error: the store cannot be read
      because it is Refused
    hint: check that the store is a server that runs, or a directory that you may write, with room on its disk; `--store` names another

    exit code 1
    error: the store cannot be read
      because it is Panicked
    hint: run the command again; report the error if that does not help

    exit code 1
    error: the store cannot be read
      because it is Refused
    hint: check that the store is a server that runs, or a directory that you may write, with room on its disk; `--store` names another

    exit code 1
    error: the store cannot keep the session
      because it is Refused
    hint: check that the store is a server that runs, or a directory that you may write, with room on its disk; `--store` names another

    exit code 1
    error: the session could not be saved
      because it is Refused
    hint: check that the store is a server that runs, or a directory that you may write, with room on its disk; `--store` names another

    exit code 1
    error: the session is not saved yet; saving is tried again for a while
      because it is Refused
    hint: check that the store is a server that runs, or a directory that you may write, with room on its disk; `--store` names another

    exit code 1
    error: there is no token for session `work`
      because the session could not be read from its store: it is Newer
    hint: use the newer version of this program
    ");
}

/// An issuer could answer with a token that no header can hold.
#[tokio::test]
async fn an_answer_with_an_unusable_token() {
    let source = |_| async { Err::<TokenSet, _>(SourceError::transient("not asked")) };
    let rotator = token_rotator::Rotator::builder(source)
        .session(SessionKey::new("work"))
        .build()
        .expect("a rotator");
    let Err(error) = rotator.sign_in(TokenSet::bearer("two\nlines")) else {
        panic!("the token was accepted");
    };
    assert_snapshot!(unusable_tokens(&error).text(), @"
    exit code 1
    error: the issuer's tokens cannot be used
      because these tokens cannot be used: its access token cannot stand in a header: it has a control character
    hint: report this to the issuer's operator; the session has not changed
    ");
}

#[test]
fn a_failure_in_the_record() {
    let shared = |kind, asked_by_issuer| {
        let mut failure =
            SharedFailure::new(kind, "it is busy", "db", StoreTime::by_wall(UNIX_EPOCH));
        failure.wait = Duration::from_secs(60);
        failure.asked_by_issuer = asked_by_issuer;
        RefreshError::Shared {
            failure: Box::new(failure),
            left: Duration::from_secs(42),
        }
    };
    let transient = SourceError::new(FailureKind::Transient, "HTTP 401 without an OAuth error");
    let busy = SourceError::new(FailureKind::Transient, "HTTP 503");
    let errors = [
        shared(FailureKind::Transient, false),
        shared(FailureKind::Transient, true),
        shared(FailureKind::Misconfigured, false),
        RefreshError::RefusedWithoutReason {
            message: "HTTP 401".into(),
            left: Duration::from_secs(300),
        },
        RefreshError::ContentRefused {
            message: "it has no access token".into(),
        },
        RefreshError::OlderRecord,
        RefreshError::Source(transient.with_no_reason(RefusingEndpoint::Token)),
        RefreshError::Source(busy.with_retry_after(Duration::from_secs(7))),
    ];
    let errors = errors.map(|error| no_token(&name(), &error.into()));
    assert_snapshot!(text(errors), @"
    exit code 4
    error: there is no token for session `work`
      because a refresh on host `db` failed a moment ago: it is busy
    hint: retry after 42 s; `token-rotator token --session work --refresh` tries now

    exit code 4
    error: there is no token for session `work`
      because a refresh on host `db` failed a moment ago: it is busy
    hint: retry after 42 s; the issuer asked for this wait

    exit code 1
    error: there is no token for session `work`
      because a refresh on host `db` failed a moment ago: it is busy
    hint: check the session's client id, secret, scope and addresses; retry after 42 s

    exit code 3
    error: there is no token for session `work`
      because the issuer refuses to refresh this session and gives no reason: HTTP 401
    hint: sign in with `token-rotator login --session work`; if a gateway in between is at fault, `token-rotator token --session work --refresh` tries again

    exit code 1
    error: there is no token for session `work`
      because the issuer's answer cannot be used: it has no access token
    hint: the session keeps the newest refresh token; correct its settings (`token_type`, `fields`), or ask once more with `token-rotator token --session work --refresh`

    exit code 4
    error: there is no token for session `work`
      because the store holds an older record of this session than this process has seen, and the refresh token may be spent; it is used again only as the last resort
    hint: was the store restored from a backup? `token-rotator token --session work --refresh` uses the refresh token all the same; a sign-in replaces it

    exit code 4
    error: there is no token for session `work`
      because the access token could not be refreshed: HTTP 401 without an OAuth error
    hint: signing in again may help: `token-rotator login --session work`

    exit code 4
    error: there is no token for session `work`
      because the access token could not be refreshed: HTTP 503
    hint: the issuer asks to wait: retry after 7 s
    ");
}
