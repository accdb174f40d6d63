//! The redirect address from the browser's bar, pasted at the prompt: for a browser on another machine
//! (ssh, a container), whose redirect cannot arrive.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use token_rotator::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;

use crate::output::say;

/// The longest line that is read, in bytes. Longer lines are cut, and then no sign-in accepts them.
const LINE_MAX: u64 = 64 * 1024;

/// The lines that the user pastes.
pub(super) struct Pasted(mpsc::Receiver<SecretString>);

impl Pasted {
    /// Asks for the address if a user can answer: stdin is a terminal, or `always` is true.
    ///
    /// A script's stdin is not read otherwise, because it may be meant for the next command.
    pub(super) fn ask(always: bool) -> Self {
        let (sender, lines) = mpsc::channel(1);
        let is_terminal = std::io::stdin().is_terminal();
        if is_terminal {
            say!(
                "If that browser is on another machine, paste the address that it shows in the end:"
            );
        }
        if is_terminal || always {
            // A thread and no task: a read of stdin cannot be cancelled, and the program must end
            // without it.
            std::thread::spawn(move || read_lines(&sender));
        }
        Self(lines)
    }

    /// Waits for the next line with a query. Waits for ever if stdin has ended.
    ///
    /// *Cancellation:* dropping the future loses no line.
    pub(super) async fn query(&mut self) -> SecretString {
        loop {
            let Some(line) = self.0.recv().await else {
                return std::future::pending().await;
            };
            if let Some(query) = query_of(line.expose_secret()) {
                return query.into();
            }
        }
    }
}

fn read_lines(lines: &mpsc::Sender<SecretString>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        if !read.is_ok_and(|bytes| bytes > 0) {
            return;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        if lines.blocking_send(line.into()).is_err() {
            return;
        }
    }
}

/// Returns the query of a pasted address. The address before it is not compared: a browser may show
/// another spelling, and `state` proves that the redirect belongs to this sign-in.
fn query_of(line: &str) -> Option<&str> {
    let line = line.trim().trim_matches(['"', '\'', '<', '>']);
    match line.split_once('?') {
        Some((_, query)) => Some(query),
        None if line.contains("code=") || line.contains("error=") => Some(line),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_pasted_address() {
        for (line, query) in [
            (
                "http://127.0.0.1:4000/callback?code=a&state=b\n",
                Some("code=a&state=b"),
            ),
            (
                "  \"http://localhost/callback?code=a&state=b\"\r\n",
                Some("code=a&state=b"),
            ),
            ("code=a&state=b", Some("code=a&state=b")),
            (
                "error=access_denied&state=b",
                Some("error=access_denied&state=b"),
            ),
            ("", None),
            ("yes", None),
        ] {
            assert_eq!(query_of(line), query, "{line}");
        }
    }
}
