//! What happened to whom, put in order afterwards: was a last presentation ever made while the one
//! ran who could still have saved the answer?

use std::collections::{HashMap, HashSet};

use crate::said::now;

/// Writes down what happened, with the moment by the clock that all processes share.
#[derive(Default)]
pub(crate) struct Witness(Vec<(u64, usize, Fact)>);

enum Fact {
    /// It wrote an intent that is open: it is at work on it.
    AtWork(String),
    /// It wrote that no answer will come, or that it needs none.
    Through(String),
    LastResort,
    Stopped,
    WentOn,
    Killed,
}

impl Witness {
    pub(crate) fn intent(&mut self, at: u64, worker: usize, id: String, outcome: &str) {
        let fact = if outcome == "Open" {
            Fact::AtWork(id)
        } else {
            Fact::Through(id)
        };
        self.0.push((at, worker, fact));
    }

    pub(crate) fn last_resort(&mut self, at: u64, worker: usize) {
        self.0.push((at, worker, Fact::LastResort));
    }

    pub(crate) fn stopped(&mut self, worker: usize) {
        self.0.push((now(), worker, Fact::Stopped));
    }

    pub(crate) fn went_on(&mut self, worker: usize) {
        self.0.push((now(), worker, Fact::WentOn));
    }

    pub(crate) fn killed(&mut self, worker: usize) {
        self.0.push((now(), worker, Fact::Killed));
    }

    /// Every last presentation that should not have been, in words.
    pub(crate) fn judge(mut self) -> Vec<String> {
        self.0.sort_by_key(|(at, ..)| *at);
        let mut wrong = Vec::new();
        // Who is at work on an intent; whom each worker has taken one from; who was ever stopped.
        let mut at_work: HashMap<String, usize> = HashMap::new();
        let mut taken_from: HashMap<usize, Option<usize>> = HashMap::new();
        let (mut gone, mut paused) = (HashSet::new(), HashSet::new());
        for (_, worker, fact) in self.0 {
            match fact {
                Fact::AtWork(id) => {
                    let before = at_work.insert(id, worker);
                    taken_from.insert(worker, before.filter(|before| *before != worker));
                }
                Fact::Through(id) => {
                    if at_work.get(&id) == Some(&worker) {
                        at_work.remove(&id);
                    }
                }
                Fact::Stopped | Fact::WentOn => {
                    // Past its lease, perhaps, even if it goes on: from then on it is on its own.
                    paused.insert(worker);
                }
                Fact::Killed => {
                    gone.insert(worker);
                }
                Fact::LastResort => match taken_from.get(&worker) {
                    None => wrong.push(format!("worker {worker} presented without an intent")),
                    Some(Some(owner)) if !gone.contains(owner) && !paused.contains(owner) => {
                        wrong.push(format!(
                            "worker {worker} presented a refresh token that worker {owner} was at \
                             work on, unstopped"
                        ));
                    }
                    Some(_) => {}
                },
            }
        }
        wrong
    }
}
