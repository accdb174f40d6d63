//! Lines for a `.env` file, which shells, Docker and Node read alike.

use super::Printed;
use crate::command_error::CommandError;

/// The token, and when it expires in seconds since 1970.
pub(super) fn lines(printed: &Printed) -> Result<String, CommandError> {
    // RFC 6750 section 2.1: what a Bearer token is made of needs no quotes in any of them.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !printed.token.chars().all(plain) {
        return Err(CommandError::new("the token cannot stand in a .env file")
            .why("it has characters that shells, Docker and Node read differently")
            .hint("use `--format json`, or `token-rotator exec`"));
    }
    let expires_at = printed
        .expires_at
        .map(|at| format!("ACCESS_TOKEN_EXPIRES_AT={}\n", at.as_second()));
    let token = &printed.token;
    Ok(format!(
        "ACCESS_TOKEN={token}\n{}",
        expires_at.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_wants_quotes() {
        let printed = Printed {
            token: "it's $HOME".to_owned(),
            token_type: "Bearer",
            expires_at: None,
            scope: None,
            refresh_token: None,
        };
        let error = lines(&printed).expect_err("shells would expand it");
        insta::assert_snapshot!(error.text(), @"
        exit code 1
        error: the token cannot stand in a .env file
          because it has characters that shells, Docker and Node read differently
        hint: use `--format json`, or `token-rotator exec`
        ");
    }
}
