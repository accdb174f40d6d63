//! The key that seals records.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash;
use zeroize::Zeroizing;

use crate::error::{StoreError, StoreErrorKind};

/// The 32 bytes that seal what a store holds, and where they come from.
///
/// `Debug` shows where it comes from and its id.
#[derive(Clone)]
pub struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    source: KeySource,
    id: KeyId,
}

/// Where a [`DataKey`] comes from. Written beside what it seals, so that it is looked for there
/// and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// The operating system's keyring.
    Keyring,
    /// A file of its own.
    File,
    /// An environment variable.
    Environment,
    /// The program gave it.
    Program,
}

/// Tells keys apart without giving one away: the beginning of a hash of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 bytes, written as 64 hexadecimal digits or in base64")]
pub struct KeyTextError;

impl DataKey {
    /// These bytes, which come from there.
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

    /// A new one, from the system's randomness.
    pub fn generate(source: KeySource) -> Result<Self, StoreError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|error| {
            StoreError::new(
                StoreErrorKind::Refused,
                format!("the system has no randomness for a key: {error}"),
            )
        })?;
        Ok(Self::new(source, *bytes))
    }

    /// The key with this text: 64 hexadecimal digits, or base64.
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

    /// The key as text, for whoever keeps it: 64 hexadecimal digits.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(&*self.bytes))
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Where it comes from.
    pub fn source(&self) -> KeySource {
        self.source
    }

    /// Its id.
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
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Program => "program",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        [Self::Keyring, Self::File, Self::Environment, Self::Program]
            .into_iter()
            .find(|source| source.word() == word)
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
    pub(crate) fn of(text: &str) -> Option<Self> {
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
