//! Tests the cost of an idle session: no task, and little memory. A separate binary, because the
//! test counts every allocation.

use std::sync::Arc;
use std::time::Duration;

use token_rotator::{MemoryStore, Rotator, SessionKey, SourceError, TokenSet};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const SESSIONS: usize = 100_000;
/// Memory is measured with fewer sessions, because the profiler takes a backtrace of every
/// allocation.
const MEASURED: usize = 1_000;
const BYTES_MAX: usize = 3_600;

/// 100,000 sessions are signed in and stored: no task remains, and each session takes at most 3.6
/// kB, including its record in the store.
#[tokio::test]
async fn an_idle_session_has_no_task() {
    let source = |_last: Option<Arc<TokenSet>>| async {
        Err::<TokenSet, _>(SourceError::not_sent("no session needs a refresh"))
    };
    let users = Rotator::builder(source)
        .store(MemoryStore::new())
        .build_many(|user: &usize| SessionKey::new(format!("user-{user}")))
        .expect("rotators");
    let sign_in = async |user: usize| {
        let tokens = TokenSet::bearer(format!("access-token-of-user-{user}"))
            .with_refresh_token(format!("refresh-token-of-user-{user}"))
            .expires_in(Duration::from_secs(3_600));
        let stored = users.sign_in(&user, tokens).expect("usable tokens");
        stored.await.expect("stored");
    };
    for user in 0..SESSIONS {
        sign_in(user).await;
    }
    tokio::task::yield_now().await;
    assert_eq!(users.len(), SESSIONS);
    let tasks = tokio::runtime::Handle::current().metrics();
    assert_eq!(tasks.num_alive_tasks(), 0);

    let _profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get().curr_bytes;
    for user in SESSIONS..SESSIONS + MEASURED {
        sign_in(user).await;
    }
    tokio::task::yield_now().await;
    let each = (dhat::HeapStats::get().curr_bytes - before) / MEASURED;
    println!("{each} bytes for each session");
    assert!(each <= BYTES_MAX, "{each} bytes for each session");
}
