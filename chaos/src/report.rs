//! Reports of workers: one line of JSON each, written before the worker does what the line says.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

/// A report of a worker. It holds no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The worker has started.
    Up,
    /// A flight began.
    Flight,
    /// The worker writes this intent.
    Intent {
        /// The name of the intent.
        id: String,
        /// How often the refresh token was presented under it.
        attempts: u32,
        /// The name of its outcome.
        outcome: String,
    },
    /// The last intent was not written, because another process wrote the record first.
    IntentLost,
    /// The worker is about to ask the issuer.
    Asking,
    /// A flight got a token from the issuer.
    Refreshed,
    /// A flight adopted a token that another process had refreshed.
    Adopted,
    /// The worker presents a refresh token again.
    PresentedAgain {
        /// No other way is left, and the issuer may treat it as reuse.
        last_resort: bool,
    },
    /// A flight failed.
    Failed {
        /// The kind of failure.
        kind: String,
        /// The message of the error.
        error: String,
    },
    /// The session has ended.
    Ended,
    /// The session was signed out.
    SignedOut,
    /// A save has failed.
    Unsaved,
    /// A call has ended.
    Answered {
        /// The API answered 200.
        good: bool,
        /// The reason, if there was no token.
        without: Option<String>,
        /// The duration of the call in milliseconds.
        millis: u64,
    },
    /// The worker has a token that the API accepts, and ends.
    Token {
        /// Microseconds from the start of `work` to the token.
        micros: u64,
    },
    /// The worker gives up, and ends.
    GaveUp {
        /// The message of the last error.
        error: String,
    },
}

/// A report with its time: microseconds of the monotonic clock, which all processes share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) report: Report,
}

/// The time of the monotonic clock in microseconds.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

impl Report {
    /// Writes the report to standard output, and returns after it was written.
    ///
    /// # Panics
    ///
    /// If standard output is closed.
    pub fn send(self) {
        let line = Line {
            at: now(),
            report: self,
        };
        let mut line = serde_json::to_string(&line).expect("a report is JSON");
        line.push('\n');
        // One write for each line, so that lines of several threads do not mix.
        let mut out = std::io::stdout().lock();
        let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        written.expect("the reader is open");
    }
}
