//! What the four programs have in common.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

/// Whether cargo asks for measurements. It says so with `--bench`; without it the program was
/// started as a test, to be listed or to be run quickly, and there is nothing to test.
pub fn is_asked_to_measure() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Whether every bar has to be tried, as a release demands: without valgrind nothing is said to be
/// fine, and the time of the storm counts. `cargo xtask soak` says so with `--every-bar`.
pub fn has_to_try_every_bar() -> bool {
    std::env::args().any(|argument| argument == "--every-bar")
}

/// A bar, and whether it is met.
pub struct Bar {
    /// What has to be.
    pub claim: String,
    /// Whether it is.
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

/// A runtime on the thread that blocks on it.
///
/// # Panics
///
/// If the system has none to give.
pub fn current_thread() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

/// A runtime on so many threads.
///
/// # Panics
///
/// If the system has none to give.
pub fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .expect("a runtime")
}
