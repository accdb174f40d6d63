//! What can go wrong: one enum for each operation, all of them cloneable, none with a secret in it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use crate::http::challenge::StepUp;

/// A cause, kept so that it can be shared by all who waited.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// How a refresh failed, which decides what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// It failed before the first byte was sent: the refresh token is unspent.
    NotSent,
    /// The issuer cannot answer now. Tried again after a cool-down.
    Transient,
    /// There was no complete answer: the refresh token may be spent.
    Uncertain,
    /// The issuer will not refresh this grant again: somebody has to sign in.
    Terminal,
    /// The operator's mistake (client, scope, address). Tried again after a cool-down.
    Misconfigured,
}

/// Why a token source failed.
///
/// Built with the constructor named after its [`FailureKind`]; the text must not contain secrets.
#[derive(Clone, Debug)]
pub struct SourceError {
    kind: FailureKind,
    message: Arc<str>,
    hint: Option<Arc<str>>,
    code: Option<Arc<str>>,
    retry_after: Option<Duration>,
    reuse_detected: bool,
    cause: Option<Cause>,
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl StdError for SourceError {
    /// The cause itself, not what it is shared in: a source of one's own finds its own error again.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl SourceError {
    /// A failure of this kind; `message` says what happened, in words without secrets.
    pub fn new(kind: FailureKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            code: None,
            retry_after: None,
            reuse_detected: false,
            cause: None,
        }
    }

    /// Nothing was sent.
    pub fn not_sent(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::NotSent, message)
    }

    /// The issuer cannot answer now.
    pub fn transient(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Transient, message)
    }

    /// The refresh token may be spent.
    pub fn uncertain(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Uncertain, message)
    }

    /// The issuer will not refresh this grant again.
    pub fn terminal(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Terminal, message)
    }

    /// The operator's mistake.
    pub fn misconfigured(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Misconfigured, message)
    }

    /// With what to do about it, without secrets.
    pub fn with_hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the issuer's error code (RFC 6749 section 5.2).
    pub fn with_code(mut self, code: impl Into<Arc<str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// With the time the issuer asked to be left alone (RFC 9110 section 10.2.3).
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With the error behind it. It must not contain secrets.
    pub fn with_cause(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// The issuer says that this refresh token was used before by somebody else: a security
    /// event, never retried.
    pub fn with_reuse_detected(mut self) -> Self {
        self.reuse_detected = true;
        self
    }

    /// What follows from it.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it. Returns `None` if the source did not say.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The issuer's error code (RFC 6749 section 5.2).
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// How long the issuer asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the issuer said that the refresh token was used before by somebody else.
    pub fn is_reuse_detected(&self) -> bool {
        self.reuse_detected
    }
}

/// Why a flight failed: what all who waited for it are told.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The token source failed.
    #[error("the access token could not be refreshed: {0}")]
    Source(#[source] SourceError),
    /// The token source took longer than it may; the refresh token may be spent.
    #[error("the issuer did not answer within {after:?}, and the refresh token may be spent")]
    TimedOut {
        /// How long the source was given.
        after: Duration,
    },
    /// What the source brought cannot be sent. Its refresh token is kept for the next attempt.
    #[error("the issuer's answer cannot be used: {reason}")]
    Unusable {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An earlier refresh got no answer, here or in another process, and the issuer might take a
    /// second use of its refresh token for a theft.
    #[error(
        "an earlier refresh got no answer, and its refresh token may be spent; it is kept for when \
         nothing else is left"
    )]
    InDoubt {
        /// How long whoever sent it may still save the answer; `None`: the access token is good.
        wait: Option<Duration>,
    },
    /// Somebody signed in or out before anything was sent.
    #[error("the session changed before the refresh was sent")]
    SessionChanged,
    /// The issuer has refused this session's refresh token before, here or in another process.
    #[error("the issuer has refused this session's refresh token before")]
    Refused,
    /// There is nothing to refresh from.
    #[error("the session is not signed in")]
    NotSignedIn,
    /// Somebody else held the lease past the deadline.
    #[error("no lease to refresh under: {0}")]
    Lease(#[source] LeaseError),
    /// The session store failed; nothing was sent.
    #[error("the session could not be read from its store: {0}")]
    Store(#[source] StoreError),
    /// A part of the refresh panicked.
    #[error("the refresh panicked while it was to {step}")]
    Panicked {
        /// What it was about to do.
        step: &'static str,
        /// Whether the refresh token may be spent.
        sent: bool,
    },
    /// The runtime that the refresh ran on has ended.
    #[error("the runtime ended while the refresh was to {step}")]
    Abandoned {
        /// What it was about to do.
        step: &'static str,
        /// Whether the refresh token may be spent.
        sent: bool,
    },
}

impl RefreshError {
    /// What follows from it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Source(error) => error.kind(),
            Self::TimedOut { .. } | Self::InDoubt { .. } => FailureKind::Uncertain,
            Self::NotSignedIn | Self::Refused => FailureKind::Terminal,
            // Its refresh token is kept, so nothing is lost and asking again is no reuse.
            Self::Unusable { .. } => FailureKind::Misconfigured,
            Self::Lease(_) | Self::Store(_) | Self::SessionChanged => FailureKind::NotSent,
            Self::Panicked { sent, .. } | Self::Abandoned { sent, .. } => {
                if *sent {
                    FailureKind::Uncertain
                } else {
                    FailureKind::NotSent
                }
            }
        }
    }

    /// How long the issuer asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Source(error) => error.retry_after(),
            Self::InDoubt { wait } => *wait,
            _ => None,
        }
    }

    /// What to do about it. Returns `None` if the cause does not tell.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Lease(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Refused | Self::NotSignedIn => Some(SIGN_IN),
            // The cause is known; what to do depends on the issuer, or nothing has to be done.
            Self::TimedOut { .. }
            | Self::Unusable { .. }
            | Self::InDoubt { .. }
            | Self::SessionChanged
            | Self::Panicked { .. }
            | Self::Abandoned { .. } => None,
        }
    }
}

