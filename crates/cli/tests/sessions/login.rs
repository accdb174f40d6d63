//! A running `login` that waits for the user.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use crate::user::{CLIENT, CommandOutput, User};

/// The process, and its stderr so far.
pub(crate) struct Login {
    /// `None` once its end was awaited.
    child: Option<Child>,
    stderr: BufReader<ChildStderr>,
    stderr_text: String,
}

impl Login {
    /// Starts `login` with these arguments, at this user's issuer.
    pub(crate) fn start(user: &User, arguments: &[&str]) -> Self {
        let mut command = user.command(&["login", "--client-id", CLIENT]);
        command
            .args(["--issuer", user.issuer.url()])
            .args(arguments);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let stderr = BufReader::new(child.stderr.take().expect("its stderr"));
        Self {
            child: Some(child),
            stderr,
            stderr_text: String::new(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Reads stderr until `found` returns a value for a line.
    pub(crate) fn read_until<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let from = self.stderr_text.len();
            let read = self.stderr.read_line(&mut self.stderr_text).expect("text");
            assert!(read > 0, "it ended without: {}", self.stderr_text);
            if let Some(found) = found(self.stderr_text[from..].trim()) {
                return found;
            }
        }
    }

    /// Takes the input of the process, which was spawned with a pipe.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        let child = self.child.as_mut().expect("it runs");
        child.stdin.take().expect("its input")
    }

    /// Reads the address for the sign-in.
    pub(crate) fn address(&mut self) -> String {
        self.read_until(|line| line.contains("state=").then(|| line.to_owned()))
    }

    /// Waits for the end of the process. Returns its whole output.
    pub(crate) fn finish(mut self, user: &User) -> CommandOutput {
        self.stderr
            .read_to_string(&mut self.stderr_text)
            .expect("text");
        let child = self.child.take().expect("it runs");
        let output = child.wait_with_output().expect("its end");
        user.capture(Output {
            stderr: std::mem::take(&mut self.stderr_text).into_bytes(),
            ..output
        })
    }
}

/// Kills the process if a test fails.
impl Drop for Login {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
