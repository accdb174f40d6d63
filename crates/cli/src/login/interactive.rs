//! Helpers of the sign-ins that wait for a user: in the browser and on another device.

use std::time::Duration;

use token_rotator_oauth2::{BuildError, IssuerMetadata, SignInBuilder, TransportMissing};
use token_rotator_reqwest::ReqwestTransport;

use crate::arguments::LoginOptions;
use crate::command_error::CommandError;
use crate::session::{ClientAuthentication, NamedSession};

/// The exit code that shells use for a command ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Applies the settings of the session and of the command line to a sign-in.
pub(super) fn with_settings<G>(
    mut builder: SignInBuilder<G, TransportMissing>,
    metadata: &IssuerMetadata,
    session: &NamedSession<'_>,
    options: &LoginOptions,
) -> Result<SignInBuilder<G, ReqwestTransport>, CommandError> {
    let settings = &session.settings;
    let methods = metadata.token_endpoint_auth_methods_supported();
    builder = match settings.client_auth(methods)? {
        ClientAuthentication::None => builder,
        ClientAuthentication::Basic(secret) => builder.client_secret_basic(secret),
        ClientAuthentication::Post(secret) => builder.client_secret_post(secret),
    };
    builder = builder.answer_rules(settings.answer_rules());
    if let Some(scope) = &settings.scope {
        builder = builder.scope(scope);
    }
    for resource in settings.resource.iter().flatten() {
        builder = builder.resource(resource);
    }
    if let Some(audience) = &settings.audience {
        builder = builder.audience(audience);
    }
    for param in settings.params.iter().flatten() {
        builder = builder.param(param.name(), param.value());
    }
    if let Some(prompt) = &options.prompt {
        builder = builder.param("prompt", prompt.as_str());
    }
    if let Some(user) = &options.login_hint {
        builder = builder.param("login_hint", user.as_str());
    }
    Ok(builder.transport(session.transport.clone()))
}

/// Error for a sign-in that cannot be built, such as one whose endpoint the issuer does not name.
pub(super) fn not_offered(error: &BuildError) -> CommandError {
    let failed = CommandError::new("the sign-in request cannot be made");
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

/// Runs `work` until Ctrl-C.
///
/// *Errors:* Ctrl-C was pressed, or `work` failed.
pub(super) async fn interruptible<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    tokio::select! {
        // Polled first, so that the handler is installed before `work` prints that it waits.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => {
            Err(CommandError::new("the sign-in was cancelled")
                .why("it was interrupted; the session has not changed")
                .hint("sign in again when you like")
                .code(INTERRUPTED))
        }
        outcome = work => outcome,
    }
}

/// Runs `work` within this time. `None` means no limit.
///
/// *Errors:* `work` took longer, or failed.
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
