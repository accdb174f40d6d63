//! The errors: one type for each operation. All errors can be cloned, and none contains a secret.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use crate::http::challenge::StepUp;
use crate::store::SharedFailure;
use crate::token::secret::SecretString;

/// The cause of an error, shared by all waiters of a flight.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// The kind of a failed refresh. It decides the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The refresh failed before the first byte was sent: the refresh token is unspent.
    NotSent,
    /// The issuer cannot answer now. A flight tries again after a cool-down.
    Transient,
    /// The issuer gave no complete answer: the refresh token may be spent.
    Uncertain,
    /// The issuer will not refresh this grant again: the user has to sign in.
    Terminal,
    /// A setting is wrong (client, scope, address). A flight tries again after a cool-down.
    Misconfigured,
}

/// Why a token source failed.
///
/// Each [`FailureKind`] has a constructor of its name. The message must not contain secrets.
#[derive(Clone, Debug)]
pub struct SourceError {
    kind: FailureKind,
    message: Arc<str>,
    hint: Option<Arc<str>>,
    code: Option<Arc<str>>,
    retry_after: Option<Duration>,
    reuse_detected: bool,
    content_refused: bool,
    refresh_token: Option<SecretString>,
    unexplained: Option<RefusingEndpoint>,
    cause: Option<Cause>,
}

