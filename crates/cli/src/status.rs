//! `token-rotator status`: what is known of each session, without touching it.

use std::process::ExitCode;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use token_rotator::{Intent, IntentOutcome, Record, SessionStore as _};

use crate::arguments::{GlobalOptions, StatusOptions};
use crate::command_error::CommandError;
use crate::config::SessionName;
use crate::history;
use crate::output::{self, say};
use crate::session::history::{Entry, Happening};
use crate::session::{Home, OpenStore, Session, sign_in, store_failed};
use crate::table;

/// Shows them.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: StatusOptions,
) -> Result<ExitCode, CommandError> {
    let home = Home::open(global, "status").await?;
    let (mut sessions, mut code) = (Vec::new(), ExitCode::SUCCESS);
    if let Some(name) = options.session {
        home.session(&name)?;
        sessions.push(look(&home, &name).await?);
    } else {
        for name in home.session_names().await? {
            match look(&home, &name).await {
                Ok(status) => sessions.push(status),
                // The others are none the worse for it.
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
        output::print(&text(&sessions))?;
        for (session, hint) in sessions.iter().filter_map(Status::hint) {
            say!("hint: session `{session}`: {hint}");
        }
    }
    Ok(code)
}

async fn look(home: &Home, name: &SessionName) -> Result<Status, CommandError> {
    let settings = home.config.session(name)?.unwrap_or_default();
    Status::of(&home.session_with(name, settings)?).await
}

/// What is known of a session.
#[derive(Serialize)]
pub(crate) struct Status {
    session: SessionName,
    pub(crate) state: State,
    expires_at: Option<Timestamp>,
    expires_in_s: Option<i64>,
    scope: Option<String>,
    has_refresh_token: bool,
    /// Who is refreshing it, as far as the store can tell.
    lease: Option<Holder>,
    pub(crate) journal: Option<Journal>,
    last_refresh: Option<Entry>,
    pub(crate) last_failure: Option<Entry>,
}

/// How a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Its token is good.
    Good,
    /// Its token has expired; the next command refreshes it.
    Expired,
    /// The issuer has refused its refresh token.
    Ended,
    /// Somebody signed out.
    SignedOut,
    /// Nobody has signed in yet.
    New,
}

/// Who refreshes a session now: a process of this machine, or somebody at a shared store, which
/// knows no more than when that ends.
#[derive(Clone, Copy, Debug, Serialize)]
struct Holder {
    process: Option<u32>,
    since: Option<Timestamp>,
    /// When the lease runs out unless it is renewed; a file store's does not.
    until: Option<Timestamp>,
    fence: u64,
}

/// A refresh token that is being presented, or may be spent.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Journal {
    pub(crate) outcome: Outcome,
    attempts: u32,
    started: Option<Timestamp>,
}

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Its answer may still come.
    Open,
    /// There was no answer: the refresh token may be spent.
    Uncertain,
    /// The issuer refused it.
    Refused,
}

impl Status {
    pub(crate) async fn of(session: &Session<'_>) -> Result<Self, CommandError> {
        let record = session
            .store()
            .load(&session.key())
            .await
            .map_err(|error| {
                store_failed(format!("session `{}` cannot be read", session.name), &error)
            })?;
        let entries = session.history.read();
        let entries = entries.map_err(|error| history::unreadable(session, &error))?;
        let last = |wanted: fn(&Happening) -> bool| {
            entries
                .iter()
                .rev()
                .find(|entry| wanted(&entry.happening))
                .cloned()
        };
        let tokens = record.as_ref().and_then(|record| record.tokens.as_ref());
        let expires_at = tokens
            .and_then(|tokens| tokens.expires_at())
            .and_then(|at| Timestamp::try_from(at).ok());
        Ok(Self {
            session: session.name.clone(),
            state: State::of(record.as_ref(), expires_at),
            expires_at,
            expires_in_s: expires_at.map(|at| at.as_second() - Timestamp::now().as_second()),
            scope: tokens.and_then(|tokens| tokens.scope()).map(str::to_owned),
            has_refresh_token: tokens.is_some_and(|tokens| tokens.refresh_token().is_some()),
            lease: Holder::of(session).await,
            journal: record.and_then(|record| record.intent).map(Journal::from),
            last_refresh: last(|what| matches!(what, Happening::Refreshed { .. })),
            last_failure: last(Happening::is_failure),
        })
    }
}

