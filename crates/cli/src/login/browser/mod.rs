//! Sign-in with a browser (RFC 6749 section 4.1, RFC 8252). Prints and opens the issuer's address, then
//! receives the redirect on a port of this machine.
//!
//! `loopback.rs`: the server for the redirect; `page.rs`: the pages that it answers with; `paste.rs`: the
//! redirect that the user pastes.

mod loopback;
mod page;
mod paste;

use std::time::Duration;

use token_rotator::ExposeSecret as _;
use token_rotator_oauth2::{
    AuthorizationCode, AuthorizationRequest, CodeError, RedirectError, authorization_code,
};

use self::loopback::{BrowserRedirect, Loopback};
use self::page::Page;
use self::paste::Pasted;
use super::interactive::{interruptible, not_offered, with_settings, within};
use crate::arguments::LoginOptions;
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::{Endpoint, Endpoints, NamedSession, source_failed};

/// How long to wait for the redirect without `--timeout`.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How long the program that opens addresses may take to report a failure.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Signs in and stores the session. The browser shows the outcome.
pub(super) async fn sign_in(
    session: &NamedSession<'_>,
    options: &LoginOptions,
) -> Result<(), CommandError> {
    let address = session.settings.redirect_address();
    let mut loopback = Loopback::listen(address).await?;
    let outcome = run_sign_in(&mut loopback, session, options).await;
    loopback.finish().await;
    outcome
}

async fn run_sign_in(
    loopback: &mut Loopback,
    session: &NamedSession<'_>,
    options: &LoginOptions,
) -> Result<(), CommandError> {
    let request = interruptible(begin(session, options, loopback.redirect_uri())).await?;
    show(request.url(), options);
    let mut pasted = Pasted::ask(options.no_browser);
    let waited = within(
        Some(options.timeout.unwrap_or(SIGN_IN_TIMEOUT)),
        receive_code(loopback, &mut pasted, &request),
        |limit| {
            CommandError::new("the sign-in was not completed")
                .why(format!("no redirect arrived within {limit:?}"))
                .hint(
                    "sign in again; `--timeout` gives more time, and `--grant device` needs no browser \
                     on this machine",
                )
        },
    );
    let (code, redirect) = interruptible(waited).await?;
    let outcome = async {
        let exchanged = async { code.exchange().await.map_err(|error| no_tokens(&error)) };
        super::save_sign_in(session, interruptible(exchanged).await?).await
    };
    let outcome = outcome.await;
    if let Some(redirect) = redirect {
        redirect.show(match &outcome {
            Ok(()) => Page::signed_in(),
            Err(error) => Page::failed(&error.to_string()),
        });
    }
    outcome
}

async fn begin(
    session: &NamedSession<'_>,
    options: &LoginOptions,
    redirect_uri: &str,
) -> Result<AuthorizationRequest, CommandError> {
    let client_id = session.settings.client_id()?;
    let endpoints = Endpoints::new(&session.settings, session.transport.clone());
    let needed = [Endpoint::Authorization, Endpoint::Token];
    let metadata = endpoints.find(&needed).await?;
    let builder = authorization_code(&metadata, client_id, redirect_uri);
    let grant = with_settings(builder, &metadata, session, options)?;
    let grant = grant.build().map_err(|error| not_offered(&error))?;
    grant.begin().map_err(not_begun)
}

fn not_begun(error: impl std::error::Error) -> CommandError {
    CommandError::new("the sign-in could not be started")
        .because(error)
        .or_hint("try again in a moment")
}

/// Prints the address. Opens it in a browser unless `--no-browser` is given.
fn show(url: &str, options: &LoginOptions) {
    if options.no_browser {
        say!("Open this address in a browser on this machine:\n\n    {url}\n");
        return;
    }
    say!("Opening a browser at this address:\n\n    {url}\n");
    let url = url.to_owned();
    // Opening blocks for up to `LAUNCH_TIMEOUT`; the redirect may arrive before.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = open::that_detached_with_timeout(url, LAUNCH_TIMEOUT) {
            no_browser(&error).print_as_warning();
        }
    });
}

/// Warning that no browser could be opened. The text of `error` is omitted: it repeats the address.
fn no_browser(error: &std::io::Error) -> CommandError {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "this machine has no program that opens addresses",
        _ => "the program that opens addresses could not open this one",
    };
    CommandError::new("no browser could be opened")
        .why(why)
        .hint("open the address yourself, on this machine; `--grant device` needs no browser on it")
}

/// Waits for the redirect of this request, from a browser or pasted. Its browser waits for a page until
/// the sign-in has ended.
async fn receive_code(
    loopback: &mut Loopback,
    pasted: &mut Pasted,
    request: &AuthorizationRequest,
) -> Result<(AuthorizationCode, Option<BrowserRedirect>), CommandError> {
    let mut is_warned = false;
    loop {
        let (received, redirect) = tokio::select! {
            redirect = loopback.redirect() => (request.redirected(redirect.query()), Some(redirect)),
            query = pasted.query() => (request.redirected(query.expose_secret()), None),
        };
        let error = match received {
            Ok(code) => return Ok((code, redirect)),
            Err(error) => error,
        };
        let show = |page| {
            if let Some(redirect) = redirect {
                redirect.show(page);
            }
        };
        if !error.is_foreign() {
            let failed = refused(&error);
            show(Page::failed(&failed.to_string()));
            return Err(failed);
        }
        show(Page::foreign());
        if !is_warned {
            CommandError::new("a redirect was ignored")
                .why("it belongs to another sign-in, or to none (`state`)")
                .hint("no action is needed: the sign-in still waits for its own redirect")
                .print_as_warning();
            is_warned = true;
        }
    }
}

fn refused(error: &RedirectError) -> CommandError {
    let failed = CommandError::new("the sign-in was not completed");
    match error {
        RedirectError::AccessDenied { description } => {
            let reason = description.as_deref().unwrap_or("access_denied");
            failed
                .why(format!("the sign-in was denied: {reason}"))
                .hint("sign in again, and allow it")
        }
        RedirectError::OtherIssuer { .. } | RedirectError::NoIssuer { .. } => failed
            .because(error)
            .hint("check `--issuer`; the code was not used, because the redirect may be an attack"),
        _ => failed.because(error).hint_of(error.hint()),
    }
}

fn no_tokens(error: &CodeError) -> CommandError {
    let failed = CommandError::new("the issuer gave no tokens for the sign-in")
        .because(error)
        .hint_of(error.hint());
    match error {
        CodeError::Refused(error) => source_failed(failed, error),
        _ => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_random_numbers() {
        let error = std::io::Error::other("there are no random numbers");
        insta::assert_snapshot!(not_begun(error).text(), @"
        exit code 1
        error: the sign-in could not be started
          because there are no random numbers
        hint: try again in a moment
        ");
    }
}
