//! Events and answers in plain numbers, as `scenarios/README.md` describes them.

use serde::{Deserialize, Serialize};
use token_rotator_core::{Access, Attempt, Ending, NEVER, Policy, Purpose};

/// Something that happens to a session, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    #[serde(flatten)]
    pub(crate) action: Action,
    /// Wall clock and steady clock.
    pub(crate) at: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Action {
    Acquire,
    Refused {
        epoch: u64,
        generation: u64,
        #[serde(flatten)]
        sent: Sent,
    },
    Accepted {
        epoch: u64,
        generation: u64,
        #[serde(flatten)]
        sent: Sent,
    },
    Settle {
        flight: u64,
    },
    Force,
    Refreshed {
        flight: u64,
        #[serde(flatten)]
        token: Token,
    },
    Adopted {
        flight: u64,
        #[serde(flatten)]
        token: Token,
    },
    Failed {
        flight: u64,
        #[serde(flatten)]
        failure: Failed,
    },
    Yielded {
        flight: u64,
    },
    Overdue,
    Update {
        #[serde(flatten)]
        token: Token,
    },
    SignIn {
        #[serde(flatten)]
        token: Token,
    },
    SignOut,
}

impl Action {
    /// The token that this brings.
    pub(crate) fn token(&self) -> Option<Token> {
        match *self {
            Self::Refreshed { token, .. }
            | Self::Adopted { token, .. }
            | Self::Update { token }
            | Self::SignIn { token } => Some(token),
            _ => None,
        }
    }
}

/// Where a request was sent, and whether it was a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Zero: the driver names no endpoint.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) endpoint: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) replay: bool,
}

impl Sent {
    pub(crate) fn attempt(self) -> Attempt {
        Attempt {
            endpoint: self.endpoint,
            replay: self.replay,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A token, and the arguments of `Policy::validity` for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Token {
    #[serde(rename = "token")]
    pub(crate) number: u64,
    #[serde(default)]
    pub(crate) lifetime: Option<u64>,
    /// By the wall clock; `None`: at the time of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) received: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jitter: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) error: u64,
    #[serde(with = "EndingName")]
    pub(crate) ending: Ending,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jitter: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ending", rename_all = "snake_case")]
enum EndingName {
    Transient,
    Uncertain,
    Misconfigured,
    Terminal,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Purpose", rename_all = "snake_case")]
#[non_exhaustive]
enum PurposeName {
    First,
    Early,
    Expired,
    Refused,
    Forced,
    Look,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Access", rename_all = "snake_case")]
enum AccessName {
    Anonymous,
    Required,
}

/// What an event is answered with: a step, a landing, a stamp or a yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Answer {
    Bare {
        #[serde(flatten)]
        stamp: At,
    },
    Use {
        token: u64,
        #[serde(flatten)]
        stamp: At,
    },
    UseAndRefresh {
        token: u64,
        #[serde(flatten)]
        started: Started,
    },
    Refresh {
        #[serde(flatten)]
        started: Started,
    },
    Wait {
        flight: u64,
    },
    HandBack,
    Changed,
    Overdue,
    Fail {
        error: u64,
    },
    RefusedAgain,
    Installed {
        #[serde(flatten)]
        stamp: At,
    },
    Cooling {
        until: u64,
    },
    Ended,
    Stale,
    Yes,
    No,
    Noted,
}

/// A stamp.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct At {
    pub(crate) epoch: u64,
    pub(crate) generation: u64,
}

/// A flight that begins, with the stamp it begins in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Started {
    #[serde(flatten)]
    pub(crate) stamp: At,
    pub(crate) flight: u64,
    #[serde(with = "PurposeName")]
    pub(crate) purpose: Purpose,
}

/// What may be served without asking; `until: None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Served {
    pub(crate) generation: u64,
    pub(crate) until: Option<u64>,
    #[serde(skip)]
    pub(crate) token: u64,
}

impl Answer {
    /// The flight that this answer starts.
    pub(crate) fn started(&self) -> Option<Started> {
        match *self {
            Self::UseAndRefresh { started, .. } | Self::Refresh { started } => Some(started),
            _ => None,
        }
    }

    /// The token that this answer hands out, with the stamp of requests that carry it.
    pub(crate) fn token(&self) -> Option<(u64, At)> {
        match *self {
            Self::Use { token, stamp } => Some((token, stamp)),
            Self::UseAndRefresh { token, started } => Some((token, started.stamp)),
            _ => None,
        }
    }
}

/// The policy of a history: the defaults, but for what is named here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    #[serde(with = "AccessName")]
    pub(crate) access: Access,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) margin: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) early_interval: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flight_deadline: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cool_down: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cool_down_max: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_max: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fresh: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fresh_max: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lifetime_max: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) look_interval: Option<u64>,
}