/// The hint of every error that a sign-in ends.
const SIGN_IN: &str = "sign in";

/// Why there is no token for a request.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The refresh it waited for failed, or one failed a moment ago and the issuer is left alone.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// The wait for the refresh took longer than this caller allows. The refresh goes on.
    #[error("no token within {after:?}; the refresh goes on without this caller")]
    WaitTimedOut {
        /// How long the caller waited.
        after: Duration,
    },
    /// The refresh has been in the air longer than it may, and blocks the next one until it ends.
    #[error("the refresh is overdue; no other starts before it ends")]
    Overdue,
    /// The session is not signed in.
    #[error("the session is not signed in")]
    SignedOut,
    /// Somebody signed in or out since this request began. It is not sent with another's token.
    #[error("the session changed while the request waited")]
    SessionChanged,
    /// The token was refused so soon after it was issued that another refresh would not help.
    #[error("the token was refused though it is fresh")]
    FreshTokenRefused,
    /// The API wants the user to authenticate again, not another token of this sign-in.
    #[error(transparent)]
    StepUp(#[from] StepUp),
    /// The token source asked the rotator that is waiting for it.
    #[error("the token source asked its own rotator for a token")]
    Reentrant,
    /// There is no tokio runtime to run the refresh on.
    #[error("no tokio runtime to refresh on")]
    NoRuntime,
    /// The rotator was shut down and its token is no longer good.
    #[error("the rotator was shut down")]
    ShutDown,
}

impl TokenError {
    /// What to do about it. Returns `None` if the cause does not tell.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refresh(error) => error.hint(),
            Self::SignedOut => Some(SIGN_IN),
            Self::FreshTokenRefused => {
                Some("see whether the token is meant for this API: its audience and its scope")
            }
            Self::NoRuntime => Some(
                "call from within a tokio runtime, give the builder one with `runtime`, or let it \
                 have its own with `dedicated_thread`",
            ),
            Self::Reentrant => Some("send the refresh over a client without this rotator"),
            Self::WaitTimedOut { .. }
            | Self::Overdue
            | Self::SessionChanged
            | Self::StepUp(_)
            | Self::ShutDown => None,
        }
    }
}

