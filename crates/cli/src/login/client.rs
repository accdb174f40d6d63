//! Sign-in as the client itself (RFC 6749 section 4.4). The first token proves the credentials.

use token_rotator::{TokenSet, TokenSource as _};

use crate::command_error::CommandError;
use crate::session::{ClientAuthentication, IssuerSource, NamedSession, source_failed};

/// The hint for a refusal whose cause the issuer does not name.
pub(super) const CHECK_CLIENT: &str =
    "check the client's id, its secret and its scope, and that it may use this grant";
const NO_SECRET: &str = "no secret was given: set TOKEN_ROTATOR_CLIENT_SECRET, or name its location with \
                         `--client-secret-env` or `--client-secret-file`";

pub(crate) async fn tokens(session: &NamedSession<'_>) -> Result<TokenSet, CommandError> {
    session.settings.client_id()?;
    let has_secret = !matches!(
        session.settings.client_auth(None)?,
        ClientAuthentication::None
    );
    let source = IssuerSource::new(&session.settings, session.transport.clone());
    let refreshed = source.refresh(None).await;
    refreshed
        .map(|refreshed| refreshed.tokens)
        .map_err(|error| {
            let failed = CommandError::new("the issuer gave the client no token").because(&error);
            match error.code() {
                Some("invalid_client") if !has_secret => failed.hint(NO_SECRET),
                _ => source_failed(failed.hint_of(error.hint()).or_hint(CHECK_CLIENT), &error),
            }
        })
}
