//! The rotators of all sessions that routes need, kept over reloads.

use std::collections::BTreeMap;

use token_rotator::Rotator;
use token_rotator::store::SessionStore as _;
use token_rotator_proxy::Recorder;

use crate::command_error::CommandError;
use crate::config::{OriginText, SessionName, SessionSettings};
use crate::session::{Home, LANDING, Session, store_failed, unusable_tokens};

/// Which sessions are needed, and where their tokens go.
#[derive(Default)]
pub(super) struct Needed(BTreeMap<SessionName, Vec<OriginText>>);

impl Needed {
    pub(super) fn add(&mut self, session: &SessionName, upstream: &OriginText) {
        let upstreams = self.0.entry(session.clone()).or_default();
        if !upstreams.contains(upstream) {
            upstreams.push(upstream.clone());
        }
    }
}

/// The sessions that are open.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    open: BTreeMap<SessionName, Open>,
    pub(super) recorder: Recorder,
}

#[derive(Clone)]
struct Open {
    settings: SessionSettings,
    upstreams: Vec<OriginText>,
    rotator: Rotator,
}

impl Sessions {
    /// Opens what is needed and lets go of the rest; a session that is as it was stays open.
    pub(super) async fn open(&mut self, home: &Home, needed: &Needed) -> Result<(), CommandError> {
        let mut open = BTreeMap::new();
        for (name, upstreams) in &needed.0 {
            let session = home.session(name)?;
            let known = self.open.get(name);
            let same = known.filter(|known| {
                known.settings == session.settings && known.upstreams == *upstreams
            });
            let entry = match same {
                Some(same) => same.clone(),
                None => self.start(&session, upstreams).await?,
            };
            open.insert(name.clone(), entry);
        }
        self.open = open;
        Ok(())
    }

    async fn start(
        &self,
        session: &Session<'_>,
        upstreams: &[OriginText],
    ) -> Result<Open, CommandError> {
        let recorder = self.recorder.named(session.name.to_string());
        let rotator = session.rotator_with(|builder| {
            let builder = builder.on_event(move |event| recorder.record(event));
            // Where the session says where its token may go, routes do not widen that.
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
            stored
                .map_err(|error| store_failed("the session could not be written down", &error))?;
        } else if !signed_in {
            let name = &session.name;
            CommandError::new(format!("nobody is signed in to session `{name}`"))
                .why("its store has no token; until it has, requests are answered 503")
                .hint(format!(
                    "sign in with `token-rotator login --session {name}`"
                ))
                .print_as_warning();
        }
        Ok(Open {
            settings: session.settings.clone(),
            upstreams: upstreams.to_vec(),
            rotator,
        })
    }

    /// The rotator of a session that was opened.
    pub(super) fn rotator(&self, name: &SessionName) -> Rotator {
        self.open[name].rotator.clone()
    }

    /// Lets those end in peace that `others` do not have.
    pub(super) fn end_all_but(self, others: &Self) {
        for (name, open) in self.open {
            let kept = others.open.get(&name);
            if kept.is_some_and(|kept| kept.rotator.is_same(&open.rotator)) {
                continue;
            }
            tokio::spawn(async move { open.rotator.shutdown(LANDING).await });
        }
    }
}
