//! Eight processes on one session, an issuer that fails, and somebody who kills and stops them at
//! any moment.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use token_rotator_testkit::{Fault, IssuerEvent};

use crate::crash::Scene;
use crate::ground::Place;
use crate::herd::{Heard, Herd, Worker};
use crate::said::{Line, Said, now};
use crate::spec::{Job, ProfileName, Timing};
use crate::verdict::Verdict;
use crate::witness::Witness;

const WORKERS: usize = 8;
/// How long access tokens live.
const LIFETIME: Duration = Duration::from_millis(1_200);
/// A call may take this much longer than its caller's limit: processes are stopped, and there are
/// two cores for all.
const SLACK: Duration = Duration::from_secs(5);

struct Storm {
    scene: Scene,
    herd: Herd,
    workers: Vec<Worker>,
    verdict: Verdict,
    witness: Witness,
    /// When each stopped worker went on, for those that were.
    went_on: HashMap<usize, u64>,
    dead: HashSet<usize>,
    /// The grant of now, and whether a last resort was announced in it.
    family: u64,
    announced: bool,
    calm: bool,
}

/// A storm over this store for so long, the program being that of the workers.
///
/// # Panics
///
/// If it cannot be set up.
pub async fn storm(
    program: &Path,
    place: Place,
    profile: ProfileName,
    length: Duration,
) -> Verdict {
    let scene = Scene::set(place, profile, Timing::QUICK, LIFETIME).await;
    let family = scene.grant.family;
    let mut storm = Storm {
        verdict: Verdict {
            store: scene.place.kind().word().to_owned(),
            profile: profile.word().to_owned(),
            ..Verdict::default()
        },
        scene,
        herd: Herd::new(program),
        workers: Vec::new(),
        witness: Witness::default(),
        went_on: HashMap::new(),
        dead: HashSet::new(),
        family,
        announced: false,
        calm: false,
    };
    storm.rage(length).await;
    storm.settle().await;
    let wrong = storm.witness.judge();
    storm.verdict.wrong.extend(wrong);
    storm.verdict
}

impl Storm {
    fn start_worker(&mut self) {
        let spec = self.scene.spec(Job::Requests, None);
        let worker = self.herd.start(&spec);
        self.workers.push(worker);
    }

