//! What workers tell, one line of JSON each, before they do what it says.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

/// A line from a worker. No token is ever in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It is up.
    Up,
    /// A flight began.
    Flight,
    /// It writes this intent: its name, how often the token was presented, and its outcome.
    Intent {
        /// Its name.
        id: String,
        /// How often.
        attempts: u32,
        /// In a word.
        outcome: String,
    },
    /// Its last intent was not written: somebody else has written the record before.
    IntentLost,
    /// It is about to ask the issuer.
    Asking,
    /// A refresh brought a token.
    Refreshed,
    /// A flight found another's token.
    Adopted,
    /// A refresh token is presented again.
    PresentedAgain {
        /// Though the issuer may take it for a theft.
        last_resort: bool,
    },
    /// A flight failed.
    Failed {
        /// In a word: what kind.
        kind: String,
        /// In words.
        error: String,
    },
    /// The session has ended.
    Ended,
    /// Nobody is signed in.
    SignedOut,
    /// A save failed.
    Unsaved,
    /// A call was answered.
    Answered {
        /// By the API with 200.
        good: bool,
        /// Without a token: why, in a word.
        without: Option<String>,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// It had a working token after so many microseconds, and ends.
    Token {
        /// Counted inside the library.
        micros: u64,
    },
    /// It gives up, and ends.
    GaveUp {
        /// Why.
        error: String,
    },
}

/// A line, with the moment it was told: microseconds of the clock that all processes share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) said: Said,
}

/// Now, by the clock that all processes share.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

impl Said {
    /// Tells it, before anything else is done.
    ///
    /// # Panics
    ///
    /// If nobody listens any more.
    pub fn tell(self) {
        let line = Line {
            at: now(),
            said: self,
        };
        let mut line = serde_json::to_string(&line).expect("words are JSON");
        line.push('\n');
        // One write for each line, so that lines of several threads do not mix.
        let mut out = std::io::stdout().lock();
        let told = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        told.expect("somebody listens");
    }
}
