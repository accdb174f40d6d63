//! `token-rotator login`: signs in and stores the session for all other commands.
//!
//! - `browser/`, `device.rs`, `client.rs`, `stdin.rs`: one module per grant
//! - `interactive.rs`: what the browser and the device have in common

mod browser;
mod client;
mod device;
mod interactive;
mod stdin;

use std::process::ExitCode;

use token_rotator::TokenSet;
use token_rotator::store::SessionStore as _;

use crate::arguments::{GlobalOptions, LoginOptions};
use crate::command_error::CommandError;
use crate::config::GrantChoice;
use crate::output::say;
use crate::session::{Context, NamedSession, SHUTDOWN_TIMEOUT, store_failed, unusable_tokens};

pub(crate) use self::client::tokens as client;

/// Signs in with the grant of the settings, and stores the session.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: LoginOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "login").await?;
    let name = &options.session.name;
    let known = context.config.session(name)?.unwrap_or_default();
    let session = context.session_with(
        name,
        options
            .settings
            .clone()
            .with_absolute_paths()
            .with_fallback(known)
            .with_secret_variable(),
    )?;
    // Later commands use the configuration file. If it names another issuer or client, they would send
    // this session's refresh token there.
    let later = context.config.session_after(name, &session.settings);
    if let Some(key) = session.settings.conflicting_key(&later) {
        return Err(configured_differently(&session, key));
    }
    // A store that cannot save is reported before the sign-in spends a code or a refresh token.
    context.store.prepare().await?;
    let before = session.store().load(&session.key()).await;
    before.map_err(|error| store_failed("the store cannot keep the session", &error))?;
    match session.settings.grant() {
        GrantChoice::AuthorizationCode => browser::sign_in(&session, &options).await?,
        GrantChoice::Device => {
            let tokens = device::tokens(&session, &options).await?;
            save_sign_in(&session, tokens).await?;
        }
        GrantChoice::ClientCredentials => save(&session, client::tokens(&session).await?).await?,
        GrantChoice::RefreshToken => save(&session, stdin::tokens(&session).await?).await?,
    }
    context.config.write_session_file(name, &session.settings)?;
    say!("Signed in: session `{name}`.");
    Ok(ExitCode::SUCCESS)
}

fn configured_differently(session: &NamedSession<'_>, key: &str) -> CommandError {
    let (name, file) = (&session.name, session.config_file().display());
    CommandError::new(format!("session `{name}` is configured differently"))
        .why(format!(
            "[sessions.{name}] in {file} sets another `{key}` than this login, and later commands use \
             that file"
        ))
        .hint("change it there, or sign in to a session of another name: `--session`")
}

/// Stores the session of a user. Warns if it cannot be refreshed.
async fn save_sign_in(session: &NamedSession<'_>, tokens: TokenSet) -> Result<(), CommandError> {
    let is_refreshable = tokens.refresh_token().is_some();
    save(session, tokens).await?;
    if !is_refreshable {
        CommandError::new("the issuer gave no refresh token")
            .why("the session ends when its access token expires")
            .hint(session.settings.offline_hint(&session.name))
            .print_as_warning();
    }
    Ok(())
}

/// Stores the session before the command reports success.
async fn save(session: &NamedSession<'_>, tokens: TokenSet) -> Result<(), CommandError> {
    let rotator = session.rotator()?;
    let stored = rotator
        .sign_in(tokens)
        .map_err(|error| unusable_tokens(&error))?;
    let Err(error) = stored.await else {
        session.shut_down(&rotator).await;
        return Ok(());
    };
    let failed = |what| store_failed(what, &error);
    failed("the session is not saved yet; saving is tried again for a while").print_as_warning();
    if rotator.shutdown(SHUTDOWN_TIMEOUT).await {
        return Ok(());
    }
    Err(failed("the session could not be saved"))
}
