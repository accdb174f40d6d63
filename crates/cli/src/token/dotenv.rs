//! The `dotenv` format: lines that shells, Docker and Node read in the same way.

use super::TokenOutput;
use crate::command_error::CommandError;

/// Returns the lines: the token, and its expiry in seconds since 1970.
pub(super) fn lines(printed: &TokenOutput) -> Result<String, CommandError> {
    // The characters of a Bearer token (RFC 6750 section 2.1) need no quotes in any of the readers.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !printed.token.chars().all(plain) {
        return Err(
            CommandError::new("the token cannot be written to a .env file")
                .why("it has characters that shells, Docker and Node read differently")
                .hint("use `--format json`, or `token-rotator exec`"),
        );
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
    fn a_token_that_needs_quotes_is_an_error() {
        let printed = TokenOutput {
            token: "it's $HOME".to_owned(),
            token_type: "Bearer",
            expires_at: None,
            scope: None,
            refresh_token: None,
        };
        let error = lines(&printed).expect_err("shells would expand it");
        insta::assert_snapshot!(error.text(), @"
        exit code 1
        error: the token cannot be written to a .env file
          because it has characters that shells, Docker and Node read differently
        hint: use `--format json`, or `token-rotator exec`
        ");
    }
}
