//! Authorization codes: issued at the authorization endpoint, redeemed once at the token endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::issuer::database::{FamilyId, IssuedTokens, RequestedAccess, TokenDatabase};
use crate::issuer::event::RevocationCause;
use crate::issuer::refusal::Refusal;

/// Lifetime of a code, in milliseconds.
const LIFETIME_MS: i64 = 60_000;

/// Milliseconds for which the issuer remembers a code, to detect its second use.
const REMEMBERED_MS: i64 = 60 * LIFETIME_MS;

/// What a user authorized a client to do.
pub(in crate::issuer) struct Authorization {
    pub(in crate::issuer) client: String,
    pub(in crate::issuer) redirect_uri: String,
    /// The S256 challenge. `None` if a confidential client sent none.
    pub(in crate::issuer) challenge: Option<String>,
    pub(in crate::issuer) subject: String,
    pub(in crate::issuer) scope: Option<String>,
    pub(in crate::issuer) audience: Option<String>,
    pub(in crate::issuer) nonce: Option<String>,
}

/// An issued authorization code.
pub(super) struct AuthorizationCode {
    authorization: Authorization,
    issued_at: i64,
    /// The family that the code opened, once the code was redeemed.
    family: Option<FamilyId>,
}

/// A code presented for tokens.
#[derive(Clone, Copy)]
pub(in crate::issuer) struct CodeRedemption<'a> {
    pub(in crate::issuer) code: &'a str,
    pub(in crate::issuer) client: &'a str,
    pub(in crate::issuer) redirect_uri: &'a str,
    pub(in crate::issuer) verifier: Option<&'a str>,
}

impl TokenDatabase {
    /// Issues a code for an authorization.
    pub(in crate::issuer) fn authorize(
        &mut self,
        authorization: Authorization,
        now: i64,
    ) -> String {
        self.codes
            .retain(|_, code| now - code.issued_at < REMEMBERED_MS);
        let name = self.mint.authorization_code();
        let code = AuthorizationCode {
            authorization,
            issued_at: now,
            family: None,
        };
        self.codes.insert(name.clone(), code);
        self.counters.authorization_codes += 1;
        name
    }

    /// Redeems a code (RFC 6749 section 4.1.3). A refusal for any reason but a second use does not consume the code.
    pub(in crate::issuer) fn redeem_code(
        &mut self,
        redemption: CodeRedemption<'_>,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        let Some((name, mut code)) = self.codes.remove_entry(redemption.code) else {
            return Err(Refusal::Grant("unknown code"));
        };
        let outcome = self.redeem_issued_code(&mut code, redemption, now);
        self.codes.insert(name, code);
        outcome
    }

    fn redeem_issued_code(
        &mut self,
        code: &mut AuthorizationCode,
        redemption: CodeRedemption<'_>,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        let allowed = &code.authorization;
        if allowed.client != redemption.client {
            return Err(Refusal::Grant("the code belongs to another client"));
        }
        if let Some(family) = code.family {
            self.counters.code_reuses += 1;
            self.revoke(family, RevocationCause::CodeReuse);
            return Err(Refusal::Grant("the code was used before"));
        }
        if now - code.issued_at >= LIFETIME_MS {
            return Err(Refusal::Grant("the code has expired"));
        }
        if allowed.redirect_uri != redemption.redirect_uri {
            return Err(Refusal::Grant("the code was sent to another redirect_uri"));
        }
        match (&allowed.challenge, redemption.verifier) {
            (None, None) => {}
            (Some(challenge), Some(verifier)) if verifies(verifier, challenge) => {}
            // A verifier without a challenge means that an attacker removed the challenge from the request (RFC 9700
            // section 2.1.1).
            _ => return Err(Refusal::Grant("the code_verifier is not the request's")),
        }
        let requested = RequestedAccess {
            scope: allowed.scope.as_deref(),
            audience: allowed.audience.as_deref(),
        };
        let nonce = allowed.nonce.as_deref();
        let issued = self.open_by_code(&allowed.subject, &allowed.client, requested, nonce, now);
        code.family = Some(issued.family);
        Ok(issued)
    }
}

/// Checks a verifier by RFC 7636 section 4.6.
fn verifies(verifier: &str, challenge: &str) -> bool {
    (43..=128).contains(&verifier.len())
        && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge
}

#[cfg(test)]
mod tests {
    use super::verifies;

    #[test]
    fn the_pair_of_rfc_7636_appendix_b_matches() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(verifies(verifier, challenge));
        assert!(!verifies(challenge, challenge));
        assert!(!verifies(&verifier[1..], challenge));
    }
}
