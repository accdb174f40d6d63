//! Two tasks that begin at the same moment, both of them running.
//!
//! A barrier would not do: on a busy machine one of them is often let go while the other waits for
//! a processor, and what was to be measured, two threads in each other's way, does not take place.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the ball is: with the first task, with the second, or out of the game.
pub(crate) const HERE: usize = 0;
const THERE: usize = 1;
const GO: usize = 2;

/// They have to play the ball back and forth so many times, each time this fast: no scheduler is.
const PASSES: usize = 50;
const PASS: Duration = Duration::from_micros(5);

/// After this they begin however they are; it may be that there is one processor.
const PATIENCE: Duration = Duration::from_millis(20);

/// One task's part in the game.
pub(crate) enum Start {
    Alone,
    First(Arc<AtomicUsize>),
    Second(Arc<AtomicUsize>),
}

impl Start {
    /// Of the task at this place among one or two.
    pub(crate) fn new(ball: &Arc<AtomicUsize>, place: usize, tasks: usize) -> Self {
        match (tasks, place) {
            (1, _) => Self::Alone,
            (_, 0) => Self::First(Arc::clone(ball)),
            _ => Self::Second(Arc::clone(ball)),
        }
    }

    /// Returns in both tasks at once. Blocks: each has a thread to itself.
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
