//! One line of a history.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use token_rotator::{Event, ExposeSecret as _, Purpose, SecretString};

/// What happened, when, and by whom.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// When.
    pub(crate) at: Timestamp,
    /// The process.
    pub(crate) process: u32,
    /// The command it ran.
    pub(crate) command: String,
    /// What.
    #[serde(flatten)]
    pub(crate) happening: Happening,
    /// The beginning of the hash of the access token that came with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Happening {
    SignedIn,
    SignedOut,
    Refreshed {
        because: Reason,
        took_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        lifetime_s: Option<u64>,
    },
    /// Another process had refreshed it.
    Adopted,
    RefreshFailed {
        because: Reason,
        error: String,
        /// How long nothing is tried again.
        cool_down_ms: u64,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// A refresh token that may be spent was presented again.
    PresentedAgain {
        last_resort: bool,
    },
    /// The issuer will not refresh the session again.
    Ended {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// The issuer says that somebody else used the refresh token.
    ReuseDetected {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    Revoked {
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    SaveFailed {
        error: String,
        attempts: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    SaveRecovered {
        attempts: u32,
    },
}

/// Why a refresh began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// There was no token that is good.
    Needed,
    /// It would have expired soon.
    Early,
    /// An API refused it.
    Refused,
    /// Somebody wanted it.
    Forced,
}

impl Happening {
    /// What an event means for the history; `None`: nothing. `purpose` knows why a flight began.
    pub(super) fn of(event: &Event, purpose: impl Fn(&u64) -> Option<Purpose>) -> Option<Self> {
        let because = |flight: &u64| purpose(flight).map_or(Reason::Needed, Reason::of);
        let owned = |hint: Option<&str>| hint.map(str::to_owned);
        Some(match event {
            Event::SignedIn { .. } => Self::SignedIn,
            Event::SignedOut => Self::SignedOut,
            Event::Refreshed {
                flight,
                lifetime,
                took,
                ..
            } => Self::Refreshed {
                because: because(flight),
                took_ms: millis(*took),
                lifetime_s: lifetime.map(|lifetime| lifetime.as_secs()),
            },
            // The first one is what every command begins with.
            Event::Adopted { generation, .. } if *generation > 1 => Self::Adopted,
            Event::RefreshFailed {
                flight,
                error,
                cool_down,
            } => Self::RefreshFailed {
                because: because(flight),
                error: error.to_string(),
                cool_down_ms: millis(*cool_down),
                hint: owned(error.hint()),
            },
            Event::PresentedAgain { last_resort, .. } => Self::PresentedAgain {
                last_resort: *last_resort,
            },
            Event::Ended { error } => Self::Ended {
                error: error.to_string(),
                hint: owned(error.hint()),
            },
            Event::ReuseDetected { error } => Self::ReuseDetected {
                error: error.to_string(),
                hint: owned(error.hint()),
            },
            Event::Revoked { error } => Self::Revoked {
                error: error.as_ref().map(ToString::to_string),
                hint: error.as_ref().and_then(|error| owned(error.hint())),
            },
            Event::SaveFailed { error, attempts } => Self::SaveFailed {
                error: error.to_string(),
                attempts: *attempts,
                hint: owned(error.hint()),
            },
            Event::SaveRecovered { attempts } => Self::SaveRecovered {
                attempts: *attempts,
            },
            _ => return None,
        })
    }

    /// Whether something went wrong.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::RefreshFailed { .. }
            | Self::Ended { .. }
            | Self::ReuseDetected { .. }
            | Self::SaveFailed { .. } => true,
            Self::Revoked { error, .. } => error.is_some(),
            _ => false,
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::SignedIn => "signed in",
            Self::SignedOut => "signed out",
            Self::Refreshed { .. } => "refreshed",
            Self::Adopted => "adopted",
            Self::RefreshFailed { .. } => "refresh failed",
            Self::PresentedAgain { .. } => "presented again",
            Self::Ended { .. } => "ended",
            Self::ReuseDetected { .. } => "REUSE DETECTED",
            Self::Revoked { .. } => "revoked",
            Self::SaveFailed { .. } => "save failed",
            Self::SaveRecovered { .. } => "save recovered",
        }
    }

    /// What else is known of it.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::SignedIn | Self::SignedOut | Self::Adopted => String::new(),
            Self::Refreshed {
                because,
                took_ms,
                lifetime_s,
            } => {
                let good = lifetime_s.map(|seconds| format!(", good for {seconds} s"));
                format!(
                    "{}, in {took_ms} ms{}",
                    because.words(),
                    good.unwrap_or_default()
                )
            }
            Self::RefreshFailed { error, .. }
            | Self::Ended { error, .. }
            | Self::ReuseDetected { error, .. }
            | Self::SaveFailed { error, .. } => error.clone(),
            Self::PresentedAgain { last_resort: true } => "as the last resort".to_owned(),
            Self::PresentedAgain { last_resort: false } => "as the issuer allows".to_owned(),
            Self::Revoked { error, .. } => error.clone().unwrap_or_default(),
            Self::SaveRecovered { attempts } => format!("after {attempts} failures"),
        }
    }

    /// What to do about it. Returns `None` where nothing went wrong, or where the cause does not tell.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::RefreshFailed { hint, .. }
            | Self::Ended { hint, .. }
            | Self::ReuseDetected { hint, .. }
            | Self::Revoked { hint, .. }
            | Self::SaveFailed { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }

    /// Whether a new access token came with it.
    pub(super) fn brings_token(&self) -> bool {
        matches!(
            self,
            Self::SignedIn | Self::Refreshed { .. } | Self::Adopted
        )
    }
}

