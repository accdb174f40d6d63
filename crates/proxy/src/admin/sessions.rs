//! The sessions as the page shows them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Event, Purpose, RefreshError, Token};

use super::storm::Millis;
use crate::metrics::failure_kind;
use crate::routes::NamedSession;

/// Characters that the page shows of an error message.
const MAX_MESSAGE_CHARS: usize = 300;

/// The activity of a session, from its events.
#[derive(Default)]
pub(crate) struct SessionActivity {
    generation: u64,
    flight: Option<(u64, Millis)>,
    ended: bool,
    refresh: Option<LastRefresh>,
    failure: Option<LastFailure>,
    save: Option<LastFailure>,
}

/// The last refresh with a new token.
struct LastRefresh {
    at: SystemTime,
    /// Duration of the refresh, or `None` if another process refreshed.
    took: Option<Duration>,
}

/// The last failure, until a later attempt succeeds.
struct LastFailure {
    at: SystemTime,
    message: String,
    /// The action for the cause.
    hint: Option<String>,
    /// Time until the next attempt.
    pause: Option<Duration>,
    /// The kind and the host of a failure that another process shares.
    shared: Option<(&'static str, String)>,
}

impl SessionActivity {
    /// Returns the flight in progress and the time when it began.
    pub(crate) fn flight(&self) -> Option<(u64, Millis)> {
        self.flight
    }

    pub(crate) fn record(&mut self, event: &Event, at: Millis, wall: SystemTime) {
        let failure = |error: &dyn std::fmt::Display, hint: Option<&str>, pause| {
            Some(LastFailure {
                at: wall,
                message: shortened(error),
                hint: hint.map(|hint| shortened(&hint)),
                pause,
                shared: None,
            })
        };
        match event {
            Event::SignedIn { generation } => {
                *self = Self {
                    generation: *generation,
                    ..Self::default()
                };
            }
            Event::SignedOut => *self = Self::default(),
            // Two flights report no end: a flight that only reads the store, and a flight of an
            // ended session that does not revive it. The page does not show them as in progress.
            Event::RefreshStarted {
                flight, purpose, ..
            } if !self.ended && *purpose != Purpose::Look => self.flight = Some((*flight, at)),
            Event::Refreshed {
                generation, took, ..
            } => self.refreshed(*generation, Some(*took), wall),
            Event::Adopted { generation, .. } => self.refreshed(*generation, None, wall),
            Event::RefreshFailed {
                error, cool_down, ..
            } => {
                self.flight = None;
                self.failure = failure(error, error.hint(), Some(*cool_down));
                if let RefreshError::Shared {
                    failure: shared, ..
                } = error
                    && let Some(failure) = &mut self.failure
                {
                    failure.shared = Some((failure_kind(shared.kind), shared.host.clone()));
                }
            }
            Event::Ended { error } => {
                self.ended = true;
                self.flight = None;
                self.failure = failure(error, error.hint(), None);
            }
            Event::SaveFailed { error, .. } => self.save = failure(error, error.hint(), None),
            Event::SaveRecovered { .. } => self.save = None,
            _ => {}
        }
    }

    fn refreshed(&mut self, generation: u64, took: Option<Duration>, at: SystemTime) {
        self.generation = generation;
        self.ended = false;
        self.flight = None;
        self.failure = None;
        self.refresh = Some(LastRefresh { at, took });
    }

    /// Returns the session and its activity as JSON.
    pub(crate) fn json(&self, now: &SessionSnapshot<'_>) -> Value {
        let state = match &now.token {
            _ if now.is_signed_out => "signed out",
            _ if now.has_ended => "ended",
            _ if self.flight.is_some() => "refreshing",
            Some(_) => "signed in",
            None if self.generation > 0 => "expired",
            None => "not used yet",
        };
        let last_known = (self.generation > 0).then_some(self.generation);
        let generation = now.token.as_ref().map(Token::generation);
        let tokens = now.token.as_ref().map(Token::token_set);
        let expires = tokens.and_then(|tokens| tokens.expires_at());
        let lifetime = tokens.and_then(|tokens| tokens.lifetime());
        json!({
            "name": &*now.session.name,
            "routes": &now.session.routes,
            "state": state,
            "generation": generation.or(last_known),
            "expires": expires.map(wall_millis),
            "lifetime": lifetime.map(millis),
            "refresh": self.refresh.as_ref().map(LastRefresh::json),
            "failure": self.failure.as_ref().map(LastFailure::json),
            "save": self.save.as_ref().map(LastFailure::json),
        })
    }
}

/// The state of a session's rotator at one moment.
pub(crate) struct SessionSnapshot<'a> {
    session: &'a NamedSession,
    token: Option<Token>,
    is_signed_out: bool,
    has_ended: bool,
}

impl<'a> SessionSnapshot<'a> {
    pub(crate) fn of(session: &'a NamedSession) -> Self {
        let rotator = &session.rotator;
        Self {
            session,
            token: rotator.access_token(),
            is_signed_out: rotator.is_signed_out(),
            has_ended: rotator.has_ended(),
        }
    }
}

