//! Eight processes share one session while the storm kills and stops them at random and the issuer
//! fails.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use token_rotator_testkit::{Fault, IssuerEvent};

use crate::crash::Scene;
use crate::report::{Line, Report, now};
use crate::spec::{Job, ProfileName, Timing};
use crate::store::StoreAddress;
use crate::timeline::Timeline;
use crate::verdict::Verdict;
use crate::workers::{Message, Worker, Workers};

const WORKERS: usize = 8;
/// The lifetime of access tokens.
const LIFETIME: Duration = Duration::from_millis(1_200);
/// A call may exceed its limit by this much: the storm stops processes, and all of them share two
/// cores.
const SLACK: Duration = Duration::from_secs(5);

struct Storm {
    scene: Scene,
    group: Workers,
    workers: Vec<Worker>,
    verdict: Verdict,
    timeline: Timeline,
    /// The last time at which each stopped worker was resumed.
    resumed: HashMap<usize, u64>,
    killed: HashSet<usize>,
    /// The family of the current grant.
    family: u64,
    /// True if a worker has announced a last resort in the current grant.
    announced: bool,
    is_over: bool,
}

/// Runs a storm over this store. `program` is the program of the workers.
///
/// # Panics
///
/// If issuer, API or store cannot be set up.
pub async fn storm(
    program: &Path,
    address: StoreAddress,
    profile: ProfileName,
    length: Duration,
) -> Verdict {
    let scene = Scene::start(address, profile, Timing::QUICK, LIFETIME).await;
    let family = scene.grant.family;
    let mut storm = Storm {
        verdict: Verdict {
            store: scene.address.kind().name().to_owned(),
            profile: profile.name().to_owned(),
            ..Verdict::default()
        },
        scene,
        group: Workers::new(program),
        workers: Vec::new(),
        timeline: Timeline::default(),
        resumed: HashMap::new(),
        killed: HashSet::new(),
        family,
        announced: false,
        is_over: false,
    };
    storm.run(length).await;
    storm.settle().await;
    let wrong = storm.timeline.judge();
    storm.verdict.wrong.extend(wrong);
    storm.verdict
}

impl Storm {
    fn start_worker(&mut self) {
        let spec = self.scene.spec(Job::Requests, None);
        let worker = self.group.start(&spec);
        self.workers.push(worker);
    }

