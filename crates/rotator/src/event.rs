//! What happens in a session, for logs, metrics and screens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use token_rotator_core::Purpose;

use crate::error::{RefreshError, SourceError, StoreError};
use crate::store::SessionKey;

/// Something that happened. No event holds a token or a part of one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Somebody signed in.
    SignedIn {
        /// The number of the token that was installed.
        generation: u64,
    },
    /// Somebody signed out.
    SignedOut,
    /// A flight began.
    RefreshStarted {
        /// Its number.
        flight: u64,
        /// Why it began.
        purpose: Purpose,
    },
    /// A flight brought a token.
    Refreshed {
        /// Its number.
        flight: u64,
        /// The number of the token that was installed.
        generation: u64,
        /// How long the token is good; `None`: unknown.
        lifetime: Option<Duration>,
        /// How long the flight took.
        took: Duration,
    },
    /// A flight found in the store what another process had refreshed, and refreshed nothing.
    Adopted {
        /// The flight's number.
        flight: u64,
        /// The number of the token that was installed.
        generation: u64,
    },
    /// A flight failed. The session goes on; the next attempt comes after the cool-down.
    RefreshFailed {
        /// Its number.
        flight: u64,
        /// What the callers who waited are told.
        error: RefreshError,
        /// How long no other flight starts.
        cool_down: Duration,
    },
    /// A flight is past its deadline: its callers were released, and no other starts until it ends.
    RefreshOverdue {
        /// Its number.
        flight: u64,
    },
    /// The refresh token may have been spent and is presented again.
    PresentedAgain {
        /// The flight's number.
        flight: u64,
        /// True where the issuer may take that for a theft: nothing else was left.
        last_resort: bool,
    },
    /// The session has ended: the issuer will not refresh it again. Once for each sign-in.
    Ended {
        /// Why.
        error: RefreshError,
    },
    /// The issuer says that the refresh token was used by somebody else: a security event.
    ReuseDetected {
        /// What it said.
        error: SourceError,
    },
    /// A token arrived for a session that is over; it was not installed.
    LateTokens {
        /// Whether it is being revoked: after a sign-out, and where the issuer revokes single
        /// tokens. After a sign-in, revoking it might end the new session as well.
        revoked: bool,
    },
    /// Tokens were revoked at the issuer, or that failed.
    Revoked {
        /// What went wrong.
        error: Option<SourceError>,
    },
    /// The store could not take the new tokens. They are served from memory, and saving is tried
    /// again.
    SaveFailed {
        /// What went wrong.
        error: StoreError,
        /// How many times in a row.
        attempts: u32,
    },
    /// The store has taken the tokens after all.
    SaveRecovered {
        /// How many times it had failed.
        attempts: u32,
    },
    /// A hook panicked or took too long. The session is not affected.
    HookFailed {
        /// Which one.
        hook: &'static str,
        /// What happened.
        problem: HookProblem,
    },
    /// A request went out without a token, because its origin is none of those declared.
    ForeignOrigin {
        /// Where it went: scheme, host and port; `None` where the request does not say.
        origin: Option<String>,
    },
    /// A request was refused, and replaying it was not possible.
    NotReplayed {
        /// Why.
        reason: NotReplayed,
    },
}

/// What a hook did wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HookProblem {
    /// It panicked.
    Panicked,
    /// It took longer than this; it was dropped.
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// It returned an error.
    Failed {
        /// In its own words.
        message: String,
    },
}

/// Why a refused request was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReplayed {
    /// Its body can be sent only once.
    BodyOnce,
    /// The request opted out.
    OptedOut,
    /// The HTTP client redirected the request by itself before it was refused, and its method may
    /// have had its effect already where it was first received.
    Redirected,
    /// Its endpoint refused a replay a short time ago, so no refresh started.
    RefusedAgain,
}

type Handler = Box<dyn Fn(&SessionKey, &Event) + Send + Sync>;

/// Whoever listens.
#[derive(Default)]
pub(crate) struct Listeners(pub(crate) Vec<Handler>);

impl Listeners {
    /// Tells everybody. A listener that panics harms nobody else.
    pub(crate) fn tell(&self, key: &SessionKey, event: &Event) {
        tracing::debug!(target: "token_rotator", session = %key, ?event);
        for listener in &self.0 {
            // What a listener leaves behind broken is its own.
            if catch_unwind(AssertUnwindSafe(|| listener(key, event))).is_err() {
                tracing::error!(target: "token_rotator", session = %key, "an event listener panicked");
            }
        }
    }
}
