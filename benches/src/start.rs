//! Starts two tasks at the same moment, while both are running.
//!
//! A barrier does not suffice. On a busy machine, one task often runs while the other waits for a
//! processor. Then the threads do not contend, and contention is what the program measures.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The owner of the ball: the first task, the second task, or neither after the start.
pub(crate) const HERE: usize = 0;
const THERE: usize = 1;
const GO: usize = 2;

/// The tasks have to pass the ball back and forth this often, each time within this time. A
/// scheduler is slower, so both tasks are running.
const PASSES: usize = 50;
const PASS: Duration = Duration::from_micros(5);

/// After this time the tasks start anyway: the machine may have one processor.
const PATIENCE: Duration = Duration::from_millis(20);

/// The side of one task.
pub(crate) enum Start {
    Alone,
    First(Arc<AtomicUsize>),
    Second(Arc<AtomicUsize>),
}

impl Start {
    /// The side of the task at this index among one or two tasks.
    pub(crate) fn new(ball: &Arc<AtomicUsize>, index: usize, tasks: usize) -> Self {
        match (tasks, index) {
            (1, _) => Self::Alone,
            (_, 0) => Self::First(Arc::clone(ball)),
            _ => Self::Second(Arc::clone(ball)),
        }
    }

    /// Returns in both tasks at once. Blocks, so each task needs a thread to itself.
    pub(crate) fn together(&self) {
        match self {
            Self::Alone => {}
            Self::First(ball) => serve(ball),
            Self::Second(ball) => loop {
                match ball.load(Ordering::Acquire) {
                    GO => return,
                    THERE => ball.store(HERE, Ordering::Release),
                    _ => spin_loop(),
                }
            },
        }
    }
}

fn serve(ball: &AtomicUsize) {
    let begun = Instant::now();
    let mut quick = 0;
    while quick < PASSES && begun.elapsed() < PATIENCE {
        let served = Instant::now();
        ball.store(THERE, Ordering::Release);
        while ball.load(Ordering::Acquire) == THERE {
            spin_loop();
        }
        quick = if served.elapsed() < PASS {
            quick + 1
        } else {
            0
        };
    }
    ball.store(GO, Ordering::Release);
}
