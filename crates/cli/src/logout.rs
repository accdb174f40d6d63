//! `token-rotator logout`: over for every process at once, then revoked.

use std::process::ExitCode;
use std::sync::Arc;

use token_rotator::{
    Epoch, Record, Saved, SessionStore as _, SourceError, TokenSet, TokenSource as _, Version,
};

use crate::arguments::{GlobalOptions, LogoutOptions};
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::history::Happening;
use crate::session::{Home, IssuerSource, Session, store_failed};

/// Signs out.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: &LogoutOptions,
) -> Result<ExitCode, CommandError> {
    let home = Home::open(global, "logout").await?;
    let session = home.session(&options.session.name)?;
    let Some(tokens) = end(&session).await? else {
        say!("Nobody was signed in: session `{}`.", session.name);
        return Ok(ExitCode::SUCCESS);
    };
    session.note(Happening::SignedOut);
    let source = IssuerSource::new(&session.settings, session.transport.clone());
    let revoked = match source.can_revoke().await {
        Ok(true) => source.revoke(tokens).await,
        Ok(false) => {
            let nowhere = match &session.settings.issuer {
                Some(_) => "Its issuer names no revocation endpoint",
                None => "It has no `revocation_endpoint`",
            };
            say!(
                "Signed out: session `{}`. {nowhere}: its tokens end when they expire.",
                session.name
            );
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => Err(error),
    };
    session.note(Happening::Revoked {
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

/// Leaves a tombstone, whatever anybody else is writing: a refresh in the air comes too late.
async fn end(session: &Session<'_>) -> Result<Option<Arc<TokenSet>>, CommandError> {
    let (store, key) = (session.store(), session.key());
    let failed = |error| store_failed("the session could not be ended", &error);
    let mut record = store.load(&key).await.map_err(failed)?;
    loop {
        let Some(Record {
            version,
            tokens: Some(tokens),
            ..
        }) = record
        else {
            return Ok(None);
        };
        let tombstone = Record {
            version: Version {
                epoch: Epoch::random(),
                revision: version.revision + 1,
            },
            tokens: None,
            intent: None,
        };
        match store
            .save(&key, Some(version), tombstone)
            .await
            .map_err(failed)?
        {
            Saved::Stored => return Ok(Some(tokens)),
            Saved::Conflict(newer) => record = newer,
        }
    }
}

fn not_revoked(session: &Session<'_>, error: &SourceError) -> CommandError {
    CommandError::new(format!(
        "session `{}` has ended here, and its tokens could not be revoked",
        session.name
    ))
    .because(error)
    .hint("nothing has to be done: they end when they expire; the issuer's own pages may list and end the grant earlier")
}
