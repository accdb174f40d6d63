//! Signing in with a browser (RFC 6749 section 4.1, RFC 8252): its address is printed and opened, and it
//! comes back to a port of this machine.

mod loopback;
mod page;

use std::time::Duration;

use token_rotator_oauth2::{
    AuthorizationCode, AuthorizationRequest, CodeError, RedirectError, authorization_code,
};

use self::loopback::{Loopback, Redirect};
use self::page::Page;
use super::attended::{configured, interruptible, not_offered, within};
use crate::arguments::LoginOptions;
use crate::command_error::CommandError;
use crate::output::say;
use crate::session::{Endpoint, Endpoints, Session};

/// How long it is waited for somebody to sign in.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How long a program that opens addresses has to say that it could not.
const LAUNCH: Duration = Duration::from_secs(2);

/// Signs in and keeps the session; the browser is told how it ended.
pub(super) async fn sign_in(
    session: &Session<'_>,
    options: &LoginOptions,
) -> Result<(), CommandError> {
    let mut loopback = Loopback::listen(session.settings.redirect_port.unwrap_or(0)).await?;
    let outcome = through(&mut loopback, session, options).await;
    loopback.finish().await;
    outcome
}

async fn through(
    loopback: &mut Loopback,
    session: &Session<'_>,
    options: &LoginOptions,
) -> Result<(), CommandError> {
    let request = interruptible(begin(session, options, loopback.redirect_uri())).await?;
    show(request.url(), options);
    let waited = within(
        Some(options.timeout.unwrap_or(PATIENCE)),
        code(loopback, &request),
        |limit| {
            CommandError::new("nobody has signed in")
                .why(format!("no browser came back to this machine within {limit:?}"))
                .hint(
                    "sign in again; `--timeout` gives more time, and `--grant device` needs no browser \
                     on this machine",
                )
        },
    );
    let (code, redirect) = interruptible(waited).await?;
    let kept = async {
        let exchanged = async { code.exchange().await.map_err(|error| no_tokens(&error)) };
        super::keep(session, interruptible(exchanged).await?).await
    };
    let kept = kept.await;
    redirect.show(match &kept {
        Ok(()) => Page::signed_in(),
        Err(error) => Page::failed(&error.to_string()),
    });
    kept
}

async fn begin(
    session: &Session<'_>,
    options: &LoginOptions,
    redirect_uri: &str,
) -> Result<AuthorizationRequest, CommandError> {
    let client_id = session.settings.client_id()?;
    let endpoints = Endpoints::new(&session.settings, session.transport.clone());
    let needed = [Endpoint::Authorization, Endpoint::Token];
    let metadata = endpoints.find(&needed).await?;
    let builder = authorization_code(&metadata, client_id, redirect_uri);
    let grant = configured(builder, session, options)?;
    let grant = grant.build().map_err(|error| not_offered(&error))?;
    grant.begin().map_err(not_begun)
}

fn not_begun(error: impl std::error::Error) -> CommandError {
    CommandError::new("no sign-in could be begun")
        .because(error)
        .or_hint("try again in a moment")
}

/// Prints the address, and opens it if it may.
fn show(url: &str, options: &LoginOptions) {
    if options.no_browser {
        say!("Open this address in a browser on this machine:\n\n    {url}\n");
        return;
    }
    say!("Opening a browser at this address:\n\n    {url}\n");
    let url = url.to_owned();
    // What opens addresses may take its time; the redirect may come meanwhile.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = open::that_detached_with_timeout(url, LAUNCH) {
            no_browser(&error).print_as_warning();
        }
    });
}

/// The error's own words are a command line, in which the address would stand once more.
fn no_browser(error: &std::io::Error) -> CommandError {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "this machine has no program that opens addresses",
        _ => "the program that opens addresses could not open this one",
    };
    CommandError::new("no browser could be opened")
        .why(why)
        .hint("open the address yourself, on this machine; `--grant device` needs no browser on it")
}

/// Waits for the redirect that belongs to this request, and leaves its browser waiting for the outcome.
async fn code(
    loopback: &mut Loopback,
    request: &AuthorizationRequest,
) -> Result<(AuthorizationCode, Redirect), CommandError> {
    let mut told = false;
    loop {
        let redirect = loopback.redirect().await;
        match request.redirected(redirect.query()) {
            Ok(code) => return Ok((code, redirect)),
            Err(error) if error.is_foreign() => {
                redirect.show(Page::foreign());
                if !told {
                    CommandError::new("a redirect was ignored")
                        .why("it belongs to another sign-in, or to none (`state`)")
                        .hint("nothing has to be done, if no other tab was open; the right one may still come")
                        .print_as_warning();
                    told = true;
                }
            }
            Err(error) => {
                let failed = refused(&error);
                redirect.show(Page::failed(&failed.to_string()));
                return Err(failed);
            }
        }
    }
}

fn refused(error: &RedirectError) -> CommandError {
    let failed = CommandError::new("nobody has signed in");
    match error {
        RedirectError::AccessDenied { description } => {
            let words = description.as_deref().unwrap_or("access_denied");
            failed
                .why(format!("the sign-in was denied: {words}"))
                .hint("sign in again, and allow it")
        }
        RedirectError::OtherIssuer { .. } | RedirectError::NoIssuer { .. } => failed
            .because(error)
            .hint("whoever sent it may be after the code, which was not used; check `--issuer`"),
        _ => failed.because(error).hint_of(error.hint()),
    }
}

fn no_tokens(error: &CodeError) -> CommandError {
    CommandError::new("the issuer gave no tokens for the sign-in")
        .because(error)
        .hint_of(error.hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_random_numbers() {
        let error = std::io::Error::other("there are no random numbers");
        insta::assert_snapshot!(not_begun(error).text(), @"
        exit code 1
        error: no sign-in could be begun
          because there are no random numbers
        hint: try again in a moment
        ");
    }
}
