//! The parts that the programs share.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

/// Returns true if cargo asks for measurements, which it does with `--bench`. Without `--bench`,
/// cargo lists or runs tests, and the programs have none.
pub fn is_asked_to_measure() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Returns true if every bar has to be tried: a missing valgrind is a failure, and the bar on the
/// time of the storm counts. `cargo xtask soak` passes `--every-bar` for that.
pub fn requires_every_bar() -> bool {
    std::env::args().any(|argument| argument == "--every-bar")
}

/// A bar and its result.
pub struct Bar {
    /// The description of the bar.
    pub claim: String,
    /// True if the bar is met.
    pub met: bool,
}

/// Prints the bars, and fails if one is missed.
pub fn conclude(bars: &[Bar]) -> ExitCode {
    for bar in bars {
        println!(
            "- {}: {}",
            if bar.met { "met" } else { "MISSED" },
            bar.claim
        );
    }
    println!();
    if bars.iter().all(|bar| bar.met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Starts a current-thread runtime.
///
/// # Panics
///
/// If the system cannot start a runtime.
pub fn current_thread() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

/// Starts a runtime with this number of worker threads.
///
/// # Panics
///
/// If the system cannot start a runtime.
pub fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .expect("a runtime")
}
