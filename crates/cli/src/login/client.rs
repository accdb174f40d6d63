//! Signing in as the client itself (RFC 6749 section 4.4): its first token shows that it can.

use token_rotator::{TokenSet, TokenSource as _};

use crate::command_error::CommandError;
use crate::session::{IssuerSource, Session};

pub(crate) async fn tokens(session: &Session<'_>) -> Result<TokenSet, CommandError> {
    session.settings.client_id()?;
    session.settings.client_auth()?;
    let source = IssuerSource::new(&session.settings, session.transport.clone());
    let refreshed = source.refresh(None).await;
    refreshed.map(|refreshed| refreshed.tokens).map_err(|error| {
        CommandError::new("the issuer gave the client no token")
            .because(error)
            .hint("check the client's id, its secret and its scope, and that it may use client credentials")
    })
}
