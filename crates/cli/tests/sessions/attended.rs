//! A login that waits for somebody to sign in.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use crate::user::{CLIENT, Came, User};

/// The program, and what it has said so far.
pub(crate) struct Login {
    /// Until its end was waited for.
    child: Option<Child>,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Login {
    /// `login` with these arguments, at this user's issuer.
    pub(crate) fn begin(user: &User, arguments: &[&str]) -> Self {
        let mut command = user.command(&["login", "--client-id", CLIENT]);
        command
            .args(["--issuer", user.issuer.url()])
            .args(arguments);
        Self::of(command)
    }

    pub(crate) fn of(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let stderr = BufReader::new(child.stderr.take().expect("its stderr"));
        Self {
            child: Some(child),
            stderr,
            said: String::new(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Reads until a line of which `found` makes something.
    pub(crate) fn until<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let from = self.said.len();
            let read = self.stderr.read_line(&mut self.said).expect("text");
            assert!(read > 0, "it ended without: {}", self.said);
            if let Some(found) = found(self.said[from..].trim()) {
                return found;
            }
        }
    }

    /// The address to sign in at.
    pub(crate) fn address(&mut self) -> String {
        self.until(|line| line.contains("state=").then(|| line.to_owned()))
    }

    /// How it ends, with everything that it said.
    pub(crate) fn end(mut self, user: &User) -> Came {
        self.stderr.read_to_string(&mut self.said).expect("text");
        let child = self.child.take().expect("it runs");
        let output = child.wait_with_output().expect("its end");
        user.came(Output {
            stderr: std::mem::take(&mut self.said).into_bytes(),
            ..output
        })
    }
}

/// A test that fails leaves nobody waiting.
impl Drop for Login {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Came {
    /// Exit code, stdout and stderr in one text.
    pub(crate) fn told(&self) -> String {
        format!("exit code {}\n{}{}", self.code, self.out, self.said)
    }
}
