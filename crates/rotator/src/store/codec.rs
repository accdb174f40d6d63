//! The encoding of records: one format for every durable store.
//!
//! A record is a header line and a body. The header line is text and not secret. The body is sealed
//! with a [`DataKey`], or plaintext if the program asks for that. The header line, which contains the
//! session's name, is authenticated with the body, so a record cannot replace another one.
//!
//! - `codec.rs`: [`RecordCodec`], which encodes and decodes whole records.
//! - `header.rs`: the header line. `body.rs`, `details.rs`: the body as JSON.
//! - `key.rs`: the keys that seal bodies.

mod body;
mod details;
mod header;
mod key;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac_sha256::Hash;
use zeroize::Zeroizing;

pub use self::header::RecordHeader;
pub(crate) use self::key::hex;
pub use self::key::{DataKey, KeyId, KeySource, KeyTextError};

use self::header::Cipher;
use crate::error::{StoreError, StoreErrorKind};
use crate::store::{Record, SessionKey, Version};

/// The longest record that is read, in bytes. Longer records are not written.
const BYTES_MAX: usize = 1024 * 1024;

/// Encodes and decodes records.
///
/// Cheap to clone. `Debug` shows the key's id and not the key.
#[derive(Clone, Debug)]
pub struct RecordCodec(Seal);

#[derive(Clone, Debug)]
enum Seal {
    Key(DataKey),
    /// The key is not known, so only tombstones can be read.
    #[cfg(feature = "file")]
    Unknown,
    Plaintext,
}

impl RecordCodec {
    /// Seals tokens with this key (XChaCha20-Poly1305, a new nonce for each record).
    ///
    /// A reader of the store without the key learns the names of sessions and the times of
    /// refreshes.
    pub fn sealed(key: DataKey) -> Self {
        Self(Seal::Key(key))
    }

    /// Writes tokens unsealed: every reader of the store has them.
    pub fn plaintext() -> Self {
        Self(Seal::Plaintext)
    }

    /// Reads tombstones and refuses records with tokens.
    #[cfg(feature = "file")]
    pub(crate) fn tombstones_only() -> Self {
        Self(Seal::Unknown)
    }

    /// Encodes a record.
    ///
    /// *Errors*: [`StoreErrorKind::TooLarge`] if the record is longer than
    /// [`decode`](Self::decode) reads: 1 MiB, of which 8 KiB for the header line with the session's
    /// name. [`StoreErrorKind::Refused`] if the system gives no random bytes.
    pub fn encode(&self, session: &SessionKey, record: &Record) -> Result<Vec<u8>, StoreError> {
        let body = body::write(record)?;
        let cipher = match &self.0 {
            Seal::Key(key) => {
                let mut nonce = [0; 24];
                getrandom::fill(&mut nonce).map_err(|error| {
                    StoreError::new(
                        StoreErrorKind::Refused,
                        format!("the system gives no random bytes for a nonce: {error}"),
                    )
                })?;
                Cipher::sealed(key, nonce)
            }
            // A tombstone can be written without a key, because a sign-out must not fail.
            _ => Cipher::plain(&digest(session, record.version, &body)),
        };
        let line = header::write(session, record.version, &cipher, record.tokens.is_none());
        if line.len() > header::LINE_MAX {
            return Err(too_large(
                "the header line with the session's name",
                line.len(),
                header::LINE_MAX,
            )
            .with_hint("give the session a shorter name"));
        }
        let body = match (&self.0, cipher.nonce()) {
            (Seal::Key(key), Some(nonce)) => {
                let payload = Payload {
                    msg: &body,
                    aad: line.as_bytes(),
                };
                let sealed = aead(key).encrypt(&XNonce::from(nonce), payload);
                sealed.map_err(|_| corrupt(session, "it is too long to be sealed"))?
            }
            _ => body.to_vec(),
        };
        let mut bytes = line.into_bytes();
        bytes.extend_from_slice(&body);
        if bytes.len() > BYTES_MAX {
            let record = format!("the record of session {session}");
            return Err(too_large(&record, bytes.len(), BYTES_MAX).with_hint(
                "have the issuer put less into its tokens (claims, groups); until then a program \
                 that ends loses the session",
            ));
        }
        Ok(bytes)
    }

    /// Decodes a record.
    ///
    /// *Errors*: [`StoreErrorKind::Corrupt`] if the bytes were damaged. [`StoreErrorKind::Newer`] if
    /// a newer program wrote them. [`StoreErrorKind::Refused`] if they are sealed with another key,
    /// or hold unsealed tokens although this codec has a key.
    pub fn decode(&self, session: &SessionKey, bytes: &[u8]) -> Result<Record, StoreError> {
        let header = RecordHeader::read(session, bytes)?;
        let line = &bytes[..header.length];
        let body = &bytes[header.length..];
        let body = match (&header.cipher, &self.0) {
            (Cipher::Sealed { key_id, nonce, .. }, Seal::Key(key)) if *key_id == key.id() => {
                let payload = Payload {
                    msg: body,
                    aad: line,
                };
                let opened = aead(key).decrypt(&XNonce::from(*nonce), payload);
                opened.map(Zeroizing::new).map_err(|_| {
                    corrupt(session, "it was damaged, or belongs to another session")
                })?
            }
            // Without the key, the tombstone could be from any writer.
            (Cipher::Sealed { .. }, _) if header.signed_out => {
                return Ok(unsealed_sign_out(header.version));
            }
            (Cipher::Sealed { key_id, .. }, _) => {
                return Err(StoreError::new(
                    StoreErrorKind::Refused,
                    format!("session {session} is sealed with another key, {key_id}"),
                ));
            }
            (Cipher::Plain { sha256 }, _) => {
                if digest(session, header.version, body) != *sha256 {
                    return Err(corrupt(session, "it was damaged"));
                }
                Zeroizing::new(body.to_vec())
            }
        };
        let mut record = body::read(session, header.version, &body)?;
        let is_plain = matches!(header.cipher, Cipher::Plain { .. });
        record.details.unsealed = is_plain && !matches!(self.0, Seal::Plaintext);
        if record.tokens.is_some() && record.details.unsealed {
            return Err(StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "session {session} is stored as plaintext, and this store was opened with a key"
                ),
            ));
        }
        Ok(record)
    }
}

fn unsealed_sign_out(version: Version) -> Record {
    let mut record = Record::signed_out(version);
    record.details.unsealed = true;
    record
}

fn aead(key: &DataKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

/// Hashes a plaintext record and its version. The hash in the header line detects damage.
fn digest(session: &SessionKey, version: Version, body: &[u8]) -> [u8; 32] {
    let mut hash = Hash::new();
    hash.update(session.as_str());
    hash.update([0]);
    hash.update(version.epoch.bits().to_be_bytes());
    hash.update(version.revision.to_be_bytes());
    hash.update(body);
    hash.finalize()
}

fn too_large(subject: &str, length: usize, limit: usize) -> StoreError {
    StoreError::new(
        StoreErrorKind::TooLarge,
        format!("{subject} takes {length} bytes, and more than {limit} cannot be read back"),
    )
}

fn corrupt(session: &SessionKey, problem: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("the record of session {session} cannot be read: {problem}"),
    )
}

#[cfg(test)]
mod tests;
