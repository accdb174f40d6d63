//! What a worker is to do, as it is told through its environment.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use token_rotator::Profile;
use token_rotator_testkit::RefreshPolicy;

use crate::ground::Place;
use crate::steps::DieAt;

/// Everything a worker needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Where the session is kept.
    pub place: Place,
    /// The session's name.
    pub session: String,
    /// Where tokens are refreshed.
    pub token_url: String,
    /// Where they are revoked.
    pub revocation_url: String,
    /// For which client.
    pub client_id: String,
    /// Where requests go.
    pub api_url: String,
    /// What the issuer does with used refresh tokens.
    pub profile: ProfileName,
    /// How long things may take.
    pub timing: Timing,
    /// What to do.
    pub job: Job,
    /// Where to die, if anywhere.
    pub die_at: Option<DieAt>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Sends requests until it is killed.
    Requests,
    /// Gets one working token, trying for a while, and ends.
    OneToken,
    /// Gets one token, timed from inside, and ends.
    TimedToken,
}

/// How an issuer treats used refresh tokens, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileName {
    /// Single use; a second one revokes the grant.
    Strict,
    /// Good again for ten seconds.
    Leeway,
    /// The parent of the newest is always good.
    ParentAlways,
    /// Good for ever.
    MultiUse,
}

/// The grace period of [`ProfileName::Leeway`].
const LEEWAY: Duration = Duration::from_secs(10);

impl ProfileName {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Strict,
        Self::Leeway,
        Self::ParentAlways,
        Self::MultiUse,
    ];

    /// As a rotator is told.
    pub fn profile(self) -> Profile {
        match self {
            Self::Strict => Profile::strict(),
            Self::Leeway => Profile::leeway(LEEWAY),
            Self::ParentAlways => Profile::parent_always(),
            Self::MultiUse => Profile::multi_use(),
        }
    }

    /// As an issuer is told.
    pub fn policy(self) -> RefreshPolicy {
        match self {
            Self::Strict => RefreshPolicy::SingleUse,
            Self::Leeway => RefreshPolicy::Leeway(LEEWAY),
            Self::ParentAlways => RefreshPolicy::ParentAlways,
            Self::MultiUse => RefreshPolicy::MultiUse,
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Leeway => "leeway",
            Self::ParentAlways => "parent-always",
            Self::MultiUse => "multi-use",
        }
    }
}

/// How long things may take, in milliseconds. Much less than the defaults, so that a run of seconds
/// meets every limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// A lease, where leases run out.
    pub lease_life: u64,
    /// A flight's wait for the lease.
    pub lease_wait: u64,
    /// One request to the issuer.
    pub source: u64,
    /// A caller's wait.
    pub wait: u64,
}

impl Timing {
    /// For runs of seconds.
    pub const QUICK: Self = Self {
        lease_life: 2_500,
        lease_wait: 2_000,
        source: 700,
        wait: 4_000,
    };

    /// For one process after another, where each waits for the lease of the one before.
    pub const SHORT: Self = Self {
        lease_life: 1_000,
        lease_wait: 2_000,
        source: 700,
        wait: 4_000,
    };

    /// For many processes at once on few cores: as in real life.
    pub const PATIENT: Self = Self {
        lease_life: 40_000,
        lease_wait: 20_000,
        source: 15_000,
        wait: 40_000,
    };

    pub(crate) fn of(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
}
