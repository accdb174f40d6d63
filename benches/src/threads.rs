//! The time of a call on one and two threads. The candidates run in short rounds in turn, so that other work on the
//! machine affects all of them. The result is the median of each candidate.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::start::{HERE, Start};

/// A candidate whose time is measured.
pub struct Candidate {
    /// The name in the tables.
    pub name: &'static str,
    measure: Measure,
    one: Vec<f64>,
    two: Vec<f64>,
}

/// Measures the nanoseconds of a call with this number of tasks on this runtime, which has a thread for each task.
type Measure = Box<dyn Fn(&Runtime, usize) -> f64>;

impl Candidate {
    /// `work` makes a task that makes this number of calls.
    ///
    /// # Panics
    ///
    /// During the measurement, if the task panics.
    pub fn new<F>(name: &'static str, repetitions: u64, work: impl Fn(u64) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            name,
            measure: Box::new(move |runtime, tasks| {
                let ball = Arc::new(AtomicUsize::new(HERE));
                let running: Vec<_> = (0..tasks)
                    .map(|place| Start::new(&ball, place, tasks))
                    .map(|start| runtime.spawn(timed(start, work(repetitions))))
                    .collect();
                let longest = running
                    .into_iter()
                    .map(|task| runtime.block_on(task).expect("a task that ends"))
                    .max();
                longest.unwrap_or_default().as_nanos() as f64 / repetitions as f64
            }),
            one: Vec::new(),
            two: Vec::new(),
        }
    }

    /// The medians on one and on two threads.
    pub fn medians(&self) -> (f64, f64) {
        (median(&self.one), median(&self.two))
    }
}

async fn timed(start: Start, work: impl Future<Output = ()>) -> Duration {
    start.together();
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

/// Measures all candidates in turn, for this number of rounds.
pub fn rounds(candidates: &mut [Candidate], rounds: usize) {
    let one = crate::program::multi_thread(1);
    let two = crate::program::multi_thread(2);
    for _ in 0..rounds {
        for candidate in &mut *candidates {
            candidate.one.push((candidate.measure)(&one, 1));
            candidate.two.push((candidate.measure)(&two, 2));
        }
    }
}

/// Returns the middle value, or zero for an empty list.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[9.0, 1.0, 5.0]).to_bits(), 5.0_f64.to_bits());
        assert_eq!(median(&[]).to_bits(), 0.0_f64.to_bits());
    }
}
