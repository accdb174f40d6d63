//! The child process of a server, and its temporary directory.

use std::future::Future;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start or to end.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A running server. Dropping it ends the server, also during a panic. The watchdog ends the server if the test process
/// is killed.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    /// Kills the server when its standard input closes, which the kernel does if the test process is killed.
    watchdog: Child,
    name: &'static str,
}

impl ServerProcess {
    /// Starts the server. Its output goes to the file `log`.
    pub(super) fn start(name: &'static str, mut command: Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
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
            name,
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Suspends the server: connections stay open, and the server does not respond.
    pub(super) fn pause(&self) {
        for pid in self.process_ids() {
            signal(pid, Signal::STOP);
        }
    }

    /// Resumes the server after [`pause`](Self::pause).
    pub(super) fn resume(&self) {
        for pid in self.process_ids() {
            signal(pid, Signal::CONT);
        }
    }

    /// Kills the server without a shutdown, like a crash, and waits until it has ended.
    pub(super) fn kill(&mut self) {
        if self.has_ended() {
            // The process id may belong to another process by now.
            return self.end_watchdog();
        }
        let process_ids = self.process_ids();
        for pid in &process_ids {
            signal(*pid, Signal::KILL);
        }
        let _ = self.child.wait();
        // The server's own children are reaped by init. They must have ended before the next start.
        let started = Instant::now();
        while process_ids.iter().skip(1).any(|pid| is_running(*pid))
            && started.elapsed() < TIME_LIMIT
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.end_watchdog();
    }

    fn end_watchdog(&mut self) {
        if let Some(mut input) = self.watchdog.stdin.take() {
            let _ = input.write_all(b"ended\n");
        }
        let _ = self.watchdog.wait();
    }

    /// Returns the ids of the server's process and of its children, as far as `/proc` exists.
    fn process_ids(&self) -> Vec<Pid> {
        let parent = self.child.id();
        let mut process_ids = vec![parent];
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(pid) = pid
                && stat(pid).is_some_and(|stat| stat.parent == parent)
            {
                process_ids.push(pid);
            }
        }
        let pids = process_ids.into_iter().map(u32::cast_signed);
        pids.filter_map(Pid::from_raw).collect()
    }

    /// Calls `ask` until it returns true. Returns false if the server ends first.
    pub(super) async fn wait_until_ready<F: Future<Output = bool>>(
        &mut self,
        ask: impl Fn() -> F,
    ) -> bool {
        let started = Instant::now();
        loop {
            if self.has_ended() {
                return false;
            }
            if ask().await {
                return true;
            }
            assert!(
                started.elapsed() < TIME_LIMIT,
                "{} is not ready after {TIME_LIMIT:?}",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(pid: Pid, signal: Signal) {
    // Fails if the process has ended, which is no error.
    let _ = kill_process(pid, signal);
}

fn is_running(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero().get().cast_unsigned();
    stat(pid).is_some_and(|stat| stat.state != 'Z')
}

struct ProcessStat {
    state: char,
    parent: u32,
}

fn stat(pid: u32) -> Option<ProcessStat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name before `)` may contain any character, parentheses included.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some(ProcessStat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

/// A directory that is removed on drop.
#[derive(Debug)]
pub(super) struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    pub(super) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("token-rotator-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A killed process with the same process id may have left the directory.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts a server on a free port and waits until `responds` returns true. Tries other ports if the server ends, because
/// another process may take the port first.
///
/// # Panics
///
/// Panics with the server's log if the server does not start.
pub(super) async fn start_on_free_port<F: Future<Output = bool>>(
    directory: &TemporaryDirectory,
    spawn: impl Fn(u16) -> ServerProcess,
    responds: impl Fn(u16) -> F,
) -> (ServerProcess, u16) {
    let mut name = "";
    for _ in 0..5 {
        let port = free_port();
        let mut process = spawn(port);
        if process.wait_until_ready(|| responds(port)).await {
            return (process, port);
        }
        name = process.name;
    }
    let log = std::fs::read_to_string(directory.path().join("log"));
    panic!("{name} does not start: {}", log.unwrap_or_default());
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Runs a program to its end and returns its output.
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
