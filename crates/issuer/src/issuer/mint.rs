//! Mints token strings, and reads the identity of an access token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::issuer::builder::TokenFormat;

/// The format of tokens and the key that signs them.
pub(super) struct Mint {
    format: TokenFormat,
    issuer: String,
    prefix: String,
    signer: Hmac<Sha256>,
}

/// Claims of an access token.
pub(super) struct Claims<'a> {
    pub(super) subject: &'a str,
    pub(super) client: &'a str,
    pub(super) audience: &'a str,
    pub(super) scope: &'a str,
    pub(super) family: u64,
    pub(super) generation: u64,
    /// Milliseconds since the Unix epoch on the issuer's clock.
    pub(super) issued_at: i64,
    /// Milliseconds since the Unix epoch on the issuer's clock.
    pub(super) expires_at: i64,
}

/// Claims of an `id_token`.
pub(super) struct IdClaims<'a> {
    pub(super) subject: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: Option<&'a str>,
    /// Milliseconds since the Unix epoch on the issuer's clock.
    pub(super) issued_at: i64,
    /// Milliseconds since the Unix epoch on the issuer's clock.
    pub(super) expires_at: i64,
}

/// An access token, and the identity that is its key in the token database.
pub(super) struct MintedToken {
    pub(super) token: String,
    pub(super) identity: String,
}

impl Mint {
    pub(super) fn new(format: TokenFormat, issuer: String, prefix: String) -> Self {
        let key: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        let signer = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        Self {
            format,
            issuer,
            prefix,
            signer,
        }
    }

    pub(super) fn access_token(&self, claims: &Claims<'_>) -> MintedToken {
        match self.format {
            TokenFormat::Opaque => {
                let token = self.secret("at");
                MintedToken {
                    identity: token.clone(),
                    token,
                }
            }
            TokenFormat::Jwt => {
                let identity = self.secret("jti");
                MintedToken {
                    token: self.sign(claims, &identity),
                    identity,
                }
            }
        }
    }

    /// Mints an `id_token`. It has no `jti`, so the upstream does not accept it as an access token.
    pub(super) fn id_token(&self, claims: &IdClaims<'_>) -> String {
        let payload = json!({
            "iss": self.issuer,
            "sub": claims.subject,
            "aud": claims.client,
            "exp": claims.expires_at.div_euclid(1000),
            "iat": claims.issued_at.div_euclid(1000),
            "nonce": claims.nonce,
        });
        self.sign_payload("JWT", &payload)
    }

    pub(super) fn authorization_code(&self) -> String {
        self.secret("code")
    }

    pub(super) fn device_code(&self) -> String {
        self.secret("dc")
    }

    pub(super) fn refresh_token(&self) -> String {
        self.secret("rt")
    }

    pub(super) fn socket_token(&self) -> String {
        self.secret("ws")
    }

    /// Returns the identity of an access token. Returns `None` if the signature of a JWT is invalid.
    pub(super) fn identity(&self, token: &str) -> Option<String> {
        match self.format {
            TokenFormat::Opaque => Some(token.to_owned()),
            TokenFormat::Jwt => self.verify(token),
        }
    }

    fn sign(&self, claims: &Claims<'_>, identity: &str) -> String {
        let payload = json!({
            "iss": self.issuer,
            "sub": claims.subject,
            "aud": claims.audience,
            "exp": claims.expires_at.div_euclid(1000),
            "iat": claims.issued_at.div_euclid(1000),
            "jti": identity,
            "client_id": claims.client,
            "scope": claims.scope,
            "family": claims.family,
            "gen": claims.generation,
        });
        self.sign_payload("at+jwt", &payload)
    }

    fn sign_payload(&self, kind: &str, payload: &Value) -> String {
        let header = json!({"alg": "HS256", "typ": kind});
        let signing_input = format!("{}.{}", encode_json(&header), encode_json(payload));
        let signature = self
            .signer
            .clone()
            .chain_update(&signing_input)
            .finalize()
            .into_bytes();
        format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(&self, token: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct JwtId {
            jti: String,
        }

        let (signing_input, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.signer
            .clone()
            .chain_update(signing_input)
            .verify_slice(&signature)
            .ok()?;
        let (_, payload) = signing_input.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&payload)
            .ok()
            .map(|JwtId { jti }| jti)
    }

    fn secret(&self, kind: &str) -> String {
        format!("{}{kind}-{:032x}", self.prefix, fastrand::u128(..))
    }
}

fn encode_json(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