impl Reason {
    fn words(self) -> &'static str {
        match self {
            Self::Needed => "no good token was left",
            Self::Early => "it would have expired soon",
            Self::Refused => "it was refused",
            Self::Forced => "somebody asked for it",
        }
    }

    fn of(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Early => Self::Early,
            Purpose::Refused => Self::Refused,
            Purpose::Forced => Self::Forced,
            _ => Self::Needed,
        }
    }
}

impl Entry {
    /// It happens now, in this process.
    pub(crate) fn now(command: &str, happening: Happening, token: Option<String>) -> Self {
        Self {
            at: Timestamp::now(),
            process: std::process::id(),
            command: command.to_owned(),
            happening,
            token,
        }
    }
}

/// Tells tokens apart without giving one away: the first twelve digits of a hash.
pub(crate) fn token_mark(token: &SecretString) -> String {
    let hash = Sha256::digest(token.expose_secret());
    hash[..6].iter().fold(String::new(), |mut mark, byte| {
        // Writing to a string cannot fail.
        let _ = write!(mark, "{byte:02x}");
        mark
    })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use token_rotator::{RefreshError, SourceError, StoreError, StoreErrorKind};

    use super::*;

    /// Property: the history keeps the hint of the error, and reads entries that have none.
    #[test]
    fn a_failure_keeps_its_hint() {
        let source = SourceError::transient("no").with_hint("try again");
        let store = StoreError::new(StoreErrorKind::Refused, "full").with_hint("make room");
        let none = SourceError::uncertain("lost");
        for (event, hint) in [
            (
                Event::RefreshFailed {
                    flight: 1,
                    error: RefreshError::Source(source.clone()),
                    cool_down: Duration::ZERO,
                },
                Some("try again"),
            ),
            (
                Event::RefreshFailed {
                    flight: 1,
                    error: RefreshError::Source(none),
                    cool_down: Duration::ZERO,
                },
                None,
            ),
            (
                Event::Ended {
                    error: RefreshError::Refused,
                },
                Some("sign in"),
            ),
            (
                Event::SaveFailed {
                    error: store,
                    attempts: 1,
                },
                Some("make room"),
            ),
            (Event::SignedOut, None),
        ] {
            let happening = Happening::of(&event, |_| None).expect("an entry");
            assert_eq!(happening.hint(), hint, "{event:?}");
            let json = serde_json::to_string(&happening).expect("JSON");
            let read: Happening = serde_json::from_str(&json).expect("the same");
            assert_eq!(read, happening);
        }
        let old = r#"{"event":"ended","error":"no"}"#;
        let old: Happening = serde_json::from_str(old).expect("an entry of an older program");
        assert_eq!(old.hint(), None);
    }
}
