//! Events and answers in plain numbers, as `scenarios/README.md` describes them.

use serde::{Deserialize, Serialize};
use token_rotator_core::{Access, Ending, Number, Policy, Purpose};

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

/// A token, and what `Policy::validity` is told of it.
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

    pub(crate) fn policy<N: Plain>(&self) -> Policy<N> {
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
                *field = N::from_plain(here);
            }
        }
        policy
    }
}

/// A number of the core, and the plain one it stands for.
pub(crate) trait Plain: Number {
    /// Panics where it does not fit: the history is too wide for this number.
    fn from_plain(plain: u64) -> Self;
    /// `None` for what never comes.
    fn plain(self) -> Option<u64>;
}

impl Plain for u64 {
    fn from_plain(plain: u64) -> Self {
        plain
    }

    fn plain(self) -> Option<u64> {
        (self < Self::MAX).then_some(self)
    }
}

impl Plain for u32 {
    fn from_plain(plain: u64) -> Self {
        Self::try_from(plain).expect("a number that fits 32 bits")
    }

    fn plain(self) -> Option<u64> {
        (self < Self::MAX).then_some(u64::from(self))
    }
}

impl Plain for f64 {
    fn from_plain(plain: u64) -> Self {
        assert!(plain < 1 << 53, "a number that JavaScript can hold");
        plain as Self
    }

    #[allow(clippy::cast_sign_loss, clippy::float_cmp)] // Exactly that is what is asserted.
    fn plain(self) -> Option<u64> {
        if self == Self::INFINITY {
            return None;
        }
        let plain = self as u64;
        assert_eq!(plain as Self, self, "a whole number");
        Some(plain)
    }
}
