//! Allocations, counted by dhat. The measuring program has `dhat::Alloc` as its allocator.

use crate::cases::Case;

/// The calls before the count begins. They make the allocations that happen once.
const WARM_UP: u64 = 100;
const CALLS: u64 = 1_000;
const ROUNDS: usize = 3;

/// Returns the allocations and reallocations of one call: the least of a few rounds. dhat counts
/// the whole process, and the allocations of the call appear in every round.
///
/// Run one count at a time.
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

/// The indices of the rotator's cases in [`cases::hot_path`](crate::cases::hot_path). They may not
/// allocate.
pub const ROTATOR_CASES: std::ops::RangeInclusive<usize> = 1..=2;

/// The allocations that the layer may add to those of the bare inner service.
pub const LAYER_EXTRA: f64 = 2.0;
