//! Workers as somebody sees them who starts, stops and kills them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::said::{Line, Said};
use crate::spec::Spec;
use crate::worker::SPEC;

/// Starts workers and hears what they say.
pub struct Herd {
    program: PathBuf,
    ear: UnboundedSender<(usize, Heard)>,
    heard: UnboundedReceiver<(usize, Heard)>,
    started: usize,
}

/// What was heard of a worker.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Said(Line),
    /// It says nothing more: its process has ended.
    Silence,
}

/// A worker's process. Killed when it is dropped.
pub struct Worker {
    /// Its number: no two have the same.
    pub number: usize,
    child: Child,
    pid: Pid,
    /// Since when it is stopped.
    pub(crate) stopped: Option<Instant>,
}

impl Herd {
    /// Workers of this program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let (ear, heard) = unbounded_channel();
        Self {
            program: program.into(),
            ear,
            heard,
            started: 0,
        }
    }

    /// Starts a worker.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    pub fn start(&mut self, spec: &Spec) -> Worker {
        let number = self.started;
        self.started += 1;
        let text = serde_json::to_string(spec).expect("a spec is JSON");
        let mut child = Command::new(&self.program)
            .arg("worker")
            .env(SPEC, text)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let out = child.stdout.take().expect("a pipe");
        let ear = self.ear.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // One that was killed in the middle of a word has said nothing.
                if let Ok(line) = serde_json::from_str(&line) {
                    let _ = ear.send((number, Heard::Said(line)));
                }
            }
            let _ = ear.send((number, Heard::Silence));
        });
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.and_then(Pid::from_raw).expect("a process that runs");
        Worker {
            number,
            child,
            pid,
            stopped: None,
        }
    }

    /// The next thing any worker says, with its number.
    pub(crate) async fn hear(&mut self) -> (usize, Heard) {
        self.heard.recv().await.expect("we keep an ear ourselves")
    }

    /// The next thing that any worker says.
    ///
    /// # Panics
    ///
    /// If one ends, or none says anything for a minute.
    pub async fn next(&mut self) -> Said {
        let heard = tokio::time::timeout(Duration::from_secs(60), self.hear()).await;
        match heard.expect("workers that are not silent") {
            (_, Heard::Said(line)) => line.said,
            (number, Heard::Silence) => panic!("worker {number} ended by itself"),
        }
    }

    /// Listens until the worker says such a thing.
    ///
    /// # Panics
    ///
    /// If it ends first, or does not say so within a minute.
    pub async fn until(&mut self, worker: &Worker, such: impl Fn(&Said) -> bool) {
        let listening = async {
            loop {
                match self.hear().await {
                    (number, Heard::Said(line)) if number == worker.number && such(&line.said) => {
                        return;
                    }
                    (number, Heard::Silence) if number == worker.number => {
                        panic!("worker {number} ended by itself");
                    }
                    _ => {}
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(60), listening).await;
        heard.expect("a worker that says so in time");
    }

    /// All that one worker says until its process ends.
    ///
    /// # Panics
    ///
    /// If that takes longer than a minute.
    pub async fn whole_story(&mut self, worker: &mut Worker) -> Vec<Said> {
        let mut story = Vec::new();
        let listening = async {
            loop {
                match self.hear().await {
                    (number, Heard::Said(line)) if number == worker.number => story.push(line.said),
                    (number, Heard::Silence) if number == worker.number => return,
                    _ => {}
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(60), listening).await;
        assert!(heard.is_ok(), "a worker hangs, having said {story:?}");
        worker.gone().await;
        story
    }

    /// The stories of many workers, each until its process ends.
    ///
    /// # Panics
    ///
    /// If that takes longer than two minutes.
    pub async fn whole_stories(&mut self, workers: &mut [Worker]) -> Vec<Vec<Said>> {
        let mut stories = vec![Vec::new(); workers.len()];
        let first = workers.first().map_or(0, |worker| worker.number);
        let mut left = workers.len();
        let listening = async {
            while left > 0 {
                match self.hear().await {
                    (number, Heard::Said(line)) => stories[number - first].push(line.said),
                    (_, Heard::Silence) => left -= 1,
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(120), listening).await;
        assert!(heard.is_ok(), "workers hang");
        for worker in workers {
            worker.gone().await;
        }
        stories
    }
}

impl Worker {
    /// Kills it as a crash would.
    pub async fn kill(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        self.gone().await;
    }

    /// Waits until its process has ended; whether a signal ended it.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub async fn gone(&mut self) -> bool {
        let status = self.child.wait().await.expect("a child of ours");
        status.code().is_none()
    }

    /// Stops it where it is.
    pub fn stop(&mut self) {
        if kill_process(self.pid, Signal::STOP).is_ok() {
            self.stopped = Some(Instant::now());
        }
    }

    /// Lets it go on as if nothing had been.
    pub fn go_on(&mut self) {
        let _ = kill_process(self.pid, Signal::CONT);
        self.stopped = None;
    }
}
