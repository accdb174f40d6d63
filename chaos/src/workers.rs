//! Starts, stops and kills workers, and receives their reports.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::report::{Line, Report};
use crate::spec::Spec;
use crate::worker::SPEC;

/// Starts workers and receives their reports.
pub struct Workers {
    program: PathBuf,
    sender: UnboundedSender<(usize, Message)>,
    message: UnboundedReceiver<(usize, Message)>,
    started: usize,
}

/// A message from the reader of a worker.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Report(Line),
    /// The worker has closed its standard output: its process has ended.
    Ended,
}

/// The process of a worker. Dropping this value kills the process.
pub struct Worker {
    /// The number of the worker. It is unique.
    pub number: usize,
    child: Child,
    pid: Pid,
    /// The time at which the worker was stopped.
    pub(crate) stopped: Option<Instant>,
}

impl Workers {
    /// Creates a group of workers that run this program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let (sender, message) = unbounded_channel();
        Self {
            program: program.into(),
            sender,
            message,
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
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // A worker that was killed while it wrote leaves an incomplete line.
                if let Ok(line) = serde_json::from_str(&line) {
                    let _ = sender.send((number, Message::Report(line)));
                }
            }
            let _ = sender.send((number, Message::Ended));
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

    /// Waits for the next message of any worker. Returns it with the number of the worker.
    pub(crate) async fn receive(&mut self) -> (usize, Message) {
        self.message.recv().await.expect("`self` keeps a sender")
    }

    /// Waits for the next report of any worker.
    ///
    /// # Panics
    ///
    /// If a worker ends, or no worker reports for a minute.
    pub async fn next(&mut self) -> Report {
        let message = tokio::time::timeout(Duration::from_secs(60), self.receive()).await;
        match message.expect("a report within a minute") {
            (_, Message::Report(line)) => line.report,
            (number, Message::Ended) => panic!("worker {number} ended by itself"),
        }
    }

    /// Waits for a report of this worker that matches.
    ///
    /// # Panics
    ///
    /// If the worker ends first, or a minute passes.
    pub async fn until(&mut self, worker: &Worker, matches: impl Fn(&Report) -> bool) {
        let listening = async {
            loop {
                match self.receive().await {
                    (number, Message::Report(line))
                        if number == worker.number && matches(&line.report) =>
                    {
                        return;
                    }
                    (number, Message::Ended) if number == worker.number => {
                        panic!("worker {number} ended by itself");
                    }
                    _ => {}
                }
            }
        };
        let message = tokio::time::timeout(Duration::from_secs(60), listening).await;
        message.expect("a matching report within a minute");
    }

    /// Returns all reports of one worker, after its process has ended.
    ///
    /// # Panics
    ///
    /// If that takes longer than a minute.
    pub async fn reports_of(&mut self, worker: &mut Worker) -> Vec<Report> {
        let mut reports = Vec::new();
        let listening = async {
            loop {
                match self.receive().await {
                    (number, Message::Report(line)) if number == worker.number => {
                        reports.push(line.report);
                    }
                    (number, Message::Ended) if number == worker.number => return,
                    _ => {}
                }
            }
        };
        let message = tokio::time::timeout(Duration::from_secs(60), listening).await;
        assert!(message.is_ok(), "a worker hangs after {reports:?}");
        worker.ended().await;
        reports
    }

    /// Returns the reports of many workers, after all their processes have ended.
    ///
    /// # Panics
    ///
    /// If that takes longer than two minutes.
    pub async fn reports_of_all(&mut self, workers: &mut [Worker]) -> Vec<Vec<Report>> {
        let mut all_reports = vec![Vec::new(); workers.len()];
        let first = workers.first().map_or(0, |worker| worker.number);
        let mut left = workers.len();
        let listening = async {
            while left > 0 {
                match self.receive().await {
                    (number, Message::Report(line)) => {
                        all_reports[number - first].push(line.report);
                    }
                    (_, Message::Ended) => left -= 1,
                }
            }
        };
        let message = tokio::time::timeout(Duration::from_secs(120), listening).await;
        assert!(message.is_ok(), "workers hang");
        for worker in workers {
            worker.ended().await;
        }
        all_reports
    }
}

impl Worker {
    /// Kills the process, as a crash would.
    pub async fn kill(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        self.ended().await;
    }

    /// Waits until the process has ended. Returns true if a signal ended it.
    ///
    /// # Panics
    ///
    /// If the system cannot wait for the process.
    pub async fn ended(&mut self) -> bool {
        let status = self.child.wait().await.expect("a child of ours");
        status.code().is_none()
    }

    /// Stops the process.
    pub fn stop(&mut self) {
        if kill_process(self.pid, Signal::STOP).is_ok() {
            self.stopped = Some(Instant::now());
        }
    }

    /// Resumes the stopped process.
    pub fn resume(&mut self) {
        let _ = kill_process(self.pid, Signal::CONT);
        self.stopped = None;
    }
}
