//! What came of a storm.

use serde::Serialize;

/// What was counted in one storm, and what was found wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The store's kind.
    pub store: String,
    /// The issuer's profile.
    pub profile: String,
    /// Processes killed.
    pub kills: u64,
    /// Processes stopped for a while.
    pub stops: u64,
    /// Requests answered with 200.
    pub answered: u64,
    /// Calls that had no token.
    pub without: u64,
    /// Flights begun.
    pub flights: u64,
    /// Refreshes that the issuer granted.
    pub refreshes: u64,
    /// Tokens adopted from another process.
    pub adopted: u64,
    /// Flights that ended as uncertain.
    pub uncertain: u64,
    /// Waits for a lease that somebody else kept.
    pub busy: u64,
    /// Refresh tokens presented again as the profile allows.
    pub again: u64,
    /// Refresh tokens presented again because nothing else was left.
    pub last_resorts: u64,
    /// Reuse alarms at the issuer.
    pub alarms: u64,
    /// Alarms in a grant in which no last resort had been announced.
    pub unannounced: u64,
    /// Sessions lost.
    pub lost: u64,
    /// What must never be: in words.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Whether all bars hold: nothing wrong, and nothing lost that the issuer's rules would have
    /// let live.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }
}
