//! What the sign-ins have in common that somebody has to attend to.

use std::time::Duration;

use token_rotator_oauth2::{BuildError, SignInBuilder, TransportMissing};
use token_rotator_reqwest::ReqwestTransport;

use crate::arguments::LoginOptions;
use crate::command_error::CommandError;
use crate::session::{ClientAuth, Session};

/// What a shell says of a command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// With what the session and the command line say of a sign-in.
pub(super) fn configured<G>(
    mut builder: SignInBuilder<G, TransportMissing>,
    session: &Session<'_>,
    options: &LoginOptions,
) -> Result<SignInBuilder<G, ReqwestTransport>, CommandError> {
    let settings = &session.settings;
    builder = match settings.client_auth()? {
        ClientAuth::None => builder,
        ClientAuth::Basic(secret) => builder.client_secret_basic(secret),
        ClientAuth::Post(secret) => builder.client_secret_post(secret),
    };
    if let Some(scope) = &settings.scope {
        builder = builder.scope(scope);
    }
    for resource in settings.resource.iter().flatten() {
        builder = builder.resource(resource);
    }
    if let Some(audience) = &settings.audience {
        builder = builder.audience(audience);
    }
    if let Some(prompt) = &options.prompt {
        builder = builder.param("prompt", prompt.as_str());
    }
    if let Some(user) = &options.login_hint {
        builder = builder.param("login_hint", user.as_str());
    }
    Ok(builder.transport(session.transport.clone()))
}

/// The issuer does not offer this way to sign in, as far as is known.
pub(super) fn not_offered(error: &BuildError) -> CommandError {
    let failed = CommandError::new("the issuer cannot be asked to sign anybody in");
    match error {
        BuildError::Endpoint { which } => failed
            .why(format!("its metadata names no {which}"))
            .hint(format!(
                "choose another way with `--grant`, or give the {which}: `--{}`",
                which.replace(' ', "-")
            )),
        _ => failed.because(error).hint_of(error.hint()),
    }
}

/// The outcome of `work`, unless somebody presses Ctrl-C first, who gets the prompt back at once.
pub(super) async fn interruptible<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    tokio::select! {
        // First, so that it is heard before anybody is told that the sign-in waits.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => {
            Err(CommandError::new("the sign-in was given up")
                .why("it was interrupted; the session is as it was before")
                .hint("sign in again when you like")
                .code(INTERRUPTED))
        }
        outcome = work => outcome,
    }
}

/// The outcome of `work`, if it comes within this time; `None`: there is no limit.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, CommandError>>,
    late: impl FnOnce(Duration) -> CommandError,
) -> Result<T, CommandError> {
    let Some(limit) = limit else {
        return work.await;
    };
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(late(limit)),
    }
}
