//! Checks the claims of an `id_token` (OIDC Core section 3.1.3.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use token_rotator::{ExposeSecret, SecretString};

use crate::answer::Fields;
use crate::discovery::tenant;

/// The issuer's clock may be behind the local clock by this much.
const SKEW: Duration = Duration::from_secs(60);

/// The claims that an `id_token` must have.
///
/// The signature is not checked: the token came directly from the token endpoint, and TLS
/// authenticates the issuer (section 3.1.3.7 item 6).
pub(crate) struct ExpectedClaims<'a> {
    /// `None` if the issuer's identifier is not configured.
    pub(crate) issuer: Option<&'a str>,
    /// The authority of many tenants where the user signed in.
    pub(crate) authority: Option<&'a str>,
    pub(crate) client_id: &'a str,
    /// `None` if the authorization request had no nonce.
    pub(crate) nonce: Option<&'a SecretString>,
    pub(crate) now: SystemTime,
}

impl ExpectedClaims<'_> {
    pub(crate) fn check(&self, id_token: &SecretString) -> Result<(), IdTokenError> {
        let payload = payload(id_token.expose_secret()).ok_or(IdTokenError::Unreadable)?;
        let claims = Fields::read(&payload).ok_or(IdTokenError::Unreadable)?;
        if let Some(issuer) = self.issuer {
            let name = claims.text("iss").unwrap_or_default();
            let is_tenant = || {
                let tenant = tenant::of(issuer, &name)?;
                let claimed = claims.text("tid").is_some_and(|tid| tid == tenant);
                let admitted = self.authority.is_none_or(|at| tenant::admits(at, tenant));
                (claimed && admitted).then_some(())
            };
            let is_template = tenant::is_template(issuer);
            if (name != issuer || is_template) && is_tenant().is_none() {
                return Err(IdTokenError::Issuer);
            }
        }
        let audiences = match claims.text("aud") {
            Some(audience) => vec![audience],
            None => claims.list("aud").unwrap_or_default(),
        };
        if !audiences.iter().any(|audience| audience == self.client_id) {
            return Err(IdTokenError::Audience);
        }
        let party = claims.text("azp");
        if party
            .as_deref()
            .is_some_and(|party| party != self.client_id)
            || (audiences.len() > 1 && party.is_none())
        {
            return Err(IdTokenError::AuthorizedParty);
        }
        let now = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = claims.number("exp").unwrap_or_default();
        if now.as_secs_f64() >= expires + SKEW.as_secs_f64() {
            return Err(IdTokenError::Expired);
        }
        if let Some(nonce) = self.nonce
            && claims.text("nonce").as_deref() != Some(nonce.expose_secret())
        {
            return Err(IdTokenError::Nonce);
        }
        Ok(())
    }
}

/// Why an `id_token` is refused. The tokens of the same answer are dropped.
///
/// The issuer has still issued those tokens: they live until they expire, or until the user revokes
/// the grant at the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdTokenError {
    /// The token is not a signed JWT; it may be encrypted.
    #[error("the id_token cannot be read")]
    Unreadable,
    /// `iss` names another issuer.
    #[error("the id_token is another issuer's")]
    Issuer,
    /// `aud` does not name this client.
    #[error("the id_token is for another client")]
    Audience,
    /// `azp` names another client, or is missing although there are several audiences.
    #[error("the id_token was given to another client (`azp`)")]
    AuthorizedParty,
    /// `exp` is in the past or missing.
    #[error("the id_token has expired")]
    Expired,
    /// `nonce` differs from the nonce of the authorization request.
    #[error("the id_token belongs to another sign-in (`nonce`)")]
    Nonce,
}

impl IdTokenError {
    /// Returns the action for this cause. Every cause has a hint.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreadable => {
                "the issuer may encrypt it for this client; let it be signed only, or leave `openid` \
                 out of the scope"
            }
            Self::Issuer => "check that the issuer URL and the token endpoint belong together",
            Self::Audience | Self::AuthorizedParty => "check the client id",
            Self::Expired => "check this machine's clock, then sign in again",
            Self::Nonce => "sign in again",
        })
    }
}

