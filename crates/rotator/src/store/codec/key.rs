//! The keys that seal records.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash;
use zeroize::Zeroizing;

use crate::error::{StoreError, StoreErrorKind};

/// The 32 bytes of a key that seals records, and the source of the key.
///
/// `Debug` shows the source and the id, and not the bytes.
#[derive(Clone)]
pub struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    source: KeySource,
    id: KeyId,
}

/// The source of a [`DataKey`]. Each sealed record names it, so that its reader loads the key from
/// this source alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// The operating system's keyring.
    Keyring,
    /// A key file.
    File,
    /// An environment variable.
    Environment,
    /// The program itself.
    Program,
}

/// The id of a key: the first bytes of its hash. It identifies the key without revealing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

/// The error for a text that is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 bytes, written as 64 hexadecimal digits or in base64")]
pub struct KeyTextError;

impl DataKey {
    /// The key with these bytes, from this source.
    pub fn new(source: KeySource, bytes: [u8; 32]) -> Self {
        let mut hash = Hash::new();
        hash.update(b"token-rotator key id\0");
        hash.update(bytes);
        let hash = hash.finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self {
            bytes: Zeroizing::new(bytes),
            source,
            id: KeyId(id),
        }
    }

    /// Generates a key from the system's random bytes.
    ///
    /// *Errors*: [`StoreErrorKind::Refused`] if the system gives none.
    pub fn generate(source: KeySource) -> Result<Self, StoreError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|error| {
            StoreError::new(
                StoreErrorKind::Refused,
                format!("the system gives no random bytes for a key: {error}"),
            )
        })?;
        Ok(Self::new(source, *bytes))
    }

    /// Reads a key from a text: 64 hexadecimal digits, or 32 bytes in base64.
    pub fn from_text(source: KeySource, text: &str) -> Result<Self, KeyTextError> {
        let text = text.trim();
        let bytes = Zeroizing::new(if text.len() == 64 {
            unhex(text)
        } else {
            let url = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
            BASE64_STANDARD.decode(text).or(url).ok()
        });
        let bytes = bytes.as_deref().ok_or(KeyTextError)?;
        let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| KeyTextError)?;
        Ok(Self::new(source, bytes))
    }

    /// The key as 64 hexadecimal digits, for a vault to keep.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(&*self.bytes))
    }

    /// The 32 bytes of the key.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The source of the key.
    pub fn source(&self) -> KeySource {
        self.source
    }

    /// The id of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("DataKey")
            .field("source", &self.source)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl KeySource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Program => "program",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Keyring, Self::File, Self::Environment, Self::Program]
            .into_iter()
            .find(|source| source.name() == name)
    }
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Keyring => "the keyring",
            Self::File => "a key file",
            Self::Environment => "an environment variable",
            Self::Program => "the program",
        })
    }
}

impl KeyId {
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let bytes = unhex(text)?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&hex(&self.0))
    }
}

impl std::fmt::Debug for KeyId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "KeyId({self})")
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}
