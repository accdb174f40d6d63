//! Makes token strings, and reads the identity of an access token back out of one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
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

/// What an access token says about itself.
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

/// What an `id_token` says.
pub(super) struct IdClaims<'a> {
    pub(super) subject: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: Option<&'a str>,
    /// Milliseconds since the Unix epoch on the issuer's clock.
    pub(super) issued_at: i64,
    /// Milliseconds since the Unix epoch on the issuer's clock.
    pub(super) expires_at: i64,
}

/// An access token and the identity under which the ledger knows it.
pub(super) struct Minted {
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

    pub(super) fn access_token(&self, claims: &Claims<'_>) -> Minted {
        match self.format {
            TokenFormat::Opaque => {
                let token = self.secret("at");
                Minted {
                    identity: token.clone(),
                    token,
                }
            }
            TokenFormat::Jwt => {
                let identity = self.secret("jti");
                Minted {
                    token: self.sign(claims, &identity),
                    identity,
                }
            }
        }
    }

    /// An `id_token` for a sign-in. It has no `jti`, so that it passes for no access token.
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

    /// The identity of an access token that this issuer minted; `None` if the signature does not hold.
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
        let signed = format!("{}.{}", encode_json(&header), encode_json(payload));
        let signature = self
            .signer
            .clone()
            .chain_update(&signed)
            .finalize()
            .into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(&self, token: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Identified {
            jti: String,
        }

        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.signer
            .clone()
            .chain_update(signed)
            .verify_slice(&signature)
            .ok()?;
        let (_, payload) = signed.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&payload)
            .ok()
            .map(|Identified { jti }| jti)
    }

    fn secret(&self, kind: &str) -> String {
        format!("{}{kind}-{:032x}", self.prefix, fastrand::u128(..))
    }
}

fn encode_json(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
