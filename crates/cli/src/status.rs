//! `token-rotator status`: the state of each session. Refreshes and changes nothing.

mod failures;

use std::process::ExitCode;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use token_rotator::ExposeSecret as _;
use token_rotator::store::{Intent, IntentOutcome, Record, SessionStore as _};

pub(crate) use self::failures::FailureStatus;
use crate::arguments::{GlobalOptions, StatusOptions};
use crate::command_error::CommandError;
use crate::config::SessionName;
use crate::history;
use crate::output::{self, say};
use crate::session::history::{Entry, HistoryEvent};
use crate::session::{Context, NamedSession, StoreKind, sign_in, store_failed};
use crate::table;

/// Prints the status of one session or of all.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: StatusOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "status").await?;
    let (mut sessions, mut code) = (Vec::new(), ExitCode::SUCCESS);
    if let Some(name) = options.session {
        context.session(&name)?;
        sessions.push(read_status(&context, &name).await?);
    } else {
        for name in context.session_names().await? {
            match read_status(&context, &name).await {
                Ok(status) => sessions.push(status),
                // One unreadable session does not hide the other sessions.
                Err(error) => {
                    error.print_as_warning();
                    code = error.exit_code();
                }
            }
        }
    }
    if options.json {
        output::print_pretty_json(&sessions)?;
    } else if sessions.is_empty() && code == ExitCode::SUCCESS {
        say!("There are no sessions yet; `token-rotator login` makes one.");
    } else if !sessions.is_empty() {
        output::print(&(text(&sessions) + &failure_lines(&sessions)))?;
        for (session, hint) in sessions.iter().filter_map(SessionStatus::hint) {
            say!("hint: session `{session}`: {hint}");
        }
    }
    Ok(code)
}

async fn read_status(context: &Context, name: &SessionName) -> Result<SessionStatus, CommandError> {
    let settings = context.config.session(name)?.unwrap_or_default();
    SessionStatus::of(&context.session_with(name, settings)?).await
}

/// The state of a session and its last events.
#[derive(Serialize)]
pub(crate) struct SessionStatus {
    session: SessionName,
    pub(crate) state: SessionState,
    pub(crate) expires_at: Option<Timestamp>,
    expires_in_s: Option<i64>,
    scope: Option<String>,
    pub(crate) has_refresh_token: bool,
    /// When the refresh token expires, as the issuer stated it. The user has to sign in before.
    pub(crate) refresh_token_expires_at: Option<Timestamp>,
    /// The holder of the refresh lease, if the store can tell.
    lease: Option<LeaseHolder>,
    pub(crate) journal: Option<RefreshIntent>,
    last_refresh: Option<Entry>,
    pub(crate) last_failure: Option<Entry>,
    /// The failed refreshes that processes share through the record.
    pub(crate) shared_failures: Vec<FailureStatus>,
    /// Whether a sign-in or a refresh has succeeded since the last failure.
    #[serde(skip)]
    pub(crate) is_failure_resolved: bool,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    /// The access token is valid.
    Good,
    /// The access token has expired; the next command refreshes it.
    Expired,
    /// The issuer has refused the refresh token.
    Ended,
    /// The issuer has refused several refreshes without a reason.
    Refused,
    /// A user signed out.
    SignedOut,
    /// No user has signed in yet.
    New,
}

/// The process that holds the refresh lease.
///
/// A file store knows the process and since when. A shared store knows only when the lease ends.
#[derive(Clone, Copy, Debug, Serialize)]
struct LeaseHolder {
    process: Option<u32>,
    since: Option<Timestamp>,
    /// When the lease expires unless it is renewed. A lease of a file store does not expire.
    until: Option<Timestamp>,
    fence: u64,
}

/// The journal of the record: a refresh token that was sent and may be spent.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RefreshIntent {
    pub(crate) outcome: IntentState,
    attempts: u32,
    started: Option<Timestamp>,
}

/// The outcome of the journalled refresh, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntentState {
    /// The answer may still arrive.
    Open,
    /// No answer arrived: the refresh token may be spent.
    Uncertain,
    /// The issuer refused the refresh token.
    Refused,
}

