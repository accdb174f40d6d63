//! One entry of a history.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use token_rotator::{Event, ExposeSecret as _, FailureKind, Purpose, RefreshError, SecretString};

/// An event, its time and the process that wrote it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// The time of the event.
    pub(crate) at: Timestamp,
    /// The id of the process.
    pub(crate) process: u32,
    /// The command that the process ran.
    pub(crate) command: String,
    /// The event.
    #[serde(flatten)]
    pub(crate) event: HistoryEvent,
    /// The fingerprint of the new access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// An event in the life of a session.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum HistoryEvent {
    SignedIn,
    SignedOut,
    Refreshed {
        because: Reason,
        took_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        lifetime_s: Option<u64>,
    },
    /// This process took over a token that another process had refreshed.
    Adopted,
    RefreshFailed {
        because: Reason,
        error: String,
        /// How long no refresh is tried again, in milliseconds.
        cool_down_ms: u64,
        /// The kind of the failure. `None` in entries of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<FailureLabel>,
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
    /// The issuer reports that the refresh token was used twice.
    ReuseDetected {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// The issuer refused several refreshes without a reason.
    RefusedWithoutReason {
        error: String,
    },
    /// The issuer answered with the tokens of another user, which were dropped.
    AnotherUser,
    /// The store held an older record than this process has seen.
    OlderRecord {
        found: u64,
        seen: u64,
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

/// The kind of a failed refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureLabel {
    NotSent,
    Transient,
    Uncertain,
    Terminal,
    Misconfigured,
}

impl FailureLabel {
    fn of(kind: FailureKind) -> Option<Self> {
        Some(match kind {
            FailureKind::NotSent => Self::NotSent,
            FailureKind::Transient => Self::Transient,
            FailureKind::Uncertain => Self::Uncertain,
            FailureKind::Terminal => Self::Terminal,
            FailureKind::Misconfigured => Self::Misconfigured,
            _ => return None,
        })
    }
}

/// Why a refresh began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// There was no valid token.
    Needed,
    /// The token would have expired soon.
    Early,
    /// An API refused the token.
    Refused,
    /// A user asked for a refresh, for example with `--refresh`.
    Forced,
}

impl HistoryEvent {
    /// Converts an event of a rotator. Returns `None` for events that the history omits.
    ///
    /// `purpose` returns why a flight began.
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
            // Every command starts by adopting the stored token as its first generation.
            Event::Adopted { generation, .. } if *generation > 1 => Self::Adopted,
            // The process whose refresh failed has written it, and `status` shows it from the record.
            Event::RefreshFailed {
                error: RefreshError::Shared { .. },
                ..
            } => return None,
            Event::RefusedWithoutReason { error } => Self::RefusedWithoutReason {
                error: error.to_string(),
            },
            Event::AnotherSubject { .. } => Self::AnotherUser,
            Event::OlderRecord { found, seen } => Self::OlderRecord {
                found: *found,
                seen: *seen,
            },
            Event::RefreshFailed {
                flight,
                error,
                cool_down,
            } => Self::RefreshFailed {
                because: because(flight),
                error: error.to_string(),
                cool_down_ms: millis(*cool_down),
                kind: FailureLabel::of(error.kind()),
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

    /// Returns whether the event is a failure.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::RefreshFailed { .. }
            | Self::Ended { .. }
            | Self::ReuseDetected { .. }
            | Self::RefusedWithoutReason { .. }
            | Self::AnotherUser
            | Self::SaveFailed { .. } => true,
            Self::Revoked { error, .. } => error.is_some(),
            _ => false,
        }
    }

    /// Returns the name of the event for the table.
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
            Self::RefusedWithoutReason { .. } => "refused",
            Self::AnotherUser => "ANOTHER USER",
            Self::OlderRecord { .. } => "older record",
            Self::Revoked { .. } => "revoked",
            Self::SaveFailed { .. } => "save failed",
            Self::SaveRecovered { .. } => "save recovered",
        }
    }

    /// Returns the details of the event for the table.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::SignedIn | Self::SignedOut | Self::Adopted => String::new(),
            Self::Refreshed {
                because,
                took_ms,
                lifetime_s,
            } => {
                let lifetime = lifetime_s.map(|seconds| format!(", valid for {seconds} s"));
                format!(
                    "{}, in {took_ms} ms{}",
                    because.label(),
                    lifetime.unwrap_or_default()
                )
            }
            Self::RefreshFailed { error, .. }
            | Self::Ended { error, .. }
            | Self::ReuseDetected { error, .. }
            | Self::RefusedWithoutReason { error }
            | Self::SaveFailed { error, .. } => error.clone(),
            Self::AnotherUser => {
                "the issuer answered with the tokens of another user, which were dropped".to_owned()
            }
            Self::OlderRecord { found, seen } => format!(
                "the store held revision {found} after {seen}: was it restored from a backup?"
            ),
            Self::PresentedAgain { last_resort: true } => "as the last resort".to_owned(),
            Self::PresentedAgain { last_resort: false } => "as the issuer allows".to_owned(),
            Self::Revoked { error, .. } => error.clone().unwrap_or_default(),
            Self::SaveRecovered { attempts } => format!("after {attempts} failures"),
        }
    }

    /// Returns the action for the cause, or `None` if nothing failed or the cause has no hint.
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

    /// Returns whether the event brought a new access token.
    pub(super) fn has_new_token(&self) -> bool {
        matches!(
            self,
            Self::SignedIn | Self::Refreshed { .. } | Self::Adopted
        )
    }
}

impl Reason {
    fn label(self) -> &'static str {
        match self {
            Self::Needed => "there was no valid token",
            Self::Early => "the token would have expired soon",
            Self::Refused => "the token was refused",
            Self::Forced => "a refresh was requested",
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
    /// Creates an entry for an event of this process, at the current time.
    pub(crate) fn now(command: &str, event: HistoryEvent, token: Option<String>) -> Self {
        Self {
            at: Timestamp::now(),
            process: std::process::id(),
            command: command.to_owned(),
            event,
            token,
        }
    }
}

/// Returns the first twelve digits of the token's SHA-256. They identify the token without revealing it.
pub(crate) fn token_fingerprint(token: &SecretString) -> String {
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

    use token_rotator::store::{StoreError, StoreErrorKind};
    use token_rotator::{RefreshError, SourceError};

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
            let entry = HistoryEvent::of(&event, |_| None).expect("an entry");
            assert_eq!(entry.hint(), hint, "{event:?}");
            let json = serde_json::to_string(&entry).expect("JSON");
            let read: HistoryEvent = serde_json::from_str(&json).expect("the same");
            assert_eq!(read, entry);
        }
        let old = r#"{"event":"ended","error":"no"}"#;
        let old: HistoryEvent = serde_json::from_str(old).expect("an entry of a previous version");
        assert_eq!(old.hint(), None);
    }
}
