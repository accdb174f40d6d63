//! The job of a worker. The environment of its process carries it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use token_rotator::Profile;
use token_rotator_testkit::RefreshPolicy;

use crate::steps::DieAt;
use crate::store::StoreAddress;

/// The job of a worker and all its settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The store of the session.
    pub address: StoreAddress,
    /// The name of the session.
    pub session: String,
    /// The token endpoint.
    pub token_url: String,
    /// The revocation endpoint.
    pub revocation_url: String,
    /// The client id.
    pub client_id: String,
    /// The base address of the API.
    pub api_url: String,
    /// The profile of the issuer.
    pub profile: ProfileName,
    /// The limits of the rotator.
    pub timing: Timing,
    /// The job.
    pub job: Job,
    /// The step at which the worker kills itself.
    pub die_at: Option<DieAt>,
}

/// The job of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Sends requests until it is killed.
    Requests,
    /// Tries to get one token that the API accepts, and ends.
    OneToken,
    /// Gets one token, measures the time, and ends.
    TimedToken,
}

/// The issuer profiles of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileName {
    /// Single use. A second use revokes the grant.
    Strict,
    /// The previous refresh token is accepted for ten seconds.
    Leeway,
    /// The parent of the newest refresh token is always accepted.
    ParentAlways,
    /// Every refresh token may be used many times.
    MultiUse,
}

/// The grace period of [`ProfileName::Leeway`].
const LEEWAY: Duration = Duration::from_secs(10);

impl ProfileName {
    /// All profiles.
    pub const ALL: [Self; 4] = [
        Self::Strict,
        Self::Leeway,
        Self::ParentAlways,
        Self::MultiUse,
    ];

    /// The setting of the rotator.
    pub fn profile(self) -> Profile {
        match self {
            Self::Strict => Profile::strict(),
            Self::Leeway => Profile::leeway(LEEWAY),
            Self::ParentAlways => Profile::parent_always(),
            Self::MultiUse => Profile::multi_use(),
        }
    }

    /// The setting of the issuer.
    pub fn policy(self) -> RefreshPolicy {
        match self {
            Self::Strict => RefreshPolicy::SingleUse,
            Self::Leeway => RefreshPolicy::Leeway(LEEWAY),
            Self::ParentAlways => RefreshPolicy::ParentAlways,
            Self::MultiUse => RefreshPolicy::MultiUse,
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Leeway => "leeway",
            Self::ParentAlways => "parent-always",
            Self::MultiUse => "multi-use",
        }
    }
}

/// Limits in milliseconds. They are much shorter than the defaults, so that a run of seconds reaches
/// every limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// The life of a lease at a server.
    pub lease_life: u64,
    /// The wait of a flight for the lease.
    pub lease_wait: u64,
    /// The timeout of one request to the issuer.
    pub source: u64,
    /// The wait of a caller.
    pub wait: u64,
}

impl Timing {
    /// For storms of a few seconds.
    pub const QUICK: Self = Self {
        lease_life: 2_500,
        lease_wait: 2_000,
        source: 700,
        wait: 4_000,
    };

    /// For two processes in turn, of which the second waits for the lease of the first.
    pub const SHORT: Self = Self {
        lease_life: 1_000,
        lease_wait: 2_000,
        source: 700,
        wait: 4_000,
    };

    /// For many processes at once on few cores: near the defaults.
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
