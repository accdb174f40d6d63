//! A server's process: started on a free port, paused, killed, and ended with its value.

use std::future::Future;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// One running server. It ends when this is dropped, also by a panic, and at the latest with the
/// process that started it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Ends the server if this process is killed and can end nothing any more.
    watchdog: Child,
    what: &'static str,
}

impl Process {
    /// Starts it. What it says goes into this file.
    pub(super) fn start(what: &'static str, mut command: Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{what} cannot be started: {error}"));
        let watchdog = Command::new("sh")
            .args(["-c", r#"read -r word; [ "$word" = ended ] || kill -9 "$1""#])
            .arg("watchdog")
            .arg(child.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Self {
            child,
            watchdog,
            what,
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered.
    pub(super) fn pause(&self) {
        for pid in self.family() {
            signal(pid, Signal::STOP);
        }
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub(super) fn resume(&self) {
        for pid in self.family() {
            signal(pid, Signal::CONT);
        }
    }

    /// Ends it as a crash would, and waits until it has.
    pub(super) fn kill(&mut self) {
        if self.has_ended() {
            // Its number may be another's by now.
            return self.dismiss_watchdog();
        }
        let family = self.family();
        for pid in &family {
            signal(*pid, Signal::KILL);
        }
        let _ = self.child.wait();
        // Nobody waits for the others but init: they must not be there for the next start.
        let started = Instant::now();
        while family.iter().skip(1).any(|pid| is_running(*pid)) && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.dismiss_watchdog();
    }

    fn dismiss_watchdog(&mut self) {
        if let Some(mut input) = self.watchdog.stdin.take() {
            let _ = input.write_all(b"ended\n");
        }
        let _ = self.watchdog.wait();
    }

    /// Its process and the children of that, where the system tells.
    fn family(&self) -> Vec<Pid> {
        let parent = self.child.id();
        let mut family = vec![parent];
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(pid) = pid
                && stat(pid).is_some_and(|stat| stat.parent == parent)
            {
                family.push(pid);
            }
        }
        let pids = family.into_iter().map(u32::cast_signed);
        pids.filter_map(Pid::from_raw).collect()
    }

    /// Asks until the server says that it is ready. False: it has ended before.
    pub(super) async fn is_ready<F: Future<Output = bool>>(&mut self, ask: impl Fn() -> F) -> bool {
        let started = Instant::now();
        loop {
            if self.has_ended() {
                return false;
            }
            if ask().await {
                return true;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{} is not ready after {PATIENCE:?}",
                self.what
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(pid: Pid, signal: Signal) {
    // It may have ended a moment ago.
    let _ = kill_process(pid, signal);
}

fn is_running(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero().get().cast_unsigned();
    stat(pid).is_some_and(|stat| stat.state != 'Z')
}

struct Stat {
    state: char,
    parent: u32,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, parentheses included.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    Some(Stat {
        state: words.next()?.chars().next()?,
        parent: words.next()?.parse().ok()?,
    })
}

/// A directory that is removed with this value.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("token-rotator-{what}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left behind by a process that was killed and had this number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago. Somebody else may take it: start again if the server ends.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Runs a program to its end and answers what it wrote.
pub(super) fn run(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
