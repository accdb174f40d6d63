//! The events of a storm in the order of time. Finds each last resort that a worker took while another
//! worker could still save the answer.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::report::now;

/// Events with their time by the monotonic clock, which all processes share.
#[derive(Default)]
pub(crate) struct Timeline(Vec<(u64, usize, Event)>);

#[derive(Debug)]
enum Event {
    /// The worker writes an open intent with this number of attempts: it is at work on the intent.
    AtWork(String, u32),
    /// The intent was not written, because another process wrote the record first.
    Lost,
    /// The worker sends the request.
    Asking,
    /// The worker writes the outcome of the intent.
    Through(String),
    LastResort,
    /// An event of the issuer. It belongs to no worker.
    Issuer(#[expect(dead_code, reason = "read by `Debug`, in all_reports")] String),
    Stopped,
    Resumed,
    Killed,
}

impl Timeline {
    pub(crate) fn intent(
        &mut self,
        at: u64,
        worker: usize,
        (id, attempts): (String, u32),
        outcome: &str,
    ) {
        let event = if outcome == "Open" {
            Event::AtWork(id, attempts)
        } else {
            Event::Through(id)
        };
        self.0.push((at, worker, event));
    }

    pub(crate) fn intent_lost(&mut self, at: u64, worker: usize) {
        self.0.push((at, worker, Event::Lost));
    }

    pub(crate) fn asking(&mut self, at: u64, worker: usize) {
        self.0.push((at, worker, Event::Asking));
    }

    pub(crate) fn last_resort(&mut self, at: u64, worker: usize) {
        self.0.push((at, worker, Event::LastResort));
    }

    pub(crate) fn issuer(&mut self, event: String) {
        self.0.push((now(), 0, Event::Issuer(event)));
    }

    /// Returns the events of all workers in the last seconds, a line each.
    pub(crate) fn latest(&mut self) -> String {
        self.0.sort_by_key(|(at, ..)| *at);
        self.reports(now(), |_| true)
    }

    pub(crate) fn stopped(&mut self, worker: usize) {
        self.0.push((now(), worker, Event::Stopped));
    }

    pub(crate) fn resumed(&mut self, worker: usize) {
        self.0.push((now(), worker, Event::Resumed));
    }

    pub(crate) fn killed(&mut self, worker: usize) {
        self.0.push((now(), worker, Event::Killed));
    }

    /// Returns a description of each forbidden last resort.
    pub(crate) fn judge(mut self) -> Vec<String> {
        self.0.sort_by_key(|(at, ..)| *at);
        self.forget_lost();
        let mut wrong = Vec::new();
        // The worker at work on each intent; the worker from which each worker took its intent; the
        // workers that were killed, and those that were ever stopped.
        let mut at_work: HashMap<&str, (usize, u32)> = HashMap::new();
        let mut taken_from: HashMap<usize, Option<usize>> = HashMap::new();
        let (mut gone, mut paused) = (HashSet::new(), HashSet::new());
        for (at, worker, event) in &self.0 {
            match event {
                Event::AtWork(id, attempts) => match at_work.get(id.as_str()) {
                    // The worker withdraws its own attempt, and the attempt before stands again. The
                    // owner of that attempt was not at work, or its intent would not have been taken.
                    Some((owner, before)) if owner == worker && attempts < before => {
                        at_work.remove(id.as_str());
                    }
                    before => {
                        let owner = before.map(|(owner, _)| *owner);
                        taken_from.insert(*worker, owner.filter(|owner| owner != worker));
                        at_work.insert(id, (*worker, *attempts));
                    }
                },
                Event::Through(id) => {
                    if at_work
                        .get(id.as_str())
                        .is_some_and(|(owner, _)| owner == worker)
                    {
                        at_work.remove(id.as_str());
                    }
                }
                Event::Stopped | Event::Resumed => {
                    // Its lease may have ended, even if the worker was resumed.
                    paused.insert(worker);
                }
                Event::Killed => {
                    gone.insert(worker);
                }
                Event::LastResort => match taken_from.get(worker) {
                    None => wrong.push(format!("worker {worker} presented without an intent")),
                    Some(Some(owner)) if !gone.contains(owner) && !paused.contains(owner) => {
                        wrong.push(format!(
                            "worker {worker} presented a refresh token that worker {owner} was at \
                             work on, unstopped:\n{}",
                            self.reports(*at, |other| other == *worker || other == *owner)
                        ));
                    }
                    Some(_) => {}
                },
                Event::Asking | Event::Lost | Event::Issuer(_) => {}
            }
        }
        wrong
    }

    /// Removes the intents that were not written.
    fn forget_lost(&mut self) {
        let mut last: HashMap<usize, usize> = HashMap::new();
        let mut void = HashSet::new();
        for (index, (_, worker, event)) in self.0.iter().enumerate() {
            match event {
                Event::AtWork(..) | Event::Through(_) => {
                    last.insert(*worker, index);
                }
                Event::Lost => void.extend(last.remove(worker)),
                _ => {}
            }
        }
        let mut index = 0;
        self.0.retain(|_| {
            index += 1;
            !void.contains(&(index - 1))
        });
    }

    /// Returns the events of these workers around that moment, a line each.
    fn reports(&self, moment: u64, of: impl Fn(usize) -> bool) -> String {
        let mut reports = String::new();
        for (at, worker, event) in &self.0 {
            let since = i128::from(*at) - i128::from(moment);
            if of(*worker) && (-6_000_000..2_000_000).contains(&since) {
                let line = writeln!(reports, "  {:+} ms: {worker} {event:?}", since / 1_000);
                line.expect("a string");
            }
        }
        reports
    }
}
