//! `token-rotator login`: a session for all other commands.

mod attended;
mod browser;
mod client;
mod device;
mod stdin;

use std::process::ExitCode;

use token_rotator::TokenSet;
use token_rotator::store::SessionStore as _;

use crate::arguments::{GlobalOptions, LoginOptions};
use crate::command_error::CommandError;
use crate::config::GrantChoice;
use crate::output::say;
use crate::session::{Home, LANDING, Session, store_failed, unusable_tokens};

pub(crate) use self::client::tokens as client;

/// Signs in as the settings say, and keeps the session.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: LoginOptions,
) -> Result<ExitCode, CommandError> {
    let home = Home::open(global, "login").await?;
    let name = &options.session.name;
    let known = home.config.session(name)?.unwrap_or_default();
    let session = home.session_with(
        name,
        options.settings.clone().with_whole_paths().over(known),
    )?;
    // A session that later commands would refresh elsewhere is of no use, and its tokens would go astray.
    let later = home.config.session_after(name, &session.settings);
    if let Some(key) = session.settings.goes_elsewhere(&later) {
        return Err(configured_otherwise(&session, key));
    }
    // Before anything is spent that could not be kept.
    home.store.prepare().await?;
    let before = session.store().load(&session.key()).await;
    before.map_err(|error| store_failed("the store cannot keep the session", &error))?;
    match session.settings.grant() {
        GrantChoice::AuthorizationCode => browser::sign_in(&session, &options).await?,
        GrantChoice::Device => keep(&session, device::tokens(&session, &options).await?).await?,
        GrantChoice::ClientCredentials => keep(&session, client::tokens(&session).await?).await?,
        GrantChoice::RefreshToken => keep(&session, stdin::tokens(&session).await?).await?,
    }
    home.config.remember(name, &session.settings)?;
    say!("Signed in: session `{name}`.");
    Ok(ExitCode::SUCCESS)
}

fn configured_otherwise(session: &Session<'_>, key: &str) -> CommandError {
    let (name, file) = (&session.name, session.config_file().display());
    CommandError::new(format!("session `{name}` is configured otherwise"))
        .why(format!(
            "[sessions.{name}] in {file} says another `{key}` than this login, and later commands go by \
             that file"
        ))
        .hint("change it there, or sign in to a session of another name: `--session`")
}

/// Writes the session into its store before anybody is told that it is there.
async fn keep(session: &Session<'_>, tokens: TokenSet) -> Result<(), CommandError> {
    let rotator = session.rotator()?;
    let stored = rotator
        .sign_in(tokens)
        .map_err(|error| unusable_tokens(&error))?;
    let Err(error) = stored.await else {
        session.land(&rotator).await;
        return Ok(());
    };
    let failed = |what| store_failed(what, &error);
    failed("the session is not written down yet; it is tried again for a while").print_as_warning();
    if rotator.shutdown(LANDING).await {
        return Ok(());
    }
    Err(failed("the session could not be written down"))
}
