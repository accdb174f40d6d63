//! Measures the hot path and the storm. `cargo bench -p token-rotator-benches` runs all programs;
//! `benches/README.md` holds their output.
//!
//! `instructions` (counted by callgrind) and `allocations` repeat exactly, and they fail if a bar
//! is missed. `contention` and `storm` take time, so compare ratios within one run only. `storm`
//! fails if more than one refresh ran, and at its bar on time only where every bar is required: see
//! [`program::requires_every_bar`]. `sessions` and `stores` print tables without bars.

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

/// Returns the output of a future that is ready at the first poll.
///
/// # Panics
///
/// If the future is pending: then the measured code is not the hot path.
pub fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("this is not the hot path: the future waits"),
    }
}
