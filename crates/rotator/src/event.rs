//! Events of a session, for logs, metrics and user interfaces.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use token_rotator_core::Purpose;

use crate::error::{RefreshError, SourceError, StoreError};
use crate::store::{FollowedAddress, OtherAddress, SessionKey};

/// An event of a session. No event holds a token or a part of a token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A user signed in.
    SignedIn {
        /// Generation of the installed token.
        generation: u64,
    },
    /// A user signed out.
    SignedOut,
    /// The record of a file store says that the user signed out, and the store's key did not seal it.
    /// The sign-out counts. An earlier version, a process without the key, or another program wrote
    /// it.
    UnsealedSignOut,
    /// A flight began.
    RefreshStarted {
        /// Number of the flight.
        flight: u64,
        /// Why the flight began.
        purpose: Purpose,
    },
    /// A flight installed a new token.
    Refreshed {
        /// Number of the flight.
        flight: u64,
        /// Generation of the installed token.
        generation: u64,
        /// Lifetime of the token. `None` if it is unknown.
        lifetime: Option<Duration>,
        /// How long the flight took.
        took: Duration,
    },
    /// The issuer's new token had expired before it arrived, by the local clock. The local clock is
    /// wrong, so the token's expiry counts as unknown: the token is served until it is refused.
    ClockAhead {
        /// The local clock is ahead by at least this time.
        by: Duration,
    },
    /// A flight installed a token from the store that another process had refreshed. The flight did
    /// not refresh.
    Adopted {
        /// Number of the flight.
        flight: u64,
        /// Generation of the installed token.
        generation: u64,
    },
    /// A flight failed. The session continues, and the next flight may start after the cool-down.
    RefreshFailed {
        /// Number of the flight.
        flight: u64,
        /// The error that the waiting callers get.
        error: RefreshError,
        /// How long no other flight starts.
        cool_down: Duration,
    },
    /// A flight passed its deadline. Its callers were released, and no other flight starts until it
    /// ends.
    RefreshOverdue {
        /// Number of the flight.
        flight: u64,
    },
    /// A refresh token that may have been spent is presented again.
    PresentedAgain {
        /// Number of the flight.
        flight: u64,
        /// True if the issuer may take this for theft. The flight had no other way to a token.
        last_resort: bool,
    },
    /// The session has ended: the issuer refuses to refresh it. Reported once for each sign-in.
    Ended {
        /// The issuer's refusal.
        error: RefreshError,
    },
    /// The store holds an older record than this process has seen: it was restored from a backup, or
    /// lost its last writes. The process writes its newer tokens back.
    OlderRecord {
        /// The revision of the record.
        found: u64,
        /// The greatest revision that this process has seen.
        seen: u64,
    },
    /// The issuer has refused several refreshes without a reason. Callers get the error, and a refresh
    /// is tried every 5 minutes. Reported once, until the next token set.
    RefusedWithoutReason {
        /// The error that callers get.
        error: RefreshError,
    },
    /// The issuer answered a refresh with the tokens of another user. Nothing was installed or saved.
    /// This is a security event.
    AnotherSubject {
        /// Number of the flight.
        flight: u64,
    },
    /// The issuer reports that the refresh token was used before. This is a security event: another
    /// party may hold the token.
    ReuseDetected {
        /// The issuer's answer.
        error: SourceError,
    },
    /// Another rotator of this process was signed in with the same refresh token, and both keep it in
    /// memory alone. Nothing has been spent yet. At an issuer that accepts a refresh token once, the
    /// second refresh ends the session: share one rotator, or keep the session in a store.
    SharedRefreshToken,
    /// The session's issuer announces another endpoint than that of the sign-in, over TLS. The
    /// session follows it, and its record is bound to it from now on.
    AddressFollowed {
        /// The endpoint, before and after.
        address: FollowedAddress,
    },
    /// A refresh or revocation would be sent to another address than that of the sign-in. This is a
    /// security event: nothing was sent.
    AddressRefused {
        /// The address of the sign-in, and the refused one.
        error: OtherAddress,
    },
    /// A token arrived after its session had ended. The token was not installed.
    LateTokens {
        /// Whether the token is being revoked: after a sign-out, and if the issuer revokes single
        /// tokens. Otherwise, after a sign-in, the revocation might end the new session too.
        revoked: bool,
    },
    /// The refresh token expires in less than three days, and refreshes do not extend its life. The
    /// user has to sign in before. Reported once in a process for each end.
    RefreshTokenExpiring {
        /// When the refresh token expires, as the issuer stated it.
        at: SystemTime,
    },
    /// The issuer revoked tokens, or the revocation failed.
    Revoked {
        /// Error of the revocation. `None` if it succeeded.
        error: Option<SourceError>,
    },
    /// The store did not save the new tokens. The tokens are served from memory, and the save is
    /// retried.
    SaveFailed {
        /// Error of the store.
        error: StoreError,
        /// Number of failed attempts in a row.
        attempts: u32,
    },
    /// The store saved the tokens after failed attempts.
    SaveRecovered {
        /// Number of failed attempts before.
        attempts: u32,
    },
    /// A hook panicked, failed or took too long. The session is not affected.
    HookFailed {
        /// Name of the hook.
        hook: &'static str,
        /// What the hook did wrong.
        problem: HookProblem,
    },
    /// A request was sent without a token, because its origin is not one of the configured origins.
    ForeignOrigin {
        /// Origin of the request: scheme, host and port. `None` if the request names no origin.
        origin: Option<String>,
    },
    /// A request was refused and could not be replayed.
    NotReplayed {
        /// Why the request was not replayed.
        reason: NotReplayed,
    },
}

/// What a hook did wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HookProblem {
    /// The hook panicked.
    Panicked,
    /// The hook exceeded its time limit and was dropped.
    TimedOut {
        /// The time limit.
        after: Duration,
    },
    /// The hook returned an error.
    Failed {
        /// The hook's own error message.
        message: String,
    },
}

/// Why a refused request was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReplayed {
    /// The request's body can be sent only once.
    BodyOnce,
    /// The request opted out.
    OptedOut,
    /// The HTTP client followed a redirect before the refusal. The request may already have had its
    /// effect at the first server, so a replay could repeat it.
    Redirected,
    /// The endpoint refused a replay a short time ago, so no refresh started.
    RefusedAgain,
}

type EventListener = Box<dyn Fn(&SessionKey, &Event) + Send + Sync>;

/// The event listeners of a rotator.
#[derive(Default)]
pub(crate) struct EventListeners(pub(crate) Vec<EventListener>);

impl EventListeners {
    /// Calls every listener. A listener that panics affects no other listener and no session.
    pub(crate) fn notify(&self, key: &SessionKey, event: &Event) {
        tracing::debug!(target: "token_rotator", session = %key, ?event);
        for listener in &self.0 {
            // State that a listener left half changed is used by that listener only.
            if catch_unwind(AssertUnwindSafe(|| listener(key, event))).is_err() {
                tracing::error!(target: "token_rotator", session = %key, "an event listener panicked");
            }
        }
    }
}