impl SessionStatus {
    pub(crate) async fn of(session: &NamedSession<'_>) -> Result<Self, CommandError> {
        let record = session
            .store()
            .load(&session.key())
            .await
            .map_err(|error| {
                store_failed(format!("session `{}` cannot be read", session.name), &error)
            })?;
        let entries = session.history.read();
        let entries = entries.map_err(|error| history::cannot_read(session, &error))?;
        let last = |wanted: fn(&HistoryEvent) -> bool| {
            entries
                .iter()
                .rev()
                .find(|entry| wanted(&entry.event))
                .cloned()
        };
        let tokens = record.as_ref().and_then(|record| record.tokens());
        let expires_at = tokens
            .and_then(|tokens| tokens.expires_at())
            .and_then(|at| Timestamp::try_from(at).ok());
        Ok(Self {
            session: session.name.clone(),
            state: SessionState::of(record.as_ref(), expires_at),
            expires_at,
            expires_in_s: expires_at.map(|at| at.as_second() - Timestamp::now().as_second()),
            scope: tokens.and_then(|tokens| tokens.scope()).map(str::to_owned),
            has_refresh_token: tokens.is_some_and(|tokens| tokens.refresh_token().is_some()),
            refresh_token_expires_at: tokens
                .and_then(|tokens| tokens.refresh_token_expires_at())
                .and_then(|at| Timestamp::try_from(at).ok()),
            lease: LeaseHolder::of(session).await,
            shared_failures: record.as_ref().map(FailureStatus::all).unwrap_or_default(),
            journal: record
                .and_then(|record| record.intent())
                .map(RefreshIntent::from),
            last_refresh: last(|what| matches!(what, HistoryEvent::Refreshed { .. })),
            is_failure_resolved: match (last(HistoryEvent::is_failure), last(is_success)) {
                (Some(failure), Some(success)) => success.at > failure.at,
                _ => false,
            },
            last_failure: last(HistoryEvent::is_failure),
        })
    }

    /// Returns how long the refresh token lives, if it ends in less than three days. The time is
    /// negative if it has ended.
    pub(crate) fn refresh_token_ends(&self) -> Option<SignedDuration> {
        let left = self
            .refresh_token_expires_at?
            .duration_since(Timestamp::now());
        (left < SignedDuration::from_hours(3 * 24)).then_some(left)
    }

    /// Returns the action for the last failure, or `None` if the session was refreshed since.
    fn hint(&self) -> Option<(&SessionName, String)> {
        let failure = self
            .last_failure
            .as_ref()
            .filter(|_| !self.is_failure_resolved);
        let Some(failure) = failure else {
            let at = self.refresh_token_expires_at?;
            let login = sign_in(&self.session);
            let hint = if self.refresh_token_ends()?.is_positive() {
                let until = table::until(at);
                format!("its refresh token expires {until}: {login} before")
            } else {
                format!("its refresh token has expired: {login}")
            };
            return Some((&self.session, hint));
        };
        let hint = match failure.event {
            HistoryEvent::Ended { .. }
            | HistoryEvent::ReuseDetected { .. }
            | HistoryEvent::RefusedWithoutReason { .. }
            | HistoryEvent::AnotherUser => sign_in(&self.session),
            _ => failure.event.hint()?.to_owned(),
        };
        Some((&self.session, hint))
    }
}

/// Returns whether the event shows that the session works.
fn is_success(event: &HistoryEvent) -> bool {
    matches!(
        event,
        HistoryEvent::SignedIn | HistoryEvent::Refreshed { .. } | HistoryEvent::Adopted
    )
}

