//! The rotators of all sessions that the routes use. Unchanged ones are kept across reloads.

use std::collections::BTreeMap;

use jiff::Timestamp;
use token_rotator::store::SessionStore as _;
use token_rotator::{Event, Rotator};
use token_rotator_proxy::Recorder;

use crate::command_error::CommandError;
use crate::config::{OriginText, SessionName, SessionSettings};
use crate::session::{
    Context, NamedSession, SHUTDOWN_TIMEOUT, sign_in, store_failed, unusable_tokens,
};

/// The sessions that the routes use, with the upstreams of each.
#[derive(Default)]
pub(super) struct RequiredSessions(BTreeMap<SessionName, Vec<OriginText>>);

impl RequiredSessions {
    pub(super) fn add(&mut self, session: &SessionName, upstream: &OriginText) {
        let upstreams = self.0.entry(session.clone()).or_default();
        if !upstreams.contains(upstream) {
            upstreams.push(upstream.clone());
        }
    }
}

/// The open sessions of a running proxy.
#[derive(Clone, Default)]
pub(super) struct ProxySessions {
    open: BTreeMap<SessionName, OpenSession>,
    pub(super) recorder: Recorder,
}

#[derive(Clone)]
struct OpenSession {
    settings: SessionSettings,
    upstreams: Vec<OriginText>,
    rotator: Rotator,
}

impl ProxySessions {
    /// Opens the required sessions and drops the rest. Keeps a session whose settings are unchanged.
    pub(super) async fn open(
        &mut self,
        context: &Context,
        needed: &RequiredSessions,
    ) -> Result<(), CommandError> {
        let mut open = BTreeMap::new();
        for (name, upstreams) in &needed.0 {
            let session = context.session(name)?;
            let previous = self.open.get(name);
            let unchanged = previous.filter(|previous| {
                previous.settings == session.settings && previous.upstreams == *upstreams
            });
            let entry = match unchanged {
                Some(unchanged) => unchanged.clone(),
                None => self.start(&session, upstreams).await?,
            };
            open.insert(name.clone(), entry);
        }
        self.open = open;
        Ok(())
    }

    async fn start(
        &self,
        session: &NamedSession<'_>,
        upstreams: &[OriginText],
    ) -> Result<OpenSession, CommandError> {
        let recorder = self.recorder.named(session.name.to_string());
        let name = session.name.clone();
        let rotator = session.rotator_with(|builder| {
            let builder = builder.on_event(move |event| {
                recorder.record(event);
                warn_of_refresh_end(&name, event);
            });
            // `origins` of the session is final: routes do not add to it.
            if session.settings.origins.is_some() {
                return builder;
            }
            upstreams.iter().fold(builder, |builder, upstream| {
                builder.origin(upstream.to_string())
            })
        })?;
        let record = session.store().load(&session.key()).await;
        let record = record.map_err(|error| store_failed("the store cannot be read", &error))?;
        let signed_in = record.is_some_and(|record| record.tokens().is_some());
        if !signed_in && session.settings.is_for_client() {
            let tokens = crate::login::client(session).await?;
            let stored = rotator
                .sign_in(tokens)
                .map_err(|error| unusable_tokens(&error))?;
            let stored = stored.await;
            stored.map_err(|error| store_failed("the session could not be saved", &error))?;
        } else if !signed_in {
            let name = &session.name;
            CommandError::new(format!("session `{name}` is not signed in"))
                .why("its store has no token; until it has one, requests are answered 503")
                .hint(sign_in(name))
                .print_as_warning();
        }
        Ok(OpenSession {
            settings: session.settings.clone(),
            upstreams: upstreams.to_vec(),
            rotator,
        })
    }

    /// Returns the rotator of an open session.
    ///
    /// *Panics* if the session is not open.
    pub(super) fn rotator(&self, name: &SessionName) -> Rotator {
        self.open[name].rotator.clone()
    }

    /// Shuts down the rotators that `others` does not contain, each in its own task.
    pub(super) fn shut_down_unused(self, others: &Self) {
        for (name, open) in self.open {
            let other = others.open.get(&name);
            if other.is_some_and(|other| other.rotator.is_same(&open.rotator)) {
                continue;
            }
            tokio::spawn(async move { open.rotator.shutdown(SHUTDOWN_TIMEOUT).await });
        }
    }
}

/// Logs that the refresh token of a session expires in less than three days.
fn warn_of_refresh_end(name: &SessionName, event: &Event) {
    if let Event::RefreshTokenExpiring { at } = event {
        let at = Timestamp::try_from(*at).map_or_else(|_| String::new(), |at| at.to_string());
        tracing::warn!(session = %name, at, hint = sign_in(name), "the refresh token expires soon");
    }
}
