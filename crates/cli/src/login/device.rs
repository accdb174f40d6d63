//! Signing in on another device (RFC 8628), from a machine without a browser.

use std::time::Duration;

use token_rotator::TokenSet;
use token_rotator_oauth2::{
    DeviceAuthorization, DeviceAuthorizationError, DeviceError, DevicePoll, device,
};

use super::attended::{configured, interruptible, not_offered, within};
use crate::arguments::LoginOptions;
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::{Endpoint, Endpoints, Session};

/// How long it is waited where neither the issuer nor the user says how long.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

pub(super) async fn tokens(
    session: &Session<'_>,
    options: &LoginOptions,
) -> Result<TokenSet, CommandError> {
    let client_id = session.settings.client_id()?;
    let endpoints = Endpoints::new(&session.settings, session.transport.clone());
    let needed = [Endpoint::DeviceAuthorization, Endpoint::Token];
    interruptible(async {
        let metadata = endpoints.find(&needed).await?;
        let grant = configured(device(&metadata, client_id), session, options)?
            .build()
            .map_err(|error| not_offered(&error))?;
        let authorization = grant.begin().await.map_err(|error| no_code(&error))?;
        show(&authorization);
        let limit = match authorization.expires_in() {
            None => options.timeout.or(Some(PATIENCE)),
            Some(_) => options.timeout,
        };
        within(limit, ask(authorization), |limit| {
            CommandError::new("nobody has signed in")
                .why(format!("the code was not entered within {limit:?}"))
                .hint("sign in again; `--timeout` gives more time")
        })
        .await
    })
    .await
}

fn show(authorization: &DeviceAuthorization) {
    let place = authorization.verification_uri();
    let code = authorization.user_code();
    say!("Open this address on any device:\n\n    {place}\n");
    say!("and enter the code\n\n    {code}\n");
    if let Some(complete) = authorization.verification_uri_complete() {
        say!("or open this one, and see that it shows the same code:\n\n    {complete}\n");
    }
}

/// Asks until somebody has decided. That the issuer cannot be reached is told once, until it has been.
async fn ask(mut authorization: DeviceAuthorization) -> Result<TokenSet, CommandError> {
    let mut told = false;
    loop {
        tokio::time::sleep(authorization.wait()).await;
        if let DevicePoll::Tokens(tokens) = authorization.poll().await.map_err(not_signed_in)? {
            return Ok(tokens);
        }
        match authorization.trouble() {
            Some(error) if !told => {
                CommandError::new("the issuer cannot say whether anybody has entered the code")
                    .because(error)
                    .hint("nothing has to be done; it is asked again while the code is good")
                    .print_as_warning();
                told = true;
            }
            Some(_) => {}
            None => told = false,
        }
    }
}

fn no_code(error: &DeviceAuthorizationError) -> CommandError {
    CommandError::new("there is no code to enter on another device")
        .because(error)
        .hint_of(error.hint())
        .or_hint("check the client's id and its scope, and that it may use the device grant")
}

fn not_signed_in(error: DeviceError) -> CommandError {
    let failed = CommandError::new("nobody has signed in");
    match error {
        DeviceError::AccessDenied => failed
            .why("the sign-in was denied on the other device (access_denied)")
            .hint("sign in again, and allow it"),
        DeviceError::Expired => failed
            .why("the code expired before anybody entered it")
            .hint("sign in again, and enter the new code in time"),
        error => failed.because(&error).hint_of(error.hint()),
    }
}