impl SessionState {
    fn of(record: Option<&Record>, expires_at: Option<Timestamp>) -> Self {
        let refused = |intent: Intent| intent.outcome == IntentOutcome::Refused;
        match record {
            None => Self::New,
            Some(record) if record.is_signed_out() => Self::SignedOut,
            // The first refresh of a client's own session failed.
            Some(record)
                if record.tokens().is_some_and(|tokens| {
                    tokens.access_token().expose_secret().is_empty()
                        && tokens.refresh_token().is_none()
                }) =>
            {
                Self::New
            }
            Some(_) if expires_at.is_none_or(|at| at > Timestamp::now()) => Self::Good,
            Some(record) if record.intent().is_some_and(refused) => Self::Ended,
            Some(record)
                if record
                    .unexplained_refusals()
                    .is_some_and(|refusals| refusals.is_refused) =>
            {
                Self::Refused
            }
            Some(_) => Self::Expired,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::SignedOut => "signed out",
            Self::New => "not signed in",
        }
    }
}

impl LeaseHolder {
    /// Returns `None` if the lease is free, or if the store cannot tell.
    async fn of(session: &NamedSession<'_>) -> Option<Self> {
        let key = session.key();
        let lease = match session.store_kind() {
            StoreKind::File(store) => {
                let holder = store.locks().holder(&key).ok()??;
                return Some(Self {
                    process: Some(holder.process),
                    since: Timestamp::try_from(holder.since).ok(),
                    until: None,
                    fence: holder.fence,
                });
            }
            StoreKind::Redis(store) => store.holder(&key).await.ok()??,
            StoreKind::Postgres(store) => store.holder(&key).await.ok()??,
        };
        Some(Self {
            process: None,
            since: None,
            until: Timestamp::try_from(SystemTime::now() + lease.left).ok(),
            fence: lease.fence,
        })
    }

    fn label(self) -> String {
        match (self.process, self.until) {
            (Some(process), _) => format!("process {process}"),
            (None, Some(until)) => format!("held, ends {}", table::until(until)),
            (None, None) => "held".to_owned(),
        }
    }
}

impl From<Intent> for RefreshIntent {
    fn from(intent: Intent) -> Self {
        Self {
            outcome: match intent.outcome {
                IntentOutcome::Open => IntentState::Open,
                IntentOutcome::Refused => IntentState::Refused,
                _ => IntentState::Uncertain,
            },
            attempts: intent.attempts,
            started: Timestamp::try_from(intent.started).ok(),
        }
    }
}

impl RefreshIntent {
    fn label(self) -> String {
        let what = match self.outcome {
            IntentState::Open => "answer awaited",
            IntentState::Uncertain => "answer lost",
            IntentState::Refused => "refused",
        };
        match self.started {
            Some(at) => format!("{what}, sent {}", table::ago(at)),
            None => what.to_owned(),
        }
    }
}

/// Returns a line for each shared failure, for below the table.
fn failure_lines(sessions: &[SessionStatus]) -> String {
    let lines = sessions.iter().flat_map(|status| {
        let failures = status.shared_failures.iter();
        failures.map(|failure| {
            let (session, text) = (&status.session, failure.text());
            format!("failure: session `{session}`: {text}\n")
        })
    });
    lines.collect()
}

fn text(sessions: &[SessionStatus]) -> String {
    let headings = [
        "SESSION",
        "STATE",
        "EXPIRES",
        "REFRESH TOKEN",
        "REFRESHED",
        "LEASE",
        "LAST FAILURE",
    ];
    let rows: Vec<_> = sessions
        .iter()
        .map(|status| {
            let none = || "-".to_owned();
            let lease = match (status.lease, status.journal) {
                (Some(holder), _) => holder.label(),
                (None, Some(journal)) => journal.label(),
                (None, None) => none(),
            };
            let refreshed = status.last_refresh.as_ref();
            let failure = status.last_failure.as_ref();
            [
                status.session.to_string(),
                status.state.label().to_owned(),
                status.expires_at.map_or_else(none, table::until),
                status
                    .refresh_token_expires_at
                    .map_or_else(none, table::until),
                refreshed.map_or_else(none, |entry| {
                    format!("{} by {}", table::ago(entry.at), entry.command)
                }),
                lease,
                failure.map_or_else(none, |entry| {
                    format!("{}: {}", table::ago(entry.at), entry.event.detail())
                }),
            ]
        })
        .collect();
    table::text(headings, &rows)
}
