//! `token-rotator rebind`: binds a session to the addresses of its settings, without a login.

use std::process::ExitCode;

use token_rotator::store::{Binding, Record, Saved, SessionStore as _};
use token_rotator::{SourceError, TokenSource as _};

use crate::arguments::{GlobalOptions, RebindOptions};
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::history::HistoryEvent;
use crate::session::{Context, NamedSession, sign_in, store_failed};

/// Shows the addresses before and after, and moves the binding of the record.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: &RebindOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "rebind").await?;
    let session = context.session(&options.session.name)?;
    let name = &session.name;
    let record = load(&session).await?;
    let current = addresses(&session).await?;
    show(Moment::Before, name.as_str(), record.binding());
    if record
        .binding()
        .is_some_and(|sealed| is_same(sealed, &current))
    {
        say!("Nothing to do: its settings name these addresses.");
        return Ok(ExitCode::SUCCESS);
    }
    save(&session, record, &current).await?;
    session.record_event(HistoryEvent::Rebound);
    show(Moment::After, name.as_str(), Some(&current));
    Ok(ExitCode::SUCCESS)
}

/// Reads the record.
///
/// *Errors:* no user is signed in.
async fn load(session: &NamedSession<'_>) -> Result<Record, CommandError> {
    let record = session.store().load(&session.key()).await;
    let record = record.map_err(|error| store_failed("the store cannot be read", &error))?;
    record
        .filter(|record| !record.is_signed_out())
        .ok_or_else(|| {
            CommandError::new(format!("session `{}` is not signed in", session.name))
                .why("only a session with tokens is bound to addresses")
                .hint(sign_in(&session.name))
                .code(crate::session::EXIT_SIGN_IN)
        })
}

/// Finds the addresses that the settings of the session lead to.
async fn addresses(session: &NamedSession<'_>) -> Result<Binding, CommandError> {
    let (source, key) = (session.source(), session.key());
    let found = match source.binding_to_revoke(&key).await {
        Ok(found) => Ok(found),
        // A revocation endpoint that cannot be found now can be followed later.
        Err(_) => source.binding(&key).await,
    };
    found
        .map_err(|error| unknown(Some(&error)))?
        .ok_or_else(|| unknown(None))
}

/// Returns the error that the addresses are not known. `error`: why the issuer's are not.
fn unknown(error: Option<&SourceError>) -> CommandError {
    let failed = CommandError::new("the addresses of the session are not known");
    let failed = match error {
        Some(error) => failed.because(error).hint_of(error.hint()),
        None => failed.why("the settings name no token endpoint"),
    };
    failed.or_hint("give the issuer: `issuer` in the configuration, or TOKEN_ROTATOR_ISSUER")
}

/// Writes the binding by compare-and-swap. A refresh of another process may write meanwhile.
async fn save(
    session: &NamedSession<'_>,
    mut record: Record,
    binding: &Binding,
) -> Result<(), CommandError> {
    let (store, key) = (session.store(), session.key());
    loop {
        let seen = record.version();
        let saved = store.save(&key, Some(seen), record.rebound(binding)).await;
        match saved.map_err(|error| store_failed("the session could not be saved", &error))? {
            Saved::Stored => return Ok(()),
            Saved::Conflict(_) => record = load(session).await?,
        }
    }
}

fn is_same(sealed: &Binding, current: &Binding) -> bool {
    (
        &sealed.issuer,
        &sealed.token_endpoint,
        &sealed.revocation_endpoint,
    ) == (
        &current.issuer,
        &current.token_endpoint,
        &current.revocation_endpoint,
    )
}

/// The moment for which the addresses are shown.
#[derive(Clone, Copy)]
enum Moment {
    Before,
    After,
}

fn show(moment: Moment, name: &str, binding: Option<&Binding>) {
    let verb = match moment {
        Moment::Before => "is bound to",
        Moment::After => "is now bound to",
    };
    let Some(binding) = binding else {
        say!("Session `{name}` {verb} no address.");
        return;
    };
    say!("Session `{name}` {verb}");
    for (label, address) in [
        ("issuer", &binding.issuer),
        ("token endpoint", &binding.token_endpoint),
        ("revocation endpoint", &binding.revocation_endpoint),
    ] {
        // A query may hold a key.
        let address = address
            .as_deref()
            .and_then(|address| address.split('?').next());
        say!("  {label:<20} {}", address.unwrap_or("-"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_known() {
        let error = SourceError::not_sent("the issuer's host is not found");
        let texts = [unknown(Some(&error)), unknown(None)].map(|error| error.text());
        insta::assert_snapshot!(texts.join("\n"), @"
        exit code 1
        error: the addresses of the session are not known
          because the issuer's host is not found
        hint: give the issuer: `issuer` in the configuration, or TOKEN_ROTATOR_ISSUER

        exit code 1
        error: the addresses of the session are not known
          because the settings name no token endpoint
        hint: give the issuer: `issuer` in the configuration, or TOKEN_ROTATOR_ISSUER
        ");
    }
}
