//! The header line of a record: its format, session, version and cipher.

use serde::{Deserialize, Serialize};

use super::key::{DataKey, KeyId, KeySource, hex, unhex};
use super::{BYTES_MAX, corrupt};
use crate::error::{StoreError, StoreErrorKind};
use crate::store::{Epoch, SessionKey, Version};

/// The text at the start of every record, before the number of its format.
const MAGIC: &str = "token-rotator-session";
/// The format that is written, and the newest format that is read.
///
/// A new format keeps the readers of all older formats. Each record changes to the new format with
/// its next save.
const FORMAT: u32 = 1;
/// The longest header line that is read, in bytes, with its line break.
pub(super) const LINE_MAX: usize = 8 * 1024;

/// The part of a stored record that can be read without its key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordHeader {
    /// The session.
    pub session: SessionKey,
    /// The version of the record.
    pub version: Version,
    pub(crate) cipher: Cipher,
    /// Whether the line says that the record is a sealed tombstone. The seal covers the line.
    pub(crate) signed_out: bool,
    /// The length of the header line in bytes, with its line break.
    pub(crate) length: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Cipher {
    /// The body is plaintext. The hash detects damage.
    Plain { sha256: [u8; 32] },
    /// The body is sealed with this key and nonce.
    Sealed {
        source: KeySource,
        key_id: KeyId,
        nonce: [u8; 24],
    },
}

impl Cipher {
    pub(crate) fn plain(sha256: &[u8; 32]) -> Self {
        Self::Plain { sha256: *sha256 }
    }

    pub(crate) fn sealed(key: &DataKey, nonce: [u8; 24]) -> Self {
        Self::Sealed {
            source: key.source(),
            key_id: key.id(),
            nonce,
        }
    }

    pub(crate) fn nonce(&self) -> Option<[u8; 24]> {
        match self {
            Self::Plain { .. } => None,
            Self::Sealed { nonce, .. } => Some(*nonce),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    session: String,
    epoch: String,
    revision: u64,
    cipher: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Whether a sealed record is a tombstone: then the record needs no key to be replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    signed_out: bool,
}

const PLAIN: &str = "none";
const SEALED: &str = "xchacha20poly1305";

pub(crate) fn write(
    session: &SessionKey,
    version: Version,
    cipher: &Cipher,
    signed_out: bool,
) -> String {
    let mut line = HeaderLine {
        session: session.as_str().to_owned(),
        epoch: format!("{:032x}", version.epoch.bits()),
        revision: version.revision,
        cipher: PLAIN.to_owned(),
        key_source: None,
        key_id: None,
        nonce: None,
        sha256: None,
        signed_out: false,
    };
    match cipher {
        Cipher::Plain { sha256 } => line.sha256 = Some(hex(sha256)),
        Cipher::Sealed {
            source,
            key_id,
            nonce,
        } => {
            SEALED.clone_into(&mut line.cipher);
            line.key_source = Some(source.name().to_owned());
            line.key_id = Some(key_id.to_string());
            line.nonce = Some(hex(nonce));
            line.signed_out = signed_out;
        }
    }
    let json = serde_json::to_string(&line).unwrap_or_default();
    format!("{MAGIC} {FORMAT} {json}\n")
}

impl RecordHeader {
    /// Reads the header line of this session's record.
    ///
    /// *Errors*: [`StoreErrorKind::Corrupt`] if the line was damaged or belongs to another session.
    /// [`StoreErrorKind::Newer`] if a newer program wrote the record.
    pub fn read(session: &SessionKey, bytes: &[u8]) -> Result<Self, StoreError> {
        let header = Self::read_any(bytes).map_err(|error| match error {
            Unreadable::Damaged(problem) => corrupt(session, problem),
            Unreadable::Newer(format) => newer(session, format),
        })?;
        if header.session != *session {
            return Err(corrupt(session, "it belongs to another session"));
        }
        Ok(header)
    }

    /// Reads the header line of any session's record.
    pub(crate) fn read_any(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.is_empty() {
            return Err(Unreadable::Damaged("it is empty"));
        }
        if bytes.len() > BYTES_MAX {
            return Err(Unreadable::Damaged("it is too long"));
        }
        let end = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n');
        let end = end.ok_or(Unreadable::Damaged("its first line does not end"))?;
        let line = std::str::from_utf8(&bytes[..end]);
        let line = line.map_err(|_| Unreadable::Damaged("its first line is not text"))?;
        let rest = line
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_prefix(' '));
        let rest = rest.ok_or(Unreadable::Damaged("it is not a token-rotator record"))?;
        let (format, json) = rest
            .split_once(' ')
            .ok_or(Unreadable::Damaged("its first line is cut short"))?;
        match format.parse::<u32>() {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => return Err(Unreadable::Newer(newer)),
            _ => return Err(Unreadable::Damaged("its format number is unknown")),
        }
        let line: HeaderLine = serde_json::from_str(json)
            .map_err(|_| Unreadable::Damaged("its first line was damaged"))?;
        let version = Version {
            epoch: u128::from_str_radix(&line.epoch, 16)
                .map(Epoch::from_bits)
                .map_err(|_| Unreadable::Damaged("its epoch is not a number"))?,
            revision: line.revision,
        };
        let cipher =
            cipher(&line).ok_or(Unreadable::Damaged("its cipher is unknown or incomplete"))?;
        Ok(Self {
            session: SessionKey::new(line.session),
            version,
            signed_out: line.signed_out && matches!(cipher, Cipher::Sealed { .. }),
            cipher,
            length: end + 1,
        })
    }

    /// The source and id of the key that sealed the record. Returns `None` if it is plaintext.
    pub fn sealed_with(&self) -> Option<(KeySource, KeyId)> {
        match self.cipher {
            Cipher::Plain { .. } => None,
            Cipher::Sealed { source, key_id, .. } => Some((source, key_id)),
        }
    }
}

/// Why a header line cannot be read.
pub(crate) enum Unreadable {
    Damaged(&'static str),
    Newer(u32),
}

fn newer(session: &SessionKey, format: u32) -> StoreError {
    StoreError::new(
        StoreErrorKind::Newer,
        format!(
            "the record of session {session} was written by a newer version (format {format}, \
             this one reads {FORMAT}); upgrade this program"
        ),
    )
}

fn cipher(line: &HeaderLine) -> Option<Cipher> {
    match line.cipher.as_str() {
        PLAIN => Some(Cipher::Plain {
            sha256: unhex(line.sha256.as_deref()?)?.try_into().ok()?,
        }),
        SEALED => Some(Cipher::Sealed {
            source: KeySource::from_name(line.key_source.as_deref()?)?,
            key_id: KeyId::from_hex(line.key_id.as_deref()?)?,
            nonce: unhex(line.nonce.as_deref()?)?.try_into().ok()?,
        }),
        _ => None,
    }
}
