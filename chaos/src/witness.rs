//! What happened to whom, put in order afterwards: was a last presentation ever made while the one
//! ran who could still have saved the answer?

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::said::now;

/// Writes down what happened, with the moment by the clock that all processes share.
#[derive(Default)]
pub(crate) struct Witness(Vec<(u64, usize, Fact)>);

#[derive(Debug)]
enum Fact {
    /// It writes an intent that is open, the token having been presented so often: it is at work
    /// on it.
    AtWork(String, u32),
    /// The intent was not written, for somebody else's was.
    Lost,
    /// It sends the request.
    Asking,
    /// It wrote that no answer will come, or that it needs none.
    Through(String),
    LastResort,
    /// What the issuer did, in words; of no worker.
    Issuer(#[expect(dead_code, reason = "read by `Debug`, in stories")] String),
    Stopped,
    WentOn,
    Killed,
}

impl Witness {
    pub(crate) fn intent(
        &mut self,
        at: u64,
        worker: usize,
        (id, attempts): (String, u32),
        outcome: &str,
    ) {
        let fact = if outcome == "Open" {
            Fact::AtWork(id, attempts)
        } else {
            Fact::Through(id)
        };
        self.0.push((at, worker, fact));
    }

    pub(crate) fn intent_lost(&mut self, at: u64, worker: usize) {
        self.0.push((at, worker, Fact::Lost));
    }

    pub(crate) fn asking(&mut self, at: u64, worker: usize) {
        self.0.push((at, worker, Fact::Asking));
    }

    pub(crate) fn last_resort(&mut self, at: u64, worker: usize) {
        self.0.push((at, worker, Fact::LastResort));
    }

    pub(crate) fn issuer(&mut self, did: String) {
        self.0.push((now(), 0, Fact::Issuer(did)));
    }

    /// What everybody did in the last seconds, a line each.
    pub(crate) fn latest(&mut self) -> String {
        self.0.sort_by_key(|(at, ..)| *at);
        self.story(now(), |_| true)
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
        self.forget_lost();
        let mut wrong = Vec::new();
        // Who is at work on an intent; whom each worker has taken one from; who was ever stopped.
        let mut at_work: HashMap<&str, (usize, u32)> = HashMap::new();
        let mut taken_from: HashMap<usize, Option<usize>> = HashMap::new();
        let (mut gone, mut paused) = (HashSet::new(), HashSet::new());
        for (at, worker, fact) in &self.0 {
            match fact {
                Fact::AtWork(id, attempts) => match at_work.get(id.as_str()) {
                    // It takes its own presentation back: the one before stands again, whose owner
                    // is not at work any more, or it would not have been taken over.
                    Some((owner, before)) if owner == worker && attempts < before => {
                        at_work.remove(id.as_str());
                    }
                    before => {
                        let owner = before.map(|(owner, _)| *owner);
                        taken_from.insert(*worker, owner.filter(|owner| owner != worker));
                        at_work.insert(id, (*worker, *attempts));
                    }
                },
                Fact::Through(id) => {
                    if at_work
                        .get(id.as_str())
                        .is_some_and(|(owner, _)| owner == worker)
                    {
                        at_work.remove(id.as_str());
                    }
                }
                Fact::Stopped | Fact::WentOn => {
                    // Past its lease, perhaps, even if it goes on: from then on it is on its own.
                    paused.insert(worker);
                }
                Fact::Killed => {
                    gone.insert(worker);
                }
                Fact::LastResort => match taken_from.get(worker) {
                    None => wrong.push(format!("worker {worker} presented without an intent")),
                    Some(Some(owner)) if !gone.contains(owner) && !paused.contains(owner) => {
                        wrong.push(format!(
                            "worker {worker} presented a refresh token that worker {owner} was at \
                             work on, unstopped:\n{}",
                            self.story(*at, |other| other == *worker || other == *owner)
                        ));
                    }
                    Some(_) => {}
                },
                Fact::Asking | Fact::Lost | Fact::Issuer(_) => {}
            }
        }
        wrong
    }

    /// An intent that was not written is none.
    fn forget_lost(&mut self) {
        let mut last: HashMap<usize, usize> = HashMap::new();
        let mut void = HashSet::new();
        for (index, (_, worker, fact)) in self.0.iter().enumerate() {
            match fact {
                Fact::AtWork(..) | Fact::Through(_) => {
                    last.insert(*worker, index);
                }
                Fact::Lost => void.extend(last.remove(worker)),
                _ => {}
            }
        }
        let mut index = 0;
        self.0.retain(|_| {
            index += 1;
            !void.contains(&(index - 1))
        });
    }

    /// What these workers did around that moment, a line each.
    fn story(&self, moment: u64, of: impl Fn(usize) -> bool) -> String {
        let mut story = String::new();
        for (at, worker, fact) in &self.0 {
            let since = i128::from(*at) - i128::from(moment);
            if of(*worker) && (-6_000_000..2_000_000).contains(&since) {
                let line = writeln!(story, "  {:+} ms: {worker} {fact:?}", since / 1_000);
                line.expect("a string");
            }
        }
        story
    }
}
