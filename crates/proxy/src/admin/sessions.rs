//! The sessions as the page shows them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Event, Purpose, Token};

use super::storm::Millis;
use crate::routes::NamedSession;

/// Characters shown of what an issuer or a store says.
const WORDS: usize = 300;

/// What a session's events said.
#[derive(Default)]
pub(crate) struct Notes {
    generation: u64,
    flight: Option<(u64, Millis)>,
    ended: bool,
    refresh: Option<Refreshed>,
    failure: Option<Failure>,
    save: Option<Failure>,
}

/// The last refresh that brought a token.
struct Refreshed {
    at: SystemTime,
    /// `None`: another process had refreshed.
    took: Option<Duration>,
}

/// What went wrong last, and has not gone right since.
struct Failure {
    at: SystemTime,
    words: String,
    /// What to do about it.
    hint: Option<String>,
    /// How long nothing is tried again.
    pause: Option<Duration>,
}

impl Notes {
    /// The refresh under way, and when it began.
    pub(crate) fn flight(&self) -> Option<(u64, Millis)> {
        self.flight
    }

    pub(crate) fn note(&mut self, event: &Event, at: Millis, wall: SystemTime) {
        let failure = |error: &dyn std::fmt::Display, hint: Option<&str>, pause| {
            Some(Failure {
                at: wall,
                words: words(error),
                hint: hint.map(|hint| words(&hint)),
                pause,
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
            // Of an ended session it is told only if something brings it back: neither that a look
            // into its store has found nothing, nor that the issuer has refused it again.
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
        self.refresh = Some(Refreshed { at, took });
    }

    /// The session with what its events said.
    pub(crate) fn json(&self, now: &SessionNow<'_>) -> Value {
        let state = match &now.token {
            _ if now.signed_out => "signed out",
            _ if now.ended => "ended",
            _ if self.flight.is_some() => "refreshing",
            Some(_) => "signed in",
            None if self.generation > 0 => "expired",
            None => "not used yet",
        };
        let known = (self.generation > 0).then_some(self.generation);
        let generation = now.token.as_ref().map(Token::generation);
        let tokens = now.token.as_ref().map(Token::token_set);
        let expires = tokens.and_then(|tokens| tokens.expires_at());
        let lifetime = tokens.and_then(|tokens| tokens.lifetime());
        json!({
            "name": &*now.session.name,
            "routes": &now.session.routes,
            "state": state,
            "generation": generation.or(known),
            "expires": expires.map(wall_millis),
            "lifetime": lifetime.map(millis),
            "refresh": self.refresh.as_ref().map(Refreshed::json),
            "failure": self.failure.as_ref().map(Failure::json),
            "save": self.save.as_ref().map(Failure::json),
        })
    }
}

/// What a session's rotator says at one moment.
pub(crate) struct SessionNow<'a> {
    session: &'a NamedSession,
    token: Option<Token>,
    signed_out: bool,
    ended: bool,
}

impl<'a> SessionNow<'a> {
    pub(crate) fn of(session: &'a NamedSession) -> Self {
        let rotator = &session.rotator;
        Self {
            session,
            token: rotator.access_token(),
            signed_out: rotator.is_signed_out(),
            ended: rotator.has_ended(),
        }
    }
}

impl Refreshed {
    fn json(&self) -> Value {
        json!({ "at": wall_millis(self.at), "took": self.took.map(millis) })
    }
}

impl Failure {
    fn json(&self) -> Value {
        let until = self.pause.map(|pause| wall_millis(self.at + pause));
        json!({
            "at": wall_millis(self.at),
            "words": self.words,
            "hint": self.hint,
            "until": until,
        })
    }
}

/// Milliseconds since 1970, as pages count.
pub(crate) fn wall_millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn words(error: &dyn std::fmt::Display) -> String {
    error.to_string().chars().take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use token_rotator::{RefreshError, Rotator, SourceError, TokenSet};

    use super::*;

    fn begun(flight: u64, purpose: Purpose) -> Event {
        Event::RefreshStarted { flight, purpose }
    }

    fn told(events: &[Event]) -> Notes {
        let mut notes = Notes::default();
        for (event, at) in events.iter().zip(1..) {
            notes.note(event, f64::from(at), UNIX_EPOCH);
        }
        notes
    }

    fn failed(flight: u64, message: &str) -> Event {
        Event::RefreshFailed {
            flight,
            error: RefreshError::Source(SourceError::transient(message)),
            cool_down: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_refresh_is_under_way_until_its_end_is_told() {
        let signed_in = Event::SignedIn { generation: 1 };
        let started = begun(7, Purpose::Refused);
        let flying = told(&[signed_in.clone(), started.clone()]);
        assert_eq!(flying.flight(), Some((7, 2.0)));
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
            // What it brings comes too late, and that is not told.
            Event::SignedIn { generation: 2 },
            Event::SignedOut,
        ] {
            let landed = told(&[signed_in.clone(), started.clone(), end.clone()]);
            assert_eq!(landed.flight(), None, "{end:?}");
        }
    }

    #[test]
    fn nobody_waits_for_the_end_of_what_has_none() {
        let ended = Event::Ended {
            error: RefreshError::Refused,
        };
        assert_eq!(told(&[begun(1, Purpose::Look)]).flight(), None);
        assert_eq!(
            told(&[ended.clone(), begun(2, Purpose::Forced)]).flight(),
            None
        );
        let revived = Event::Adopted {
            flight: 2,
            generation: 5,
        };
        let again = told(&[ended, revived, begun(3, Purpose::Refused)]);
        assert_eq!(again.flight(), Some((3, 3.0)));
    }

    #[test]
    fn what_went_wrong_stays_until_it_has_gone_right() {
        let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("t")) };
        let session = NamedSession {
            name: "work".into(),
            rotator: Rotator::builder(source).build().expect("a rotator"),
            routes: vec!["api".to_owned()],
        };
        let now = SessionNow::of(&session);
        assert_eq!(Notes::default().json(&now)["state"], "not used yet");
        let long = "x".repeat(10_000);
        let json = told(&[begun(1, Purpose::First), failed(1, &long)]).json(&now);
        let words = json["failure"]["words"].as_str().map(str::len);
        assert_eq!(
            (words, &json["failure"]["until"]),
            (Some(WORDS), &json!(2000))
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
        let json = told(&[hinted]).json(&now);
        let hint = json["failure"]["hint"].as_str().map(str::len);
        assert_eq!(hint, Some(WORDS));
        let ended = Event::Ended {
            error: RefreshError::Refused,
        };
        let json = told(&[ended]).json(&now);
        assert_eq!(json["failure"]["hint"], "sign in");
        let json = told(&[failed(1, "down")]).json(&now);
        assert_eq!(json["failure"]["hint"], Value::Null);
        let json = told(&[failed(1, "down"), refreshed]).json(&now);
        assert_eq!(json["failure"], Value::Null);
        assert_eq!(json["refresh"], json!({ "at": 0, "took": 80 }));
        // It knows of a token that the rotator has no more.
        assert_eq!(
            (&json["state"], &json["generation"]),
            (&json!("expired"), &json!(3))
        );
    }
}