fn payload(id_token: &str) -> Option<Vec<u8>> {
    let mut parts = id_token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(claims: &Value) -> Result<(), IdTokenError> {
        let encoded = URL_SAFE_NO_PAD.encode(claims.to_string());
        let nonce = "n1".into();
        let expected = ExpectedClaims {
            issuer: Some("https://issuer.example"),
            authority: None,
            client_id: "client",
            nonce: Some(&nonce),
            now: UNIX_EPOCH + Duration::from_secs(1_000),
        };
        expected.check(&format!("e30.{encoded}.c2ln").into())
    }

    fn good() -> Value {
        json!({"iss": "https://issuer.example", "aud": "client", "exp": 1_100, "nonce": "n1"})
    }

    #[test]
    fn every_claim_is_compared() {
        assert_eq!(check(&good()), Ok(()));
        let cases = [
            (
                "iss",
                json!("https://issuer.example/"),
                Err(IdTokenError::Issuer),
            ),
            ("iss", json!(null), Err(IdTokenError::Issuer)),
            ("aud", json!("Client"), Err(IdTokenError::Audience)),
            ("aud", json!([]), Err(IdTokenError::Audience)),
            ("aud", json!(null), Err(IdTokenError::Audience)),
            ("aud", json!(["client"]), Ok(())),
            (
                "aud",
                json!(["client", "b"]),
                Err(IdTokenError::AuthorizedParty),
            ),
            ("azp", json!("b"), Err(IdTokenError::AuthorizedParty)),
            ("azp", json!("client"), Ok(())),
            ("exp", json!(940), Err(IdTokenError::Expired)),
            ("exp", json!(941), Ok(())),
            ("exp", json!(null), Err(IdTokenError::Expired)),
            ("nonce", json!("N1"), Err(IdTokenError::Nonce)),
            ("nonce", json!(null), Err(IdTokenError::Nonce)),
        ];
        for (name, value, expected) in cases {
            let mut claims = good();
            claims[name] = value;
            assert_eq!(check(&claims), expected, "{claims}");
        }
    }

    /// Property: with a template of tenants, `iss` has the tenant of `tid`, which the authority admits.
    #[test]
    fn the_tenant_is_checked() {
        let tenant = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let personal = "9188040d-6c67-4c5b-b112-36a304b66dad";
        let issuer = |tenant: &str| format!("https://login.example/{tenant}/v2.0");
        let check = |authority: &str, iss: String, tid: Value| {
            let claims = json!({"iss": iss, "tid": tid, "aud": "client", "exp": 1_100});
            let expected = ExpectedClaims {
                issuer: Some("https://login.example/{tenantid}/v2.0"),
                authority: Some(authority),
                client_id: "client",
                nonce: None,
                now: UNIX_EPOCH + Duration::from_secs(1_000),
            };
            let encoded = URL_SAFE_NO_PAD.encode(claims.to_string());
            expected.check(&format!("e30.{encoded}.c2ln").into())
        };
        let wrong = Err(IdTokenError::Issuer);
        assert_eq!(check("common", issuer(tenant), json!(tenant)), Ok(()));
        assert_eq!(check("common", issuer(personal), json!(personal)), Ok(()));
        assert_eq!(
            check("organizations", issuer(personal), json!(personal)),
            wrong
        );
        assert_eq!(check("consumers", issuer(tenant), json!(tenant)), wrong);
        assert_eq!(check("common", issuer(tenant), json!(personal)), wrong);
        assert_eq!(check("common", issuer(tenant), json!(null)), wrong);
        assert_eq!(check("common", issuer("common"), json!("common")), wrong);
        assert_eq!(check("common", issuer("{tenantid}"), json!(tenant)), wrong);
    }

    #[test]
    fn a_token_that_is_not_a_signed_jwt_is_unreadable() {
        let expected = ExpectedClaims {
            issuer: None,
            authority: None,
            client_id: "client",
            nonce: None,
            now: UNIX_EPOCH,
        };
        for token in ["", "a", "a.b", "a.!.c", "a.W10.c", "a.e30.c.d.e"] {
            let outcome = expected.check(&token.into());
            assert_eq!(outcome, Err(IdTokenError::Unreadable), "{token}");
        }
    }
}
