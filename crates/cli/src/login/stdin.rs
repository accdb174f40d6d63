//! Sign-in with a refresh token from stdin. The refresh token is exchanged at once, so that the session
//! has its own tokens.

use std::io::{IsTerminal as _, Read as _};
use std::sync::Arc;
use std::time::SystemTime;

use token_rotator::{Expiry, FailureKind, SourceError, TokenSet, TokenSource as _};

use crate::command_error::CommandError;
use crate::output::say;
use crate::session::{NamedSession, source_failed};

/// Longer than any refresh token.
const BYTES_MAX: u64 = 64 * 1024;

const SPENT: &str = "a refresh token that was used before is spent; get a new one";

const UNSENT: &str = "nothing was sent; the refresh token is still good: try again in a moment";

const LOST: &str = "the refresh token may be spent: try it once more, and get a new one if the issuer \
                    refuses it";

/// The result of the exchange.
pub(super) enum Exchanged {
    Tokens(TokenSet),
    /// The answer cannot be used, but it has spent the pasted refresh token and has the next one.
    OnlyRefreshToken(TokenSet, CommandError),
}

pub(super) async fn tokens(session: &NamedSession<'_>) -> Result<Exchanged, CommandError> {
    session.settings.client_id()?;
    session.settings.client_auth(None)?;
    let refresh_token = read()?;
    let last = TokenSet::bearer("none yet")
        .with_refresh_token(refresh_token)
        .with_expiry(Expiry::Unknown);
    let source = session.source();
    let last = Arc::new(last);
    match source.refresh(Some(Arc::clone(&last))).await {
        // An answer without a refresh token keeps the old one (RFC 6749 section 6).
        Ok(refreshed) => Ok(Exchanged::Tokens(
            match (refreshed.tokens.refresh_token(), last.refresh_token()) {
                (None, Some(old)) => refreshed.tokens.clone().with_refresh_token(old.clone()),
                _ => refreshed.tokens,
            },
        )),
        Err(error) => match error.received_refresh_token() {
            Some(token) => {
                let tokens = TokenSet::bearer("none yet")
                    .with_refresh_token(token.clone())
                    .with_expiry(Expiry::At(SystemTime::UNIX_EPOCH));
                let hint = error.hint().unwrap_or_default();
                let error = CommandError::new("the issuer's answer cannot be used")
                    .because(&error)
                    .hint(format!(
                        "the session is saved with the refresh token of that answer; {hint}"
                    ));
                Ok(Exchanged::OnlyRefreshToken(tokens, error))
            }
            None => Err(failed(&error)),
        },
    }
}

fn failed(error: &SourceError) -> CommandError {
    let what = match error.kind() {
        FailureKind::NotSent => "the refresh token could not be exchanged",
        _ => "the issuer did not take the refresh token",
    };
    let failed = CommandError::new(what).because(error);
    let failed = match error.kind() {
        FailureKind::NotSent => failed.hint(UNSENT),
        FailureKind::Terminal => failed.hint(SPENT),
        FailureKind::Uncertain => failed.hint(LOST),
        _ => failed
            .hint_of(error.hint())
            .or_hint("check the client's id and its scope, then try again with the same token"),
    };
    source_failed(failed, error)
}

fn read() -> Result<String, CommandError> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        say!("Paste the refresh token, then press Enter and Ctrl-D:");
    }
    let mut text = String::new();
    let read = input.by_ref().take(BYTES_MAX).read_to_string(&mut text);
    let unreadable = |why: String| {
        CommandError::new("there is no refresh token on stdin")
            .why(why)
            .hint("pipe it in: `pass show issuer/refresh-token | token-rotator login --grant refresh-token`")
    };
    read.map_err(|error| unreadable(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(unreadable("it is empty".to_owned()));
    }
    if token.contains(char::is_whitespace) {
        return Err(unreadable("it has blanks or several lines".to_owned()));
    }
    Ok(token.to_owned())
}
