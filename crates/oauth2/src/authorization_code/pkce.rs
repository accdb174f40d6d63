//! PKCE: proof that the client that presents a code also requested it (RFC 7636).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use token_rotator::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::RandomnessError;

/// A code verifier (section 4.1).
pub(super) struct Verifier(SecretString);

impl Verifier {
    pub(super) fn generate() -> Result<Self, RandomnessError> {
        random_secret().map(Self)
    }

    /// Returns the S256 code challenge (section 4.2).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.expose_secret()))
    }

    pub(super) fn secret(&self) -> &SecretString {
        &self.0
    }
}

/// Returns 256 random bits as 43 characters, the minimum length of a code verifier.
pub(super) fn random_secret() -> Result<SecretString, RandomnessError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|cause| RandomnessError {
        cause: std::sync::Arc::new(cause),
    })?;
    Ok(URL_SAFE_NO_PAD.encode(*bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = Verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into());
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(verifier.challenge(), challenge);
    }

    #[test]
    fn two_random_secrets_differ() {
        let (first, second) = (random_secret().unwrap(), random_secret().unwrap());
        assert_eq!(first.expose_secret().len(), 43);
        assert_ne!(first.expose_secret(), second.expose_secret());
    }
}
