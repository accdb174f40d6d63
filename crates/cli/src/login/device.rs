//! Sign-in on another device (RFC 8628), for machines without a browser.

use std::time::Duration;

use token_rotator::TokenSet;
use token_rotator_oauth2::{
    DeviceAuthorization, DeviceAuthorizationError, DeviceError, DevicePoll, device,
};

use super::interactive::{interruptible, not_offered, with_settings, within};
use crate::arguments::LoginOptions;
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::{Endpoint, Endpoints, NamedSession, source_failed};

/// How long to wait if neither the issuer nor `--timeout` sets a limit.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(15 * 60);

pub(super) async fn tokens(
    session: &NamedSession<'_>,
    options: &LoginOptions,
) -> Result<TokenSet, CommandError> {
    let client_id = session.settings.client_id()?;
    let endpoints = Endpoints::new(&session.settings, session.transport.clone());
    let needed = [Endpoint::DeviceAuthorization, Endpoint::Token];
    interruptible(async {
        let metadata = endpoints.find(&needed).await?;
        let grant = with_settings(device(&metadata, client_id), &metadata, session, options)?
            .build()
            .map_err(|error| not_offered(&error))?;
        let authorization = grant.begin().await.map_err(|error| no_code(&error))?;
        show(&authorization);
        let limit = match authorization.expires_in() {
            None => options.timeout.or(Some(SIGN_IN_TIMEOUT)),
            Some(_) => options.timeout,
        };
        within(limit, poll_until_decided(authorization), |limit| {
            CommandError::new("the sign-in was not completed")
                .why(format!("the code was not entered within {limit:?}"))
                .hint("sign in again; `--timeout` gives more time")
        })
        .await
    })
    .await
}

fn show(authorization: &DeviceAuthorization) {
    let address = authorization.verification_uri();
    let code = authorization.user_code();
    say!("Open this address on any device:\n\n    {address}\n");
    say!("and enter the code\n\n    {code}\n");
    if let Some(complete) = authorization.verification_uri_complete() {
        say!("or open this address, and check that it shows the same code:\n\n    {complete}\n");
    }
}

/// Polls the issuer until the user has allowed or denied the sign-in.
///
/// Warns once when the issuer becomes unreachable.
async fn poll_until_decided(
    mut authorization: DeviceAuthorization,
) -> Result<TokenSet, CommandError> {
    let mut is_warned = false;
    loop {
        tokio::time::sleep(authorization.wait()).await;
        if let DevicePoll::Tokens(tokens) = authorization.poll().await.map_err(not_signed_in)? {
            return Ok(tokens);
        }
        match authorization.trouble() {
            Some(error) if !is_warned => {
                CommandError::new("the issuer does not answer whether the code was entered")
                    .because(error)
                    .hint("no action is needed: the issuer is asked again while the code is valid")
                    .print_as_warning();
                is_warned = true;
            }
            Some(_) => {}
            None => is_warned = false,
        }
    }
}

fn no_code(error: &DeviceAuthorizationError) -> CommandError {
    let failed = CommandError::new("there is no code to enter on another device")
        .because(error)
        .hint_of(error.hint())
        .or_hint(super::client::CHECK_CLIENT);
    match error {
        DeviceAuthorizationError::Refused(error) => source_failed(failed, error),
        _ => failed,
    }
}

fn not_signed_in(error: DeviceError) -> CommandError {
    let failed = CommandError::new("the sign-in was not completed");
    match error {
        DeviceError::AccessDenied => failed
            .why("the sign-in was denied on the other device (access_denied)")
            .hint("sign in again, and allow it"),
        DeviceError::Expired => failed
            .why("the code expired before it was entered")
            .hint("sign in again, and enter the new code in time"),
        DeviceError::Refused(ref source) | DeviceError::Unanswered(ref source) => {
            source_failed(failed.because(&error).hint_of(error.hint()), source)
        }
        error => failed.because(&error).hint_of(error.hint()),
    }
}
