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

impl Said {
    /// Tells it, before anything else is done.
    ///
    /// # Panics
    ///
    /// If nobody listens any more.
    pub fn tell(&self) {
        let mut line = serde_json::to_string(self).expect("words are JSON");
        line.push('\n');
        // One write for each line, so that lines of several threads do not mix.
        let mut out = std::io::stdout().lock();
        let told = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        told.expect("somebody listens");
    }
}