/// The kind of endpoint that refused a refresh without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusingEndpoint {
    /// A token endpoint (RFC 6749 section 3.2). Three refusals mean that signing in may help.
    Token,
    /// An endpoint that exchanges a cookie. Two refusals mean that signing in may help.
    Cookie,
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl StdError for SourceError {
    /// Returns the cause itself and not the `Arc` around it, so that a program can downcast it to
    /// the error type of its own source.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl SourceError {
    /// A failure of this kind. `message` says what happened, without secrets.
    pub fn new(kind: FailureKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            code: None,
            retry_after: None,
            reuse_detected: false,
            content_refused: false,
            refresh_token: None,
            unexplained: None,
            cause: None,
        }
    }

    /// A 2xx answer whose content cannot be used, such as an unknown token type or a missing access
    /// token. Its kind is [`FailureKind::Misconfigured`]. The rotator does not ask for it again until
    /// the configuration changes or a caller forces a refresh.
    ///
    /// Give the refresh token of the answer with [`with_refresh_token`](Self::with_refresh_token).
    pub fn content_refused(message: impl Into<Arc<str>>) -> Self {
        Self {
            content_refused: true,
            ..Self::new(FailureKind::Misconfigured, message)
        }
    }

    /// A failure before the first byte was sent.
    pub fn not_sent(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::NotSent, message)
    }

    /// A failure of an issuer that cannot answer now.
    pub fn transient(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Transient, message)
    }

    /// A failure after which the refresh token may be spent.
    pub fn uncertain(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Uncertain, message)
    }

    /// A failure after which the issuer will not refresh this grant again.
    pub fn terminal(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Terminal, message)
    }

    /// A failure because of a wrong setting.
    pub fn misconfigured(message: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Misconfigured, message)
    }

    /// Sets the hint: the action for this cause, without secrets.
    pub fn with_hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the issuer's error code (RFC 6749 section 5.2).
    pub fn with_code(mut self, code: impl Into<Arc<str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets the wait that the issuer asked for with `Retry-After` (RFC 9110 section 10.2.3).
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Sets the cause. It must not contain secrets.
    pub fn with_cause(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Marks the failure as a detected reuse: the issuer says that another party used this refresh
    /// token before. That is a security event, and the refresh is never tried again.
    pub fn with_reuse_detected(mut self) -> Self {
        self.reuse_detected = true;
        self
    }

    /// Sets the refresh token that came although the rest of the answer cannot be used. The rotator
    /// saves it as the newest refresh token, and takes it out of the error before any listener or
    /// caller gets the error.
    pub fn with_refresh_token(mut self, token: impl Into<SecretString>) -> Self {
        self.refresh_token = Some(token.into());
        self
    }

    /// Marks the failure as a refusal without a reason: a 400, 401 or 403 that is no OAuth error, or
    /// an OAuth error with an unknown code. Such a refusal ends no session, and the rotator counts
    /// it.
    pub fn with_no_reason(mut self, endpoint: RefusingEndpoint) -> Self {
        self.unexplained = Some(endpoint);
        self
    }

    /// The kind of the failure.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Whether the content of a 2xx answer cannot be used.
    pub fn is_content_refused(&self) -> bool {
        self.content_refused
    }

    /// The endpoint that refused without a reason. Returns `None` for every other failure.
    pub fn refused_without_reason(&self) -> Option<RefusingEndpoint> {
        self.unexplained
    }

    /// Takes the refresh token out of the error.
    pub(crate) fn take_refresh_token(&mut self) -> Option<SecretString> {
        self.refresh_token.take()
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The action for this cause. Returns `None` if the source gave no hint.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The issuer's error code (RFC 6749 section 5.2). Returns `None` if the issuer gave none.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The wait that the issuer asked for. Returns `None` if it asked for none.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the issuer said that another party used the refresh token before.
    pub fn is_reuse_detected(&self) -> bool {
        self.reuse_detected
    }
}

/// Why a flight failed. All waiters of the flight get this error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The token source failed.
    #[error("the access token could not be refreshed: {0}")]
    Source(#[source] SourceError),
    /// The token source did not answer before its deadline. The refresh token may be spent.
    #[error("the issuer did not answer within {after:?}, and the refresh token may be spent")]
    TimedOut {
        /// The time that the source had.
        after: Duration,
    },
    /// The source returned a token set that cannot be used. Its refresh token is kept for the next
    /// attempt.
    #[error("the issuer's answer cannot be used: {reason}")]
    Unusable {
        /// What is wrong with the token set.
        reason: &'static str,
    },
    /// An earlier refresh got no answer, in this or in another process. The issuer might take a
    /// second use of the refresh token for a theft.
    #[error(
        "an earlier refresh got no answer, and its refresh token may be spent; the refresh token \
         is used again only as the last resort"
    )]
    InDoubt {
        /// How long the process of the earlier refresh may still save its answer. `None` if the
        /// access token is usable.
        wait: Option<Duration>,
    },
    /// The store holds an older record of the session than this process has seen. The refresh token may
    /// be spent by a process whose record is lost.
    #[error(
        "the store holds an older record of this session than this process has seen, and the refresh \
         token may be spent; it is used again only as the last resort"
    )]
    OlderRecord,
    /// A sign-in or sign-out happened before the refresh was sent.
    #[error("the session changed before the refresh was sent")]
    SessionChanged,
    /// The issuer refused this session's refresh token earlier, in this or in another process.
    #[error("the issuer has refused this session's refresh token before")]
    Refused,
    /// A refresh in another process failed a short time ago, and its failure holds for this process
    /// too. Nothing was sent.
    #[error("a refresh on host `{}` failed a moment ago: {}", failure.host, failure.message)]
    Shared {
        /// The failure in the session's record.
        failure: Box<SharedFailure>,
        /// How long no refresh starts.
        left: Duration,
    },
    /// The issuer refused several refreshes without an OAuth error as the reason. The refresh token
    /// is kept, and a refresh is tried every 5 minutes.
    #[error("the issuer refuses to refresh this session and gives no reason: {message}")]
    RefusedWithoutReason {
        /// What the issuer answered last.
        message: Arc<str>,
        /// How long no refresh starts.
        left: Duration,
    },
    /// The issuer answered, but the content of its answer cannot be used. Its refresh token was
    /// saved. The answer is not asked for again until the configuration changes or a caller forces a
    /// refresh.
    #[error("the issuer's answer cannot be used: {message}")]
    ContentRefused {
        /// What is wrong with the answer.
        message: Arc<str>,
    },
    /// The issuer answered with the tokens of another user. Nothing was installed or saved.
    #[error("the issuer answered with the tokens of another user, which were dropped")]
    AnotherSubject,
    /// The session is not signed in, so there is no token set to refresh.
    #[error("the session is not signed in")]
    NotSignedIn,
    /// The flight got no lease, or lost it before the refresh was sent.
    #[error("the refresh got no lease: {0}")]
    Lease(#[source] LeaseError),
    /// The session store failed, and the refresh was not sent.
    #[error("the session could not be read from its store: {0}")]
    Store(#[source] StoreError),
    /// A part of the refresh panicked.
    #[error("the refresh panicked while it was to {step}")]
    Panicked {
        /// The step that panicked.
        step: &'static str,
        /// Whether the refresh token may be spent.
        sent: bool,
    },
    /// The runtime of the refresh ended.
    #[error("the runtime ended while the refresh was to {step}")]
    Abandoned {
        /// The step at which the refresh ended.
        step: &'static str,
        /// Whether the refresh token may be spent.
        sent: bool,
    },
}

impl RefreshError {
    /// The kind of the failure.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Source(error) => error.kind(),
            Self::TimedOut { .. } | Self::InDoubt { .. } | Self::OlderRecord => {
                FailureKind::Uncertain
            }
            Self::NotSignedIn | Self::Refused | Self::AnotherSubject => FailureKind::Terminal,
            Self::Shared { failure, .. } => failure.kind,
            // The issuer gave no verdict on the grant, so refreshes are tried again.
            Self::RefusedWithoutReason { .. } => FailureKind::Transient,
            // The received refresh token is kept, so the next refresh uses it and not the spent one.
            Self::Unusable { .. } | Self::ContentRefused { .. } => FailureKind::Misconfigured,
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

    /// The wait before the next refresh. Returns `None` if the issuer asked for none and no other
    /// process may still save an answer.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Source(error) => error.retry_after(),
            Self::InDoubt { wait } => *wait,
            Self::Shared { failure, left } if failure.asked_by_issuer => Some(*left),
            _ => None,
        }
    }

    /// Whether a sign-in is the action that resolves this error: the issuer refuses the session, with
    /// or without a reason.
    pub fn needs_sign_in(&self) -> bool {
        matches!(self, Self::RefusedWithoutReason { .. }) || self.kind() == FailureKind::Terminal
    }

    /// The action for this cause. Returns `None` if there is no hint for it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Lease(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Refused
            | Self::NotSignedIn
            | Self::RefusedWithoutReason { .. }
            | Self::AnotherSubject => Some(SIGN_IN),
            Self::OlderRecord => Some(
                "see whether the store was restored from a backup; a forced refresh or a sign-in \
                 resolves the doubt",
            ),
            Self::ContentRefused { .. } => {
                Some("change the setting that asks for another answer, then refresh once more")
            }
            Self::TimedOut { .. } => Some(
                "if the source calls this rotator in a task that it spawned, it waits for itself, so \
                 send the refresh over a client without this rotator. Otherwise the issuer is slow: \
                 raise `source_timeout`",
            ),
            // The action depends on the issuer, or no action is necessary.
            Self::Unusable { .. }
            | Self::InDoubt { .. }
            | Self::Shared { .. }
            | Self::SessionChanged
            | Self::Panicked { .. }
            | Self::Abandoned { .. } => None,
        }
    }
}

