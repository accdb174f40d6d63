//! `token-rotator token`: an access token that is good now, in the form that others expect.

mod dotenv;
mod fresh;
mod git;
mod kubernetes;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use token_rotator::{ExposeSecret as _, TokenSet};

pub(crate) use self::fresh::{Wanted, fresh};
use crate::arguments::{GlobalOptions, TokenFormat, TokenOptions};
use crate::command_error::CommandError;
use crate::output::{self, say};
use crate::session::Home;

/// Prints it.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: TokenOptions,
) -> Result<ExitCode, CommandError> {
    check(&options)?;
    let home = Home::open(global, "token").await?;
    let session = home.session(&options.session.name)?;
    if options.format == TokenFormat::GitCredential {
        return git::run(&session, options.operation.as_deref()).await;
    }
    let rotator = session.rotator()?;
    let wanted = Wanted {
        min_ttl: options.min_ttl,
        refresh: options.refresh,
    };
    let fresh = fresh(&session, &rotator, wanted).await;
    session.land(&rotator).await;
    let printed = Printed::of(fresh?.token_set(), &options)?;
    let text = match options.format {
        TokenFormat::Raw => printed.token.clone() + "\n",
        TokenFormat::Header => format!("Authorization: Bearer {}\n", printed.token),
        TokenFormat::Json => return json(&printed),
        TokenFormat::ExecCredential => return json(&kubernetes::ExecCredential::of(&printed)?),
        TokenFormat::Dotenv => dotenv::lines(&printed)?,
        TokenFormat::GitCredential => unreachable!("answered above"),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn check(options: &TokenOptions) -> Result<(), CommandError> {
    let json = options.format == TokenFormat::Json;
    if options.show_refresh_token && !json {
        return Err(CommandError::new("the refresh token is not printed")
            .why("it is printed as JSON alone, where nobody takes it for the access token")
            .hint("add `--format json`, or leave `--show-refresh-token` out"));
    }
    if let Some(operation) = &options.operation
        && options.format != TokenFormat::GitCredential
    {
        return Err(
            CommandError::new(format!("`token` takes no `{operation}` in this format"))
                .why("an operation is what git adds when it calls a credential helper")
                .hint("add `--format git-credential`, or leave it out"),
        );
    }
    Ok(())
}

/// What is said of a token, whatever the format.
#[derive(Serialize)]
pub(crate) struct Printed {
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

impl Printed {
    fn of(tokens: &TokenSet, options: &TokenOptions) -> Result<Self, CommandError> {
        let (token, expires_at) = chosen(tokens, options.id_token)?;
        let refresh_token = tokens
            .refresh_token()
            .filter(|_| options.show_refresh_token)
            .map(|token| token.expose_secret().to_owned());
        Ok(Self {
            token,
            token_type: "Bearer",
            // In whole seconds, and never later than it is.
            expires_at: expires_at
                .and_then(|at| Timestamp::try_from(at).ok())
                .and_then(|at| Timestamp::from_second(at.as_second()).ok()),
            scope: tokens.scope().map(str::to_owned),
            refresh_token,
        })
    }
}

/// The access token or the `id_token`, and when it expires.
pub(crate) fn chosen(
    tokens: &TokenSet,
    id_token: bool,
) -> Result<(String, Option<SystemTime>), CommandError> {
    if !id_token {
        let token = tokens.access_token().expose_secret().to_owned();
        return Ok((token, tokens.expires_at()));
    }
    let Some(token) = tokens.id_token() else {
        return Err(CommandError::new("the issuer has given no id_token")
            .why("it gives one where the scope has `openid`, and not every issuer with a refresh")
            .hint("sign in again with `--scope \"openid ...\"`, or leave `--id-token` out"));
    };
    let token = token.expose_secret().to_owned();
    let expires_at = token_rotator::jwt::expiry_hint(&token).map(|hint| {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(hint.expires_at_unix_ms)
    });
    if expires_at.is_some_and(|at| at <= SystemTime::now()) {
        return Err(CommandError::new("the id_token has expired")
            .why("this issuer gives no new one with a refresh")
            .hint("leave `--id-token` out for the access token, or sign in again"));
    }
    Ok((token, expires_at))
}

fn json(value: &impl Serialize) -> Result<ExitCode, CommandError> {
    output::print_json(value)?;
    warn_of_eyes();
    Ok(ExitCode::SUCCESS)
}

/// The token, to stdout, and nothing else.
fn print(text: &str) -> Result<(), CommandError> {
    output::print(text)?;
    warn_of_eyes();
    Ok(())
}

fn warn_of_eyes() {
    if std::io::stdout().is_terminal() {
        say!("(whoever sees this token can use it until it expires)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many an issuer gives no new one with a refresh.
    #[test]
    fn an_id_token_that_has_expired() {
        // {"alg":"none"}.{"exp":1}
        let tokens = TokenSet::bearer("a").with_id_token("eyJhbGciOiJub25lIn0.eyJleHAiOjF9.");
        let error = chosen(&tokens, true).expect_err("it has expired");
        insta::assert_snapshot!(error.text(), @"
        exit code 1
        error: the id_token has expired
          because this issuer gives no new one with a refresh
        hint: leave `--id-token` out for the access token, or sign in again
        ");
    }
}