impl Status {
    /// What to do about the last failure, unless the session has been refreshed since.
    fn hint(&self) -> Option<(&SessionName, String)> {
        let failure = self.last_failure.as_ref()?;
        let refreshed = self.last_refresh.as_ref();
        if refreshed.is_some_and(|refreshed| refreshed.at > failure.at) {
            return None;
        }
        let hint = match failure.happening {
            Happening::Ended { .. } | Happening::ReuseDetected { .. } => sign_in(&self.session),
            _ => failure.happening.hint()?.to_owned(),
        };
        Some((&self.session, hint))
    }
}

impl State {
    fn of(record: Option<&Record>, expires_at: Option<Timestamp>) -> Self {
        let refused = |intent: &Intent| intent.outcome == IntentOutcome::Refused;
        match record {
            None => Self::New,
            Some(Record { tokens: None, .. }) => Self::SignedOut,
            Some(_) if expires_at.is_none_or(|at| at > Timestamp::now()) => Self::Good,
            Some(record) if record.intent.as_ref().is_some_and(refused) => Self::Ended,
            Some(_) => Self::Expired,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Ended => "ended",
            Self::SignedOut => "signed out",
            Self::New => "not signed in",
        }
    }
}

impl Holder {
    /// `None`: nobody, or the store cannot tell.
    async fn of(session: &Session<'_>) -> Option<Self> {
        let key = session.key();
        let held = match session.store() {
            OpenStore::File(store) => {
                let holder = store.locks().holder(&key).ok()??;
                return Some(Self {
                    process: Some(holder.process),
                    since: Timestamp::try_from(holder.since).ok(),
                    until: None,
                    fence: holder.fence,
                });
            }
            OpenStore::Redis(store) => store.holder(&key).await.ok()??,
            OpenStore::Postgres(store) => store.holder(&key).await.ok()??,
        };
        Some(Self {
            process: None,
            since: None,
            until: Timestamp::try_from(SystemTime::now() + held.left).ok(),
            fence: held.fence,
        })
    }

    fn words(self) -> String {
        match (self.process, self.until) {
            (Some(process), _) => format!("process {process}"),
            (None, Some(until)) => format!("held, ends {}", table::until(until)),
            (None, None) => "held".to_owned(),
        }
    }
}

impl From<Intent> for Journal {
    fn from(intent: Intent) -> Self {
        Self {
            outcome: match intent.outcome {
                IntentOutcome::Open => Outcome::Open,
                IntentOutcome::Refused => Outcome::Refused,
                _ => Outcome::Uncertain,
            },
            attempts: intent.attempts,
            started: Timestamp::try_from(intent.started).ok(),
        }
    }
}

impl Journal {
    fn words(self) -> String {
        let what = match self.outcome {
            Outcome::Open => "answer awaited",
            Outcome::Uncertain => "answer lost",
            Outcome::Refused => "refused",
        };
        match self.started {
            Some(at) => format!("{what}, sent {}", table::ago(at)),
            None => what.to_owned(),
        }
    }
}

fn text(sessions: &[Status]) -> String {
    let headings = [
        "SESSION",
        "STATE",
        "EXPIRES",
        "REFRESHED",
        "LEASE",
        "LAST FAILURE",
    ];
    let rows: Vec<_> = sessions
        .iter()
        .map(|status| {
            let none = || "-".to_owned();
            let lease = match (status.lease, status.journal) {
                (Some(holder), _) => holder.words(),
                (None, Some(journal)) => journal.words(),
                (None, None) => none(),
            };
            let refreshed = status.last_refresh.as_ref();
            let failure = status.last_failure.as_ref();
            [
                status.session.to_string(),
                status.state.words().to_owned(),
                status.expires_at.map_or_else(none, table::until),
                refreshed.map_or_else(none, |entry| {
                    format!("{} by {}", table::ago(entry.at), entry.command)
                }),
                lease,
                failure.map_or_else(none, |entry| {
                    format!("{}: {}", table::ago(entry.at), entry.happening.detail())
                }),
            ]
        })
        .collect();
    table::text(headings, &rows)
}
