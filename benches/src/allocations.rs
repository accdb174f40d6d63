//! Allocations, counted by dhat: the program that measures has `dhat::Alloc` as its allocator.

use crate::cases::Case;

/// How many calls are made before anything is counted: what is made once is made here.
const WARM_UP: u64 = 100;
const CALLS: u64 = 1_000;
const ROUNDS: usize = 3;

/// Allocations and reallocations a call makes: the fewest of a few rounds, for the count is that of
/// the whole process, and what a call allocates shows in every round.
///
/// Only one count at a time.
pub fn per_call(case: &Case) -> f64 {
    case.run(WARM_UP);
    let _profiler = dhat::Profiler::builder().testing().build();
    let blocks = || dhat::HeapStats::get().total_blocks;
    let round = |_| {
        let before = blocks();
        case.run(CALLS);
        blocks() - before
    };
    let fewest = (0..ROUNDS).map(round).min().unwrap_or(u64::MAX);
    fewest as f64 / CALLS as f64
}

/// Where the rotator's calls stand in [`cases::hot_path`](crate::cases::hot_path): these may not
/// allocate.
pub const ROTATOR_CALLS: std::ops::RangeInclusive<usize> = 1..=2;

/// How many allocations the layer may add to what the bare inner service makes of a request.
pub const LAYER_EXTRA: f64 = 2.0;