impl LastRefresh {
    fn json(&self) -> Value {
        json!({ "at": wall_millis(self.at), "took": self.took.map(millis) })
    }
}

impl LastFailure {
    fn json(&self) -> Value {
        let until = self.pause.map(|pause| wall_millis(self.at + pause));
        json!({
            "at": wall_millis(self.at),
            "message": self.message,
            "hint": self.hint,
            "until": until,
            "kind": self.shared.as_ref().map(|(kind, _)| *kind),
            "host": self.shared.as_ref().map(|(_, host)| host),
        })
    }
}

/// Returns milliseconds since 1970, the time scale of JavaScript's `Date`.
pub(crate) fn wall_millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn shortened(error: &dyn std::fmt::Display) -> String {
    error.to_string().chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use token_rotator::{RefreshError, Rotator, SourceError, TokenSet};

    use super::*;

    fn started_event(flight: u64, purpose: Purpose) -> Event {
        Event::RefreshStarted { flight, purpose }
    }

    fn activity_after(events: &[Event]) -> SessionActivity {
        let mut activity = SessionActivity::default();
        for (event, at) in events.iter().zip(1..) {
            activity.record(event, f64::from(at), UNIX_EPOCH);
        }
        activity
    }

    fn failed(flight: u64, message: &str) -> Event {
        Event::RefreshFailed {
            flight,
            error: RefreshError::Source(SourceError::transient(message)),
            cool_down: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_refresh_is_in_progress_until_an_event_ends_it() {
        let signed_in = Event::SignedIn { generation: 1 };
        let started = started_event(7, Purpose::Refused);
        let in_progress = activity_after(&[signed_in.clone(), started.clone()]);
        assert_eq!(in_progress.flight(), Some((7, 2.0)));
        for end in [
            Event::Refreshed {
                flight: 7,
                generation: 2,
                lifetime: None,
                took: Duration::from_millis(3),
            },
            Event::Adopted {
                flight: 7,
                generation: 2,
            },
            failed(7, "down"),
            Event::Ended {
                error: RefreshError::Refused,
            },
            // A sign-in or sign-out overtakes the flight; the flight reports no end afterwards.
            Event::SignedIn { generation: 2 },
            Event::SignedOut,
        ] {
            let finished = activity_after(&[signed_in.clone(), started.clone(), end.clone()]);
            assert_eq!(finished.flight(), None, "{end:?}");
        }
    }

    #[test]
    fn a_flight_without_an_end_event_is_not_in_progress() {
        let ended = Event::Ended {
            error: RefreshError::Refused,
        };
        assert_eq!(
            activity_after(&[started_event(1, Purpose::Look)]).flight(),
            None
        );
        assert_eq!(
            activity_after(&[ended.clone(), started_event(2, Purpose::Forced)]).flight(),
            None
        );
        let revived = Event::Adopted {
            flight: 2,
            generation: 5,
        };
        let again = activity_after(&[ended, revived, started_event(3, Purpose::Refused)]);
        assert_eq!(again.flight(), Some((3, 3.0)));
    }

    #[test]
    fn a_failure_stays_until_a_refresh_succeeds() {
        let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("t")) };
        let session = NamedSession {
            name: "work".into(),
            rotator: Rotator::builder(source).build().expect("a rotator"),
            routes: vec!["api".to_owned()],
        };
        let now = SessionSnapshot::of(&session);
        assert_eq!(
            SessionActivity::default().json(&now)["state"],
            "not used yet"
        );
        let long = "x".repeat(10_000);
        let json = activity_after(&[started_event(1, Purpose::First), failed(1, &long)]).json(&now);
        let length = json["failure"]["message"].as_str().map(str::len);
        assert_eq!(
            (length, &json["failure"]["until"]),
            (Some(MAX_MESSAGE_CHARS), &json!(2000))
        );
        let refreshed = Event::Refreshed {
            flight: 2,
            generation: 3,
            lifetime: None,
            took: Duration::from_millis(80),
        };
        let hinted = Event::RefreshFailed {
            flight: 1,
            error: RefreshError::Source(SourceError::transient("down").with_hint(long.clone())),
            cool_down: Duration::ZERO,
        };
        let json = activity_after(&[hinted]).json(&now);
        let hint = json["failure"]["hint"].as_str().map(str::len);
        assert_eq!(hint, Some(MAX_MESSAGE_CHARS));
        let ended = Event::Ended {
            error: RefreshError::Refused,
        };
        let json = activity_after(&[ended]).json(&now);
        assert_eq!(json["failure"]["hint"], "sign in");
        let json = activity_after(&[failed(1, "down")]).json(&now);
        assert_eq!(json["failure"]["hint"], Value::Null);
        let json = activity_after(&[failed(1, "down"), refreshed]).json(&now);
        assert_eq!(json["failure"], Value::Null);
        assert_eq!(json["refresh"], json!({ "at": 0, "took": 80 }));
        // The events report a token, and the rotator has none.
        assert_eq!(
            (&json["state"], &json["generation"]),
            (&json!("expired"), &json!(3))
        );
    }
}