    async fn rage(&mut self, length: Duration) {
        for _ in 0..WORKERS {
            self.start_worker();
        }
        let end = Instant::now() + length;
        let mut events = self.scene.issuer.events();
        let mut next_deed = tokio::time::Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            tokio::select! {
                biased;
                (number, heard) = self.herd.hear() => self.heard(number, heard),
                Ok(event) = events.recv() => self.happened(event).await,
                () = tokio::time::sleep_until(next_deed) => {
                    self.deed().await;
                    let pause = Duration::from_millis(fastrand::u64(20..250));
                    next_deed = tokio::time::Instant::now() + pause;
                }
            }
        }
        // What the issuer did last counts too.
        while let Ok(event) = events.try_recv() {
            self.happened(event).await;
        }
    }

    /// Kills, stops, lets go on, or makes the issuer fail.
    async fn deed(&mut self) {
        self.wake_some();
        match fastrand::u32(0..10) {
            0..3 => {
                let victim = fastrand::usize(0..self.workers.len());
                let mut worker = self.workers.swap_remove(victim);
                self.dead.insert(worker.number);
                // First, for others may go on before we know that it has ended.
                self.witness.killed(worker.number);
                worker.kill().await;
                self.verdict.kills += 1;
                self.start_worker();
            }
            3..6 => {
                let victim = fastrand::usize(0..self.workers.len());
                let worker = &mut self.workers[victim];
                if worker.stopped.is_none() {
                    self.witness.stopped(worker.number);
                    worker.stop();
                    self.verdict.stops += 1;
                }
            }
            _ => {
                let faults = self.scene.issuer.faults();
                if faults.is_empty() {
                    let fault = fault();
                    self.witness.issuer(format!("{fault:?} comes next"));
                    faults.push(fault.once());
                }
            }
        }
    }

    /// Lets those go on that were stopped for long enough: up to a second more than a lease lasts.
    fn wake_some(&mut self) {
        for worker in &mut self.workers {
            let Some(since) = worker.stopped else {
                continue;
            };
            let longest = Timing::of(Timing::QUICK.lease_life) + Duration::from_secs(1);
            if fastrand::u32(0..8) == 0 || since.elapsed() > longest {
                worker.go_on();
                self.witness.went_on(worker.number);
                self.went_on.insert(worker.number, now());
            }
        }
    }

    fn heard(&mut self, number: usize, heard: Heard) {
        let Heard::Said(Line { at, said }) = heard else {
            if !self.dead.contains(&number) && !self.calm {
                self.wrong(format!("worker {number} ended by itself"));
            }
            return;
        };
        let verdict = &mut self.verdict;
        match said {
            Said::Flight => verdict.flights += 1,
            Said::Adopted => verdict.adopted += 1,
            Said::Failed { kind, .. } if kind == "uncertain" => verdict.uncertain += 1,
            Said::Failed { kind, .. } if kind == "busy" => verdict.busy += 1,
            Said::Intent {
                id,
                attempts,
                outcome,
            } => self.witness.intent(at, number, (id, attempts), &outcome),
            Said::IntentLost => self.witness.intent_lost(at, number),
            Said::Asking => self.witness.asking(at, number),
            Said::PresentedAgain { last_resort: false } => verdict.again += 1,
            Said::PresentedAgain { last_resort: true } => {
                verdict.last_resorts += 1;
                self.announced = true;
                self.witness.last_resort(at, number);
            }
            Said::Answered {
                good,
                without,
                millis,
            } => {
                verdict.answered += u64::from(good);
                verdict.without += u64::from(without.is_some());
                let limit = Timing::of(Timing::QUICK.wait) + SLACK;
                let on = self.went_on.get(&number);
                let stopped = on.is_some_and(|on| at.saturating_sub(*on) < millis * 1_000);
                if Duration::from_millis(millis) > limit && !stopped {
                    self.wrong(format!("a call of worker {number} took {millis} ms"));
                }
            }
            _ => {}
        }
    }

    async fn happened(&mut self, event: IssuerEvent) {
        self.witness.issuer(format!("{event:?}"));
        match event {
            IssuerEvent::Refreshed { .. } => self.verdict.refreshes += 1,
            IssuerEvent::Reused { family, .. } => {
                self.verdict.alarms += 1;
                if family != self.family {
                    return;
                }
                // What was announced before it happened may not have been heard yet.
                self.catch_up().await;
                if !self.announced {
                    self.verdict.unannounced += 1;
                }
            }
            IssuerEvent::Revoked { family, .. } if family == self.family => self.lose().await,
            _ => {}
        }
    }

    /// Hears what was said already: it is on its way through a pipe and a task.
    async fn catch_up(&mut self) {
        let end = tokio::time::Instant::now() + Duration::from_millis(500);
        while !self.announced
            && let Ok((number, heard)) = tokio::time::timeout_at(end, self.herd.hear()).await
        {
            self.heard(number, heard);
        }
    }

    /// The session is lost. Was that unavoidable? Then the user signs in again.
    async fn lose(&mut self) {
        self.verdict.lost += 1;
        let strict = self.scene.profile == ProfileName::Strict;
        if !strict || !self.announced {
            let announced = if self.announced {
                "announced"
            } else {
                "unannounced"
            };
            let story = self.witness.latest();
            self.wrong(format!("a session was lost ({announced}):\n{story}"));
        }
        self.announced = false;
        let grant = self.scene.issuer.sign_in("alice");
        self.family = grant.family;
        self.scene.sign_in(&grant, LIFETIME).await;
    }

    fn wrong(&mut self, what: String) {
        self.verdict.wrong.push(what);
    }

    /// After the storm everybody gets a token, or says in words why not; nobody hangs.
    async fn settle(&mut self) {
        self.scene.issuer.faults().clear();
        for worker in &mut self.workers {
            worker.go_on();
            self.went_on.insert(worker.number, now());
        }
        let mut well: HashSet<usize> = HashSet::new();
        let mut events = self.scene.issuer.events();
        let patience = Duration::from_secs(15);
        let listening = async {
            while self
                .workers
                .iter()
                .any(|worker| !well.contains(&worker.number))
            {
                tokio::select! {
                    (number, heard) = self.herd.hear() => {
                        if let Heard::Said(Line { said: Said::Answered { good: true, .. }, .. }) = heard {
                            well.insert(number);
                        }
                        self.heard(number, heard);
                    }
                    Ok(event) = events.recv() => self.happened(event).await,
                }
            }
        };
        let settled = tokio::time::timeout(patience, listening).await;
        self.calm = true;
        if settled.is_err() {
            let left = self.workers.len() - well.len();
            self.wrong(format!(
                "{left} workers have no token {patience:?} after the storm"
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
        // Longer than the client waits, but not so long that two more refreshes fit in between: no
        // issuer's leeway would take the token then, and no client could help it.
        _ => Fault::Delay(Duration::from_millis(fastrand::u64(10..850))),
    }
}