/// The hint of every error that a sign-in resolves.
const SIGN_IN: &str = "sign in";

/// Why there is no token for a request.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The refresh failed. Either the request waited for it, or it failed so recently that its
    /// cool-down still runs.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// The refresh did not end before this caller's deadline. The refresh goes on.
    #[error("no token within {after:?}; the refresh goes on without this caller")]
    WaitTimedOut {
        /// How long the caller waited.
        after: Duration,
    },
    /// The refresh runs longer than its deadline. The next refresh starts only after it ends.
    #[error("the refresh is overdue; the next refresh starts only after it ends")]
    Overdue,
    /// The session is not signed in.
    #[error("the session is not signed in")]
    SignedOut,
    /// A sign-in or sign-out happened since the request began. The request is not sent with the
    /// token of another epoch.
    #[error("the session changed while the request waited")]
    SessionChanged,
    /// The token was refused so soon after its refresh that another refresh would not help.
    #[error("the token was refused although it is new")]
    FreshTokenRefused,
    /// The upstream wants the user to authenticate again. Another token of this sign-in would be
    /// refused too.
    #[error(transparent)]
    StepUp(#[from] StepUp),
    /// The token source called the rotator that waits for it.
    #[error("the token source asked its own rotator for a token")]
    Reentrant,
    /// There is no tokio runtime for the refresh.
    #[error("no tokio runtime to refresh on")]
    NoRuntime,
    /// The rotator was shut down, and its token has expired.
    #[error("the rotator was shut down")]
    ShutDown,
}

