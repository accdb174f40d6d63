//! What the hot path costs in allocations: nothing. A binary of its own, for it counts them all.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use token_rotator::middleware::Exchange;
use token_rotator::{NotReplayed, Rotator, SessionKey, SourceError, TokenSet};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a token that is good is served without waiting"),
    }
}

/// A thousand times a good token, its header cloned each time: not one allocation, on the async
/// path, on the ones that never wait, and for one session among many.
#[test]
fn a_good_token_costs_no_allocation() {
    let source = |_last: Option<Arc<TokenSet>>| async {
        Err::<TokenSet, _>(SourceError::not_sent("nobody asks for it"))
    };
    let rotator = Rotator::builder(source).build().expect("a rotator");
    let tokens = TokenSet::bearer("fresh").expires_in(Duration::from_secs(3_600));
    rotator.sign_in(tokens).expect("usable tokens");
    let many = Rotator::builder(source)
        .build_many(|user: &u32| SessionKey::new(format!("user-{user}")))
        .expect("rotators");
    for user in 0..100 {
        let tokens = TokenSet::bearer("fresh").expires_in(Duration::from_secs(3_600));
        many.sign_in(&user, tokens).expect("usable tokens");
    }
    // What threads set up on first use is not the hot path's.
    now(rotator.token()).expect("a token");

    let _profiler = dhat::Profiler::builder().testing().build();
    let once = Err(NotReplayed::BodyOnce);
    let mut fewest = u64::MAX;
    // The test harness has a thread of its own, which allocates when it likes; what the hot path
    // allocates shows in every round.
    for _ in 0..10 {
        let before = dhat::HeapStats::get().total_blocks;
        for _ in 0..1_000 {
            let token = now(rotator.token()).expect("a token");
            let header = token.header().clone();
            assert!(header.is_sensitive());
            assert!(now(Exchange::begin(&rotator, Ok(()))).is_ok());
            assert!(now(Exchange::begin(&rotator, once)).is_ok());
            assert!(Exchange::ready(&rotator, Ok(())).is_some());
        }
        for user in 0..1_000 {
            let token = now(many.token(&(user % 100))).expect("a token");
            assert!(token.header().clone().is_sensitive());
        }
        fewest = fewest.min(dhat::HeapStats::get().total_blocks - before);
    }
    assert_eq!(fewest, 0);

    // The counter counts.
    let before = dhat::HeapStats::get().total_blocks;
    drop(std::hint::black_box(Box::new(1_u8)));
    assert!(dhat::HeapStats::get().total_blocks > before);
}
