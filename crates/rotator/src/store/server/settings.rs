//! The settings of every store on a server.

use std::time::Duration;

/// The longest life of a lease. After a crash of its holder, no process refreshes until it runs out.
const LEASE_LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The life of a lease and the timeout of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a lease holds unless it is renewed. Default: 40 s.
    pub lease_life: Duration,
    /// How long one call to the server may take, including the connection.
    pub operation_timeout: Duration,
}

/// The error for a duration that contradicts another setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} of {value:?} {problem}")]
pub struct SettingError {
    /// The builder's method.
    pub setting: &'static str,
    /// The value of the setting.
    pub value: Duration,
    /// What is wrong with the value.
    pub problem: &'static str,
    /// The action for this problem.
    pub hint: &'static str,
}

impl Timing {
    /// The default life of a lease, and this operation timeout.
    pub const fn new(operation_timeout: Duration) -> Self {
        Self {
            lease_life: Duration::from_secs(40),
            operation_timeout,
        }
    }

    /// Checks that a lease outlives a call, and that neither is out of range.
    pub fn check(self) -> Result<(), SettingError> {
        let (limit, life) = (self.operation_timeout, self.lease_life);
        let (setting, value, problem, hint) = if limit.is_zero() {
            let problem = "leaves no time for a call";
            ("operation_timeout", limit, problem, "raise it")
        } else if life <= limit {
            let problem = "is not more than `operation_timeout`: a lease might run out before the \
                           server's answer arrives";
            let hint = "raise `lease_life`, or lower `operation_timeout`";
            ("lease_life", life, problem, hint)
        } else if life > LEASE_LIFE_MAX {
            let problem = "would keep every process from refreshing for more than a day after a \
                           crash";
            ("lease_life", life, problem, "lower it")
        } else {
            return Ok(());
        };
        Err(SettingError {
            setting,
            value,
            problem,
            hint,
        })
    }
}