impl TokenError {
    /// The action for this cause. Returns `None` if there is no hint for it.
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

/// The kind of a store's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached now.
    Unavailable,
    /// The record cannot be read. It was left untouched.
    Corrupt,
    /// A newer version of this program wrote the record. It was left untouched.
    Newer,
    /// The store refused the call: permissions, a missing key, a full disk.
    Refused,
    /// The store panicked.
    Panicked,
    /// The record is longer than any store reads back. Nothing was written.
    TooLarge,
}

impl StoreError {
    /// A failure of this kind. `message` says what happened, without secrets.
    pub fn new(kind: StoreErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            cause: None,
        }
    }

    /// Sets the hint: the action for this cause, without secrets.
    pub fn with_hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the cause. It must not contain secrets.
    pub fn with_cause(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Prefixes the message with the location of the failure. Keeps kind and hint; the error itself
    /// becomes the cause.
    #[cfg(feature = "file")]
    pub(crate) fn within(self, location: impl std::fmt::Display) -> Self {
        Self {
            kind: self.kind,
            message: format!("{location}: {self}").into(),
            hint: self.hint.clone(),
            cause: Some(Arc::new(self)),
        }
    }

    /// The kind of the failure.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What happened.
    pub fn what(&self) -> &str {
        &self.message
    }

    /// The action for this cause. Returns `None` if there is no hint for it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Why there is no lease.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another process or task held the lease all the time.
    #[error("another process has held the refresh lease for {waited:?}")]
    Busy {
        /// How long the flight waited.
        waited: Duration,
    },
    /// The lease ran out, or another process took it.
    #[error("the lease was lost")]
    Lost,
    /// The coordinator cannot be reached.
    #[error("the coordinator cannot be reached: {message}")]
    Unavailable {
        /// What happened, without secrets.
        message: Arc<str>,
        /// The cause.
        #[source]
        cause: Option<Cause>,
    },
}

impl LeaseError {
    /// The action for this cause: the hint of the store's failure. Returns `None` if the cause is no
    /// failure of a store.
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
    /// The error of a coordinator that is a store. The store's error becomes the cause, with its
    /// hint.
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
    /// No origin is declared.
    #[error("no origin is declared")]
    NoOrigin,
    /// A setting contradicts another one.
    #[error("{setting} of {value:?} {problem}")]
    Setting {
        /// The builder's method.
        setting: &'static str,
        /// The value of the setting.
        value: Duration,
        /// What is wrong with the value.
        problem: &'static str,
        /// The action for this problem.
        hint: &'static str,
    },
    /// The probe of a body rule is not a path of the upstream.
    #[error("the probe of a body rule is not a path of the upstream")]
    Probe,
    /// The dedicated thread could not be started.
    #[error("the rotator's own thread could not be started: {0}")]
    Thread(Arc<str>),
}

impl BuildError {
    /// The action for this cause, for the author of the program. Returns `None` if there is no hint
    /// for it.
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
