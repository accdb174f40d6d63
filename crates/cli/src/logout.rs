//! `token-rotator logout`: ends a session for all processes, then revokes its tokens.

use std::process::ExitCode;
use std::sync::Arc;

use token_rotator::store::{Binding, Epoch, Record, Saved, SessionStore as _, StoreError, Version};
use token_rotator::{SourceError, TokenSet, TokenSource as _};

use crate::arguments::{GlobalOptions, LogoutOptions};
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::history::HistoryEvent;
use crate::session::{Context, IssuerSource, NamedSession, StoreKind, store_failed};

/// Signs out, and revokes the tokens if the issuer can.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: &LogoutOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "logout").await?;
    let session = context.session(&options.session.name)?;
    let name = &session.name;
    let (tokens, binding) = match write_tombstone(&session).await? {
        Ended::Before => {
            say!("Already signed out: session `{name}`.");
            return Ok(ExitCode::SUCCESS);
        }
        Ended::Now(tokens, binding) => (tokens, binding),
        Ended::Unread(error) => {
            session.record_event(HistoryEvent::SignedOut);
            return Err(unread(&session, &error));
        }
    };
    session.record_event(HistoryEvent::SignedOut);
    let source = session.source();
    let revoked = match revoke(&source, &session, Arc::clone(&tokens), binding.as_ref()).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let reason = match &session.settings.issuer {
                Some(_) => "Its issuer names no revocation endpoint",
                None => "It has no `revocation_endpoint`",
            };
            say!(
                "Signed out: session `{name}`. {reason}: {}.",
                what_remains(&tokens)
            );
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => Err(error),
    };
    session.record_event(HistoryEvent::Revoked {
        error: revoked.as_ref().err().map(ToString::to_string),
        hint: revoked
            .as_ref()
            .err()
            .and_then(|error| error.hint().map(str::to_owned)),
    });
    match revoked {
        Ok(()) => {
            say!("Signed out, and revoked at the issuer: session `{name}`.");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(not_revoked(&session, &tokens, &error)),
    }
}

/// Revokes the tokens at the addresses of the login. Returns false if the issuer cannot revoke.
async fn revoke(
    source: &IssuerSource,
    session: &NamedSession<'_>,
    tokens: Arc<TokenSet>,
    binding: Option<&Binding>,
) -> Result<bool, SourceError> {
    let check = |current: &Binding| match binding.map(|sealed| sealed.check(current)) {
        Some(Err(error)) => Err(SourceError::misconfigured(error.to_string())),
        _ => Ok(()),
    };
    // An address that is known to differ is not even asked for its metadata.
    if let Some(known) = source.known_binding(&session.key()) {
        check(&known)?;
    }
    if !source.can_revoke().await? {
        return Ok(false);
    }
    if let Some(current) = source.binding_to_revoke(&session.key()).await? {
        check(&current)?;
    }
    source.revoke(tokens).await.map(|()| true)
}

/// How a session was ended.
enum Ended {
    /// It was signed out before.
    Before,
    /// These were its tokens and their binding.
    Now(Arc<TokenSet>, Option<Binding>),
    /// Its tokens could not be read.
    Unread(StoreError),
}

/// Writes a tombstone without the lease, so that a refresh in flight saves nothing.
///
/// A file store needs no key for that, so a logout works with a locked keyring.
async fn write_tombstone(session: &NamedSession<'_>) -> Result<Ended, CommandError> {
    let (store, key) = (session.store(), session.key());
    let failed = |error| store_failed("the session could not be ended", &error);
    let next = |seen: Version| Version::new(Epoch::random(), seen.revision.saturating_add(1));
    let mut record = match (store.load(&key).await, session.store_kind()) {
        (Ok(record), _) => record,
        (Err(unread), StoreKind::File(files)) => {
            let Ok(Some(header)) = files.header(&key).await else {
                return Err(failed(unread));
            };
            let seen = header.version;
            let tombstone = Record::signed_out(next(seen));
            return match store.save(&key, Some(seen), tombstone).await {
                Ok(Saved::Stored) => Ok(Ended::Unread(unread)),
                _ => Err(failed(unread)),
            };
        }
        (Err(error), _) => return Err(failed(error)),
    };
    loop {
        let Some(found) = record.filter(|record| !record.is_signed_out()) else {
            return Ok(Ended::Before);
        };
        let seen = found.version();
        match store
            .save(&key, Some(seen), Record::signed_out(next(seen)))
            .await
            .map_err(failed)?
        {
            Saved::Stored => {
                let binding = found.binding().cloned();
                return Ok(match found.into_tokens() {
                    Some(tokens) => Ended::Now(tokens, binding),
                    None => Ended::Before,
                });
            }
            Saved::Conflict(newer) => record = newer,
        }
    }
}

/// States what stays valid of tokens that were not revoked.
fn what_remains(tokens: &TokenSet) -> &'static str {
    if tokens.refresh_token().is_some() {
        "the access token ends when it expires, and the refresh token stays valid until the issuer \
         ends it"
    } else {
        "the access token ends when it expires"
    }
}

fn not_revoked(session: &NamedSession<'_>, tokens: &TokenSet, error: &SourceError) -> CommandError {
    CommandError::new(format!(
        "session `{}` is signed out, but its tokens could not be revoked",
        session.name
    ))
    .because(error)
    .hint(format!(
        "{}; end the grant on the issuer's account pages",
        what_remains(tokens)
    ))
}

fn unread(session: &NamedSession<'_>, error: &StoreError) -> CommandError {
    CommandError::new(format!(
        "session `{}` is signed out, but its tokens could not be revoked",
        session.name
    ))
    .because(error)
    .hint(
        "the tokens stay valid until the issuer ends them: end the grant on the issuer's account \
         pages",
    )
}