impl Rules {
    pub(crate) fn default_for(access: Access) -> Self {
        Self {
            access,
            margin: None,
            early_interval: None,
            flight_deadline: None,
            cool_down: None,
            cool_down_max: None,
            retry_after_max: None,
            fresh: None,
            fresh_max: None,
            lifetime_max: None,
            look_interval: None,
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        let mut policy = match self.access {
            Access::Anonymous => Policy::anonymous(),
            Access::Required => Policy::required(),
        };
        for (field, here) in [
            (&mut policy.margin, self.margin),
            (&mut policy.early_interval, self.early_interval),
            (&mut policy.flight_deadline, self.flight_deadline),
            (&mut policy.cool_down, self.cool_down),
            (&mut policy.cool_down_max, self.cool_down_max),
            (&mut policy.retry_after_max, self.retry_after_max),
            (&mut policy.fresh, self.fresh),
            (&mut policy.fresh_max, self.fresh_max),
            (&mut policy.lifetime_max, self.lifetime_max),
            (&mut policy.look_interval, self.look_interval),
        ] {
            if let Some(here) = here {
                *field = number(here);
            }
        }
        policy
    }
}

/// The policy in integers, for the tests' own arithmetic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) access: Access,
    pub(crate) margin: u64,
    pub(crate) early_interval: u64,
    pub(crate) flight_deadline: u64,
    pub(crate) cool_down: u64,
    pub(crate) cool_down_max: u64,
    pub(crate) retry_after_max: u64,
    pub(crate) fresh: u64,
    pub(crate) fresh_max: u64,
    pub(crate) lifetime_max: u64,
    /// `u64::MAX`: never.
    pub(crate) look_interval: u64,
}

/// A validity in integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Life {
    pub(crate) expires_at: Option<u64>,
    pub(crate) refresh_at: Option<u64>,
    pub(crate) lifetime: Option<u64>,
}

impl Times {
    pub(crate) fn of(policy: &Policy) -> Self {
        let whole = |number| plain(number).unwrap_or(u64::MAX);
        Self {
            access: policy.access,
            margin: whole(policy.margin),
            early_interval: whole(policy.early_interval),
            flight_deadline: whole(policy.flight_deadline),
            cool_down: whole(policy.cool_down),
            cool_down_max: whole(policy.cool_down_max),
            retry_after_max: whole(policy.retry_after_max),
            fresh: whole(policy.fresh),
            fresh_max: whole(policy.fresh_max),
            lifetime_max: whole(policy.lifetime_max),
            look_interval: whole(policy.look_interval),
        }
    }

    /// How long a token is good that was received at this time.
    pub(crate) fn validity(&self, received: u64, lifetime: Option<u64>, jitter: u32) -> Life {
        let Some(lifetime) = lifetime.filter(|lifetime| *lifetime > 0) else {
            return Life {
                expires_at: None,
                refresh_at: None,
                lifetime: None,
            };
        };
        let lifetime = lifetime.min(self.lifetime_max);
        let margin = self.margin.min(lifetime / 4);
        let sooner = margin + margin * u64::from(jitter) / 1_000;
        Life {
            expires_at: Some(received + lifetime),
            refresh_at: Some((received + lifetime).saturating_sub(sooner)),
            lifetime: Some(lifetime),
        }
    }
}

/// A number of a scenario. Panics if JavaScript cannot hold it.
pub(crate) fn number(plain: u64) -> u64 {
    assert!(plain < 1 << 53, "a number that JavaScript can hold");
    plain
}

/// The number for a scenario; `None` for [`NEVER`].
pub(crate) fn plain(number: u64) -> Option<u64> {
    (number != NEVER).then_some(number)
}
