//! A running sign-in with a browser, from the authorization request to the tokens.

use std::fmt;
use std::sync::Arc;

use token_rotator::{FailureKind, SecretString, SourceError, TokenSet};

use super::pkce::Verifier;
use super::redirect::{RedirectError, RedirectParameters};
use crate::answer::RequestKind;
use crate::id_token::IdTokenError;
use crate::secrets::Secrets;
use crate::sign_in::{SignInSettings, TokensError};

/// A sign-in that waits for its redirect (RFC 6749 section 4.1.1).
///
/// *Cancellation*: dropping it discards `state` and code verifier, so a later redirect is useless.
pub struct AuthorizationRequest {
    pub(super) sign_in: Arc<SignInSettings>,
    pub(super) url: Arc<str>,
    pub(super) redirect_uri: Arc<str>,
    pub(super) iss_required: bool,
    pub(super) state: SecretString,
    pub(super) nonce: Option<SecretString>,
    pub(super) verifier: Verifier,
}

impl AuthorizationRequest {
    /// Returns the address to open in the user's browser. Show it to the user only: it contains the
    /// `state`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the address to which the issuer sends the browser.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Returns the code of the redirect (RFC 6749 section 4.1.2).
    ///
    /// `redirect` is the query of the redirect request, or the whole address as a user copies it.
    ///
    /// *Errors*: a redirect is refused for
    ///
    /// - a `state` that is missing, repeated or different;
    /// - an `iss` of a different issuer, or a missing `iss` if the metadata promises it (RFC 9207
    ///   section 2.4);
    /// - any repeated parameter (RFC 6749 section 3.1).
    ///
    /// After an error with [`is_foreign`](RedirectError::is_foreign), keep waiting: that redirect
    /// belongs to a different sign-in. Any other error ends this sign-in.
    pub fn redirected(&self, redirect: &str) -> Result<AuthorizationCode, RedirectError> {
        let redirect = RedirectParameters::read(redirect, &self.redirect_uri);
        let mut secrets = Secrets::new();
        secrets.extend([&self.state, self.verifier.secret()]);
        secrets.extend(&self.nonce);
        let issuer = self.sign_in.issuer.as_deref();
        let code = redirect.code(&self.state, issuer, self.iss_required, secrets)?;
        Ok(AuthorizationCode {
            sign_in: Arc::clone(&self.sign_in),
            redirect_uri: Arc::clone(&self.redirect_uri),
            nonce: self.nonce.clone(),
            verifier: self.verifier.secret().clone(),
            code,
        })
    }
}

/// Shows no address, because the address contains the `state`.
impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AuthorizationRequest")
            .field("client_id", &self.sign_in.options.client.id)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// An authorization code, which can be exchanged once.
#[must_use = "a code becomes tokens by `exchange().await`"]
pub struct AuthorizationCode {
    sign_in: Arc<SignInSettings>,
    redirect_uri: Arc<str>,
    nonce: Option<SecretString>,
    verifier: SecretString,
    code: SecretString,
}

impl AuthorizationCode {
    /// Exchanges the code for tokens with one request (RFC 6749 section 4.1.3), which is never
    /// repeated.
    ///
    /// If the answer has an `id_token`, its issuer, audience, expiry and `nonce` are checked. Its
    /// signature is not checked: it came directly from the token endpoint over TLS (OIDC Core
    /// section 3.1.3.7 item 6).
    ///
    /// *Waits* as long as the transport does. *Cancellation*: after a part of the request was sent,
    /// dropping the future loses the code, and the user must sign in again.
    pub async fn exchange(self) -> Result<TokenSet, CodeError> {
        let mut post = self.sign_in.post();
        post.form.param("grant_type", "authorization_code");
        post.secret("code", &self.code);
        post.form.param("redirect_uri", &self.redirect_uri);
        post.secret("code_verifier", &self.verifier);
        post.secrets.extend(&self.nonce);
        let options = &self.sign_in.options;
        // The authorization request carried the audience; a resource belongs in both requests (RFC
        // 8707 section 2.2).
        post.resources(&options.resources);
        let kind = RequestKind::AuthorizationCode;
        let (answer, secrets) = options.client.post(kind, post).await?;
        let nonce = self.nonce.as_ref();
        let tokens = self.sign_in.tokens(kind, &answer, &secrets, nonce);
        tokens.map_err(|error| match error {
            TokensError::Refused(error) => CodeError::Refused(error),
            TokensError::IdToken(error) => CodeError::IdToken(error),
        })
    }
}

impl fmt::Debug for AuthorizationCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AuthorizationCode")
            .field("client_id", &self.sign_in.options.client.id)
            .finish_non_exhaustive()
    }
}

/// Why a code brought no tokens. The code is or may be spent. [`hint`](Self::hint) returns the
/// action for the cause.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// The issuer did not exchange the code.
    #[error("the code brought no tokens: {0}")]
    Refused(#[from] SourceError),
    /// The answer contains an `id_token` that is not trustworthy.
    #[error("the tokens cannot be used: {0}")]
    IdToken(#[source] IdTokenError),
}

impl CodeError {
    /// Returns the action for this cause. Every cause has a hint.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused(error) => Some(sign_in_again(error)),
            Self::IdToken(error) => error.hint(),
        }
    }
}

/// Returns the hint for a sign-in that failed with this error. Its code cannot be used again, so the
/// user must sign in again.
pub(crate) fn sign_in_again(error: &SourceError) -> &'static str {
    match (error.kind(), error.code()) {
        (FailureKind::Misconfigured, Some("invalid_client" | "incorrect_client_credentials")) => {
            "check the client's id, its secret and how it authenticates, then sign in again"
        }
        (FailureKind::Misconfigured, Some("unauthorized_client" | "unsupported_grant_type")) => {
            "let the issuer allow this client this way to sign in, then sign in again"
        }
        (FailureKind::Misconfigured, Some("invalid_scope")) => {
            "ask for another scope, then sign in again"
        }
        (FailureKind::Misconfigured, Some("invalid_target")) => {
            "ask for another resource or audience, then sign in again"
        }
        (FailureKind::Misconfigured, _) => {
            "check the client's settings and the token endpoint, then sign in again"
        }
        (FailureKind::NotSent, _) => "check the network, then sign in again",
        (FailureKind::Transient, _) => "wait a moment, then sign in again",
        _ => "sign in again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: a sign-in that failed has the hint for its own cause, and each ends in a new sign-in.
    #[test]
    fn each_cause_has_its_hint() {
        let wrong = |code: &'static str| SourceError::misconfigured("no").with_code(code);
        for (error, hint) in [
            (wrong("invalid_client"), "its secret"),
            (wrong("unauthorized_client"), "allow this client"),
            (wrong("invalid_scope"), "another scope"),
            (wrong("invalid_target"), "another resource"),
            (wrong("invalid_request"), "the client's settings"),
            (SourceError::misconfigured("no"), "the token endpoint"),
            (SourceError::not_sent("no"), "check the network"),
            (SourceError::transient("no"), "wait a moment"),
            (SourceError::uncertain("no"), "sign in again"),
            (SourceError::terminal("no"), "sign in again"),
        ] {
            let error = CodeError::Refused(error);
            let found = error.hint().expect("a hint");
            assert!(found.contains(hint), "{error:?}: {found}");
            assert!(found.ends_with("sign in again"), "{error:?}: {found}");
        }
        let error = CodeError::IdToken(IdTokenError::Audience);
        assert_eq!(error.hint(), Some("check the client id"));
    }
}
