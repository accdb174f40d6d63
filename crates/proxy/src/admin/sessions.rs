//! The sessions as the page shows them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
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
    /// How long nothing is tried again.
    pause: Option<Duration>,
}

impl Notes {
    /// The refresh under way, and when it began.
    pub(crate) fn flight(&self) -> Option<(u64, Millis)> {
        self.flight
    }

    pub(crate) fn note(&mut self, event: &Event, at: Millis, wall: SystemTime) {
        let failure = |error: &dyn std::fmt::Display, pause| {
            Some(Failure {
                at: wall,
                words: words(error),
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
            // What a look into the store comes to is told only if it finds something.
            Event::RefreshStarted {
                purpose: Purpose::Look,
                ..
            } => {}
            Event::RefreshStarted { flight, .. } => self.flight = Some((*flight, at)),
            Event::Refreshed {
                generation, took, ..
            } => self.refreshed(*generation, Some(*took), wall),
            Event::Adopted { generation, .. } => self.refreshed(*generation, None, wall),
            Event::RefreshFailed {
                error, cool_down, ..
            } => {
                self.flight = None;
                self.failure = failure(error, Some(*cool_down));
            }
            Event::Ended { error } => {
                self.flight = None;
                self.failure = failure(error, None);
            }
            Event::SaveFailed { error, .. } => self.save = failure(error, None),
            Event::SaveRecovered { .. } => self.save = None,
            _ => {}
        }
    }

    fn refreshed(&mut self, generation: u64, took: Option<Duration>, at: SystemTime) {
        self.generation = generation;
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
            None => "no token yet",
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
        json!({ "at": wall_millis(self.at), "words": self.words, "until": until })
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
