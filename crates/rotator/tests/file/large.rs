//! Tests tokens that are too long for a record.

use std::sync::{Arc, Mutex, PoisonError};

use token_rotator::store::{Record, SessionStore as _, StoreErrorKind};
use token_rotator::{Event, ExposeSecret as _, Rotator, SourceError, TokenSet};

use super::{StoreDirectory, session};

/// An access token whose record exceeds 1 MiB is served from memory. The event names the cause. The
/// next flight presents the refresh token that came with the long token, and its result is saved.
#[tokio::test]
async fn a_token_too_long_to_be_stored_is_served_from_memory() {
    let long = "l".repeat(1024 * 1024);
    let issuer = {
        let long = long.clone();
        move |last: Option<Arc<TokenSet>>| {
            let spent = last.and_then(|last| {
                let token = last.refresh_token()?.expose_secret().to_owned();
                Some(token)
            });
            std::future::ready(match spent.as_deref() {
                Some("refresh-1") => {
                    Ok(TokenSet::bearer(long.as_str()).with_refresh_token("refresh-2"))
                }
                Some("refresh-2") => Ok(TokenSet::bearer("short").with_refresh_token("refresh-3")),
                token => Err(SourceError::terminal(format!("reuse of {token:?}"))),
            })
        }
    };
    let failures = Arc::new(Mutex::new(Vec::new()));
    let failure_log = Arc::clone(&failures);
    let directory = StoreDirectory::empty();
    let rotator = Rotator::builder(issuer)
        .session(session())
        .store(directory.open())
        .on_event(move |event| {
            if let Event::SaveFailed { error, .. } = event {
                let mut failure_log = failure_log.lock().unwrap_or_else(PoisonError::into_inner);
                failure_log.push(error.clone());
            }
        })
        .build()
        .expect("a rotator");
    let login = TokenSet::bearer("login").with_refresh_token("refresh-1");
    let stored = rotator.sign_in(login).expect("usable tokens");
    stored.await.expect("stored");

    rotator.refresh_now().await.expect("served from memory");
    let served = rotator.token().await.expect("still served from memory");
    assert!(served.header().as_bytes().ends_with(long.as_bytes()));
    {
        let failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        let first = failures.first().expect("an event");
        assert_eq!(first.kind(), StoreErrorKind::TooLarge);
        assert!(first.hint().is_some_and(|hint| hint.contains("tokens")));
    }
    let stored_tokens = directory.open().load(&session()).await.expect("readable");
    let stored_tokens = stored_tokens.and_then(Record::into_tokens).expect("tokens");
    assert_eq!(stored_tokens.access_token().expose_secret(), "login");

    rotator.refresh_now().await.expect("no reuse");
    let stored_tokens = directory.open().load(&session()).await.expect("readable");
    let stored_tokens = stored_tokens.and_then(Record::into_tokens).expect("tokens");
    assert_eq!(stored_tokens.access_token().expose_secret(), "short");
    let stored_tokens = stored_tokens.refresh_token().expect("a refresh token");
    assert_eq!(stored_tokens.expose_secret(), "refresh-3");
}
