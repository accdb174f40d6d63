//! What the hot path and the storm cost, measured. `cargo bench -p token-rotator-benches` runs all
//! of it; `benches/README.md` holds what it printed.
//!
//! Four programs, a table or two each: `instructions` (counted by callgrind) and `allocations`
//! repeat exactly and fail when a bar is missed; `contention` and `storm` take time, so only
//! ratios within one run mean anything, and of the storm only the number of refreshes can fail,
//! unless every bar has to be tried: see [`program::has_to_try_every_bar`].

pub mod allocations;
pub mod callgrind;
pub mod cases;
pub mod inner;
pub mod issuer;
pub mod program;
pub mod requests;
mod start;
pub mod storm;
pub mod table;
pub mod threads;
pub mod ways;

/// The answer of a future that never waits.
///
/// # Panics
///
/// If it waits after all: then what was measured is not the hot path.
pub fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("this is not the hot path: the future waits"),
    }
}
