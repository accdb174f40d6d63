//! The process of a proxy.

use std::error::Error;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The time limit until a proxy listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with its children when this value is dropped. Dropping asks the process to end and waits for it.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the process with its output in this file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self, Box<dyn Error>> {
        let out = File::create(log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .map_err(|error| format!("{program} does not start: {error}"))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Waits until the process listens on the port. Errors: the process ends before, or 30 s pass. The error holds the
    /// end of its output.
    pub(crate) async fn until_open(&mut self, port: u16) -> Result<(), Box<dyn Error>> {
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            let ended = self.child.try_wait()?;
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let said = fs::read_to_string(&self.log)?;
                return Err(format!("it does not listen on port {port}: {said}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The parent of Apache ends its workers on SIGTERM only. After SIGKILL the workers would stay.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Returns a free port.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Returns the first line of the output of a command.
pub(crate) fn first_line(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty());
    Ok(line
        .ok_or_else(|| format!("{program} says nothing"))?
        .trim()
        .to_owned())
}
