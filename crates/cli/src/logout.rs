//! `token-rotator logout`: ends a session for all processes, then revokes its tokens.

use std::process::ExitCode;
use std::sync::Arc;

use token_rotator::store::{Binding, Epoch, Record, Saved, SessionStore as _, Version};
use token_rotator::{SourceError, TokenSet, TokenSource as _};

use crate::arguments::{GlobalOptions, LogoutOptions};
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::history::HistoryEvent;
use crate::session::{Context, IssuerSource, NamedSession, store_failed};

/// Signs out, and revokes the tokens if the issuer can.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: &LogoutOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "logout").await?;
    let session = context.session(&options.session.name)?;
    let Some((tokens, binding)) = write_tombstone(&session).await? else {
        say!("Already signed out: session `{}`.", session.name);
        return Ok(ExitCode::SUCCESS);
    };
    session.record_event(HistoryEvent::SignedOut);
    let source = session.source();
    let revoked = match source.can_revoke().await {
        Ok(true) => match check_addresses(&source, &session, binding.as_ref()).await {
            Ok(()) => source.revoke(tokens).await,
            Err(error) => Err(error),
        },
        Ok(false) => {
            let reason = match &session.settings.issuer {
                Some(_) => "Its issuer names no revocation endpoint",
                None => "It has no `revocation_endpoint`",
            };
            say!(
                "Signed out: session `{}`. {reason}: the tokens end when they expire.",
                session.name
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
            say!(
                "Signed out, and revoked at the issuer: session `{}`.",
                session.name
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(not_revoked(&session, &error)),
    }
}

/// Writes a tombstone without the lease, so that a refresh in flight saves nothing.
///
/// Returns the tokens of the session and their binding. Returns `None` if the session was signed out.
async fn write_tombstone(
    session: &NamedSession<'_>,
) -> Result<Option<(Arc<TokenSet>, Option<Binding>)>, CommandError> {
    let (store, key) = (session.store(), session.key());
    let failed = |error| store_failed("the session could not be ended", &error);
    let mut record = store.load(&key).await.map_err(failed)?;
    loop {
        let Some(found) = record.filter(|record| !record.is_signed_out()) else {
            return Ok(None);
        };
        let seen = found.version();
        let next = Version::new(Epoch::random(), seen.revision + 1);
        match store
            .save(&key, Some(seen), Record::signed_out(next))
            .await
            .map_err(failed)?
        {
            Saved::Stored => {
                let binding = found.binding().cloned();
                return Ok(found.into_tokens().map(|tokens| (tokens, binding)));
            }
            Saved::Conflict(newer) => record = newer,
        }
    }
}

/// Checks that the revocation goes to the addresses of the login.
async fn check_addresses(
    source: &IssuerSource,
    session: &NamedSession<'_>,
    binding: Option<&Binding>,
) -> Result<(), SourceError> {
    let current = source.binding_to_revoke(&session.key()).await?;
    if let (Some(sealed), Some(current)) = (binding, &current) {
        sealed
            .check(current)
            .map_err(|error| SourceError::misconfigured(error.to_string()))?;
    }
    Ok(())
}

fn not_revoked(session: &NamedSession<'_>, error: &SourceError) -> CommandError {
    CommandError::new(format!(
        "session `{}` is signed out, but its tokens could not be revoked",
        session.name
    ))
    .because(error)
    .hint("no action is needed: the tokens end when they expire; the issuer's account pages may end the grant earlier")
}
