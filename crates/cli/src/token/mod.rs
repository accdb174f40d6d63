//! `token-rotator token`: prints a valid access token in the format that the caller needs.
//!
//! `obtain.rs`: obtains the token; `dotenv.rs git.rs kubernetes.rs`: one module per format;
//! `user_names.rs`: the user of a session, for git.

mod dotenv;
mod git;
mod kubernetes;
mod obtain;
mod user_names;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use token_rotator::{ExposeSecret as _, TokenSet};

pub(crate) use self::obtain::{TokenRequirements, obtain_token};
use crate::arguments::{GlobalOptions, OutputFormat, TokenOptions};
use crate::command_error::CommandError;
use crate::output::{self, say};
use crate::session::Context;

/// Prints the token, or answers git.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: TokenOptions,
) -> Result<ExitCode, CommandError> {
    check_options(&options)?;
    let context = Context::open(global, "token").await?;
    let session = context.session(&options.session.name)?;
    if options.format == OutputFormat::GitCredential {
        return git::run(&session, options.operation.as_deref()).await;
    }
    let rotator = session.rotator()?;
    let wanted = TokenRequirements {
        min_ttl: options.min_ttl,
        refresh: options.refresh,
        no_wait: options.no_wait,
        id_token: options.id_token,
    };
    let token = obtain_token(&session, &rotator, wanted).await;
    session.shut_down(&rotator).await;
    let printed = TokenOutput::of(token?.token_set(), &options)?;
    let text = match options.format {
        OutputFormat::Raw => printed.token.clone() + "\n",
        OutputFormat::Header => format!("Authorization: Bearer {}\n", printed.token),
        OutputFormat::Json => return json(&printed),
        OutputFormat::ExecCredential => return json(&kubernetes::ExecCredential::of(&printed)?),
        OutputFormat::Dotenv => dotenv::lines(&printed)?,
        OutputFormat::GitCredential => unreachable!("handled above"),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn check_options(options: &TokenOptions) -> Result<(), CommandError> {
    let json = options.format == OutputFormat::Json;
    if options.show_refresh_token && !json {
        return Err(CommandError::new("the refresh token is not printed")
            .why("it is printed only as JSON, where its field tells it from the access token")
            .hint("add `--format json`, or leave `--show-refresh-token` out"));
    }
    if let Some(operation) = &options.operation
        && options.format != OutputFormat::GitCredential
    {
        return Err(
            CommandError::new(format!("`token` takes no `{operation}` in this format"))
                .why("git adds an operation when it calls a credential helper")
                .hint("add `--format git-credential`, or leave it out"),
        );
    }
    Ok(())
}

/// The data of a printed token, for every format.
#[derive(Serialize)]
pub(crate) struct TokenOutput {
    #[serde(rename = "access_token")]
    token: String,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl TokenOutput {
    fn of(tokens: &TokenSet, options: &TokenOptions) -> Result<Self, CommandError> {
        let (token, expires_at) = select_token(tokens, options.id_token)?;
        let refresh_token = tokens
            .refresh_token()
            .filter(|_| options.show_refresh_token)
            .map(|token| token.expose_secret().to_owned());
        Ok(Self {
            token,
            token_type: "Bearer",
            // Whole seconds, rounded down, so that the token is never used after its expiry.
            expires_at: expires_at
                .and_then(|at| Timestamp::try_from(at).ok())
                .and_then(|at| Timestamp::from_second(at.as_second()).ok()),
            scope: tokens.scope().map(str::to_owned),
            refresh_token,
        })
    }
}

/// Returns the access token or the `id_token`, and its expiry.
///
/// *Errors:* there is no `id_token`, or it has expired.
pub(crate) fn select_token(
    tokens: &TokenSet,
    id_token: bool,
) -> Result<(String, Option<SystemTime>), CommandError> {
    if !id_token {
        let token = tokens.access_token().expose_secret().to_owned();
        return Ok((token, tokens.expires_at()));
    }
    let Some(token) = tokens.id_token() else {
        return Err(CommandError::new("the issuer has given no id_token")
            .why("it gives one if the scope has `openid`; some issuers give none with a refresh")
            .hint("sign in again with `--scope \"openid ...\"`, or leave `--id-token` out"));
    };
    let token = token.expose_secret().to_owned();
    let expires_at = obtain::id_token_expiry(tokens);
    if expires_at.is_some_and(|at| at <= SystemTime::now()) {
        return Err(CommandError::new("the id_token has expired")
            .why("this issuer gives no new one with a refresh")
            .hint("leave `--id-token` out for the access token, or sign in again"));
    }
    Ok((token, expires_at))
}

fn json(value: &impl Serialize) -> Result<ExitCode, CommandError> {
    output::print_json(value)?;
    warn_if_terminal();
    Ok(ExitCode::SUCCESS)
}

/// Prints the token to stdout, and nothing else.
fn print(text: &str) -> Result<(), CommandError> {
    output::print(text)?;
    warn_if_terminal();
    Ok(())
}

fn warn_if_terminal() {
    if std::io::stdout().is_terminal() {
        say!("(keep this token secret: it can be used until it expires)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many issuers give no new `id_token` with a refresh.
    #[test]
    fn an_id_token_that_has_expired() {
        // {"alg":"none"}.{"exp":1}
        let tokens = TokenSet::bearer("a").with_id_token("eyJhbGciOiJub25lIn0.eyJleHAiOjF9.");
        let error = select_token(&tokens, true).expect_err("it has expired");
        insta::assert_snapshot!(error.text(), @"
        exit code 1
        error: the id_token has expired
          because this issuer gives no new one with a refresh
        hint: leave `--id-token` out for the access token, or sign in again
        ");
    }
}