/// Why a session store failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Arc<str>,
    hint: Option<Arc<str>>,
    #[source]
    cause: Option<Cause>,
}

/// What kind of failure of a store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It cannot be reached, or not now.
    Unavailable,
    /// What it holds cannot be read; it was left untouched.
    Corrupt,
    /// What it holds was written by a newer version of this program; it was left untouched.
    Newer,
    /// It refuses: permissions, a missing key, a full disk.
    Refused,
    /// The store panicked.
    Panicked,
    /// The record is longer than any store reads back. Nothing was written.
    TooLarge,
}

impl StoreError {
    /// A failure of this kind; `message` says what happened, without secrets.
    pub fn new(kind: StoreErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            cause: None,
        }
    }

    /// With what to do about it, without secrets.
    pub fn with_hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the error behind it. It must not contain secrets.
    pub fn with_cause(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Prefixes the message with where the failure happened; kind and hint stay, and the error
    /// itself becomes the cause.
    #[cfg(feature = "file")]
    pub(crate) fn within(self, place: impl std::fmt::Display) -> Self {
        Self {
            kind: self.kind,
            message: format!("{place}: {self}").into(),
            hint: self.hint.clone(),
            cause: Some(Arc::new(self)),
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What happened.
    pub fn what(&self) -> &str {
        &self.message
    }

    /// What to do about it. Returns `None` if the cause does not tell.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Why there is no lease.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else held it all the time.
    #[error("somebody else has been refreshing for {waited:?}")]
    Busy {
        /// How long the flight waited.
        waited: Duration,
    },
    /// It was held, and is not any more.
    #[error("the lease was lost")]
    Lost,
    /// The coordinator cannot be reached.
    #[error("the coordinator cannot be reached: {message}")]
    Unavailable {
        /// What happened, without secrets.
        message: Arc<str>,
        /// The error behind it.
        #[source]
        cause: Option<Cause>,
    },
}

impl LeaseError {
    /// What to do about it: the hint of the store's failure, if one is the cause. Returns `None`
    /// otherwise.
    pub fn hint(&self) -> Option<&str> {
        let Self::Unavailable {
            cause: Some(cause), ..
        } = self
        else {
            return None;
        };
        let cause: &(dyn StdError + 'static) = &**cause;
        cause.downcast_ref::<StoreError>()?.hint()
    }
}

impl From<StoreError> for LeaseError {
    /// A server that cannot be asked for a record cannot be asked for a lease either. The cause
    /// keeps the store's hint.
    fn from(error: StoreError) -> Self {
        Self::Unavailable {
            message: Arc::clone(&error.message),
            cause: Some(Arc::new(error)),
        }
    }
}

/// Why a rotator or a layer cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An origin cannot be used.
    #[error(transparent)]
    Origin(#[from] crate::http::origin::OriginError),
    /// There is no origin that a token may go to.
    #[error("no origin is declared")]
    NoOrigin,
    /// A setting contradicts another one.
    #[error("{setting} of {value:?} {problem}")]
    Setting {
        /// The builder's method.
        setting: &'static str,
        /// What it was given.
        value: Duration,
        /// What is wrong with that.
        problem: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The probe of a body rule is no path of the upstream.
    #[error("the probe of a body rule is not a path of the upstream")]
    Probe,
    /// The dedicated thread could not be started.
    #[error("the rotator's own thread could not be started: {0}")]
    Thread(Arc<str>),
}

impl BuildError {
    /// What to do about it, for the author of the program. Returns `None` if the message says all
    /// that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoOrigin => {
                Some("call `origin` on the builder, or `layer_for` instead of `layer`")
            }
            Self::Setting { hint, .. } => Some(hint),
            Self::Probe => Some(
                "write it like /-/whoami: a single `/` first, no `//`, `..`, `\\`, `#`, blank or \
                 host",
            ),
            Self::Origin(error) => error.hint(),
            Self::Thread(_) => {
                Some("raise the limits of processes (`ulimit -u`) and of open files (`ulimit -n`)")
            }
        }
    }
}