    async fn run(&mut self, length: Duration) {
        for _ in 0..WORKERS {
            self.start_worker();
        }
        let end = Instant::now() + length;
        let mut events = self.scene.issuer.events();
        let mut next_disturbance = tokio::time::Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            tokio::select! {
                biased;
                (number, message) = self.group.receive() => self.on_message(number, message),
                Ok(event) = events.recv() => self.on_issuer_event(event).await,
                () = tokio::time::sleep_until(next_disturbance) => {
                    self.disturb().await;
                    let pause = Duration::from_millis(fastrand::u64(20..250));
                    next_disturbance = tokio::time::Instant::now() + pause;
                }
            }
        }
        // Events may be left from the last moments of the storm.
        while let Ok(event) = events.try_recv() {
            self.on_issuer_event(event).await;
        }
    }

    /// Resumes workers, then kills one, stops one, or makes the issuer fail.
    async fn disturb(&mut self) {
        self.resume_some();
        match fastrand::u32(0..10) {
            0..3 => {
                let victim = fastrand::usize(0..self.workers.len());
                let mut worker = self.workers.swap_remove(victim);
                self.killed.insert(worker.number);
                // Recorded before the kill: other workers may act on the death before `kill` returns.
                self.timeline.killed(worker.number);
                worker.kill().await;
                self.verdict.kills += 1;
                self.start_worker();
            }
            3..6 => {
                let victim = fastrand::usize(0..self.workers.len());
                let worker = &mut self.workers[victim];
                if worker.stopped.is_none() {
                    self.timeline.stopped(worker.number);
                    worker.stop();
                    self.verdict.stops += 1;
                }
            }
            _ => {
                let faults = self.scene.issuer.faults();
                if faults.is_empty() {
                    let fault = fault();
                    self.timeline.issuer(format!("{fault:?} comes next"));
                    faults.push(fault.once());
                }
            }
        }
    }

    /// Resumes stopped workers at random, at the latest one second after the end of their lease.
    fn resume_some(&mut self) {
        for worker in &mut self.workers {
            let Some(since) = worker.stopped else {
                continue;
            };
            let longest = Timing::of(Timing::QUICK.lease_life) + Duration::from_secs(1);
            if fastrand::u32(0..8) == 0 || since.elapsed() > longest {
                worker.resume();
                self.timeline.resumed(worker.number);
                self.resumed.insert(worker.number, now());
            }
        }
    }

    fn on_message(&mut self, number: usize, message: Message) {
        let Message::Report(Line { at, report }) = message else {
            if !self.killed.contains(&number) && !self.is_over {
                self.wrong(format!("worker {number} ended by itself"));
            }
            return;
        };
        let verdict = &mut self.verdict;
        match report {
            Report::Flight => verdict.flights += 1,
            Report::Adopted => verdict.adopted += 1,
            Report::Failed { kind, .. } if kind == "uncertain" => verdict.uncertain += 1,
            Report::Failed { kind, .. } if kind == "busy" => verdict.busy += 1,
            Report::Intent {
                id,
                attempts,
                outcome,
            } => self.timeline.intent(at, number, (id, attempts), &outcome),
            Report::IntentLost => self.timeline.intent_lost(at, number),
            Report::Asking => self.timeline.asking(at, number),
            Report::PresentedAgain { last_resort: false } => verdict.again += 1,
            Report::PresentedAgain { last_resort: true } => {
                verdict.last_resorts += 1;
                self.announced = true;
                self.timeline.last_resort(at, number);
            }
            Report::Answered {
                good,
                without,
                millis,
            } => {
                verdict.answered += u64::from(good);
                verdict.without += u64::from(without.is_some());
                let limit = Timing::of(Timing::QUICK.wait) + SLACK;
                let on = self.resumed.get(&number);
                let stopped = on.is_some_and(|on| at.saturating_sub(*on) < millis * 1_000);
                if Duration::from_millis(millis) > limit && !stopped {
                    self.wrong(format!("a call of worker {number} took {millis} ms"));
                }
            }
            _ => {}
        }
    }

    async fn on_issuer_event(&mut self, event: IssuerEvent) {
        self.timeline.issuer(format!("{event:?}"));
        match event {
            IssuerEvent::Refreshed { .. } => self.verdict.refreshes += 1,
            IssuerEvent::Reused { family, .. } => {
                self.verdict.alarms += 1;
                if family != self.family {
                    return;
                }
                // The announcement may still be on its way.
                self.catch_up().await;
                if !self.announced {
                    self.verdict.unannounced += 1;
                }
            }
            IssuerEvent::Revoked { family, .. } if family == self.family => {
                self.on_session_lost().await;
            }
            _ => {}
        }
    }

    /// Receives reports that are on their way through a pipe and a task.
    async fn catch_up(&mut self) {
        let end = tokio::time::Instant::now() + Duration::from_millis(500);
        while !self.announced
            && let Ok((number, message)) = tokio::time::timeout_at(end, self.group.receive()).await
        {
            self.on_message(number, message);
        }
    }

    /// Judges whether the loss of the session was avoidable, and signs in again.
    async fn on_session_lost(&mut self) {
        self.verdict.lost += 1;
        let strict = self.scene.profile == ProfileName::Strict;
        if !strict || !self.announced {
            let announced = if self.announced {
                "announced"
            } else {
                "unannounced"
            };
            let reports = self.timeline.latest();
            self.wrong(format!("a session was lost ({announced}):\n{reports}"));
        }
        self.announced = false;
        let grant = self.scene.issuer.sign_in("alice");
        self.family = grant.family;
        self.scene.sign_in(&grant, LIFETIME).await;
    }

    fn wrong(&mut self, what: String) {
        self.verdict.wrong.push(what);
    }

    /// Ends all disturbances. Every worker gets a token within the limit.
    async fn settle(&mut self) {
        self.scene.issuer.faults().clear();
        for worker in &mut self.workers {
            worker.resume();
            self.resumed.insert(worker.number, now());
        }
        let mut served: HashSet<usize> = HashSet::new();
        let mut events = self.scene.issuer.events();
        let limit = Duration::from_secs(15);
        let listening = async {
            while self
                .workers
                .iter()
                .any(|worker| !served.contains(&worker.number))
            {
                tokio::select! {
                    (number, message) = self.group.receive() => {
                        if let Message::Report(Line { report: Report::Answered { good: true, .. }, .. }) = message {
                            served.insert(number);
                        }
                        self.on_message(number, message);
                    }
                    Ok(event) = events.recv() => self.on_issuer_event(event).await,
                }
            }
        };
        let settled = tokio::time::timeout(limit, listening).await;
        self.is_over = true;
        if settled.is_err() {
            let left = self.workers.len() - served.len();
            self.wrong(format!(
                "{left} workers have no token {limit:?} after the storm"
            ));
        }
    }
}

fn fault() -> Fault {
    match fastrand::u32(0..8) {
        0 | 1 => Fault::AnswerLost,
        2 => Fault::ResetAfter,
        3 => Fault::ResetBefore,
        4 => Fault::Status {
            status: 503,
            retry_after: None,
        },
        5 => Fault::Hang,
        6 => Fault::MalformedJson,
        // Longer than the client waits, but shorter than two more refreshes: after those, no leeway
        // of an issuer accepts the token, and no client can prevent that.
        _ => Fault::Delay(Duration::from_millis(fastrand::u64(10..850))),
    }
}
