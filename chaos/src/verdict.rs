//! The counts and breaches of a storm.

use serde::Serialize;

/// The counts of one storm and the breaches found in it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The kind of the store.
    pub store: String,
    /// The profile of the issuer.
    pub profile: String,
    /// Processes killed.
    pub kills: u64,
    /// Processes stopped for a while.
    pub stops: u64,
    /// Requests answered with 200.
    pub answered: u64,
    /// Calls that ended without a token.
    pub without: u64,
    /// Flights that began.
    pub flights: u64,
    /// Token sets that the issuer sent.
    pub refreshes: u64,
    /// Tokens adopted from another process.
    pub adopted: u64,
    /// Flights with an uncertain outcome.
    pub uncertain: u64,
    /// Flights that gave up because another process held the lease.
    pub busy: u64,
    /// Refresh tokens presented again because the profile allows it.
    pub again: u64,
    /// Refresh tokens presented again as the last resort.
    pub last_resorts: u64,
    /// Reuse alarms at the issuer.
    pub alarms: u64,
    /// Reuse alarms in a grant without an announced last resort.
    pub unannounced: u64,
    /// Sessions lost.
    pub lost: u64,
    /// Descriptions of breaches. Empty if all bars hold.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Returns true if all bars hold: no breach, and no lost session that the issuer's rules allowed
    /// to live.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }
}
