//! The line before the body: what this is, which version of which session, and how it is sealed.

use serde::{Deserialize, Serialize};

use super::key::{DataKey, KeyId, KeySource, hex, unhex};
use super::{BYTES_MAX, corrupt};
use crate::error::{StoreError, StoreErrorKind};
use crate::store::{Epoch, SessionKey, Version};

/// What every record begins with, before the number of its format.
const MAGIC: &str = "token-rotator-session";
/// The format that is written, and the newest that is read.
///
/// When it changes: the reader of each older one stays, and a record is written in the new one
/// with its next save.
const FORMAT: u32 = 1;
/// The longest line that is read, its end included.
pub(super) const LINE_MAX: usize = 8 * 1024;

/// What can be said of a stored record without its key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordHeader {
    /// The session.
    pub session: SessionKey,
    /// Which version of the record it is.
    pub version: Version,
    pub(crate) cipher: Cipher,
    /// Of the line, its end included.
    pub(crate) length: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Cipher {
    /// As it is; the hash tells whether it was damaged.
    Plain { sha256: [u8; 32] },
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
struct Line {
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
}

const PLAIN: &str = "none";
const SEALED: &str = "xchacha20poly1305";

pub(crate) fn write(session: &SessionKey, version: Version, cipher: &Cipher) -> String {
    let mut line = Line {
        session: session.as_str().to_owned(),
        epoch: format!("{:032x}", version.epoch.bits()),
        revision: version.revision,
        cipher: PLAIN.to_owned(),
        key_source: None,
        key_id: None,
        nonce: None,
        sha256: None,
    };
    match cipher {
        Cipher::Plain { sha256 } => line.sha256 = Some(hex(sha256)),
        Cipher::Sealed {
            source,
            key_id,
            nonce,
        } => {
            SEALED.clone_into(&mut line.cipher);
            line.key_source = Some(source.word().to_owned());
            line.key_id = Some(key_id.to_string());
            line.nonce = Some(hex(nonce));
        }
    }
    let json = serde_json::to_string(&line).unwrap_or_default();
    format!("{MAGIC} {FORMAT} {json}\n")
}

impl RecordHeader {
    /// Reads the line of this session's record.
    pub fn read(session: &SessionKey, bytes: &[u8]) -> Result<Self, StoreError> {
        let header = Self::read_any(bytes).map_err(|what| match what {
            Unreadable::Damaged(what) => corrupt(session, what),
            Unreadable::Newer(format) => newer(session, format),
        })?;
        if header.session != *session {
            return Err(corrupt(session, "it is another session's"));
        }
        Ok(header)
    }

    /// Reads the line of whatever session's record it is.
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
        let line = line.map_err(|_| Unreadable::Damaged("its first line is no text"))?;
        let rest = line
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_prefix(' '));
        let rest = rest.ok_or(Unreadable::Damaged("it is none of ours"))?;
        let (format, json) = rest
            .split_once(' ')
            .ok_or(Unreadable::Damaged("its first line is cut short"))?;
        match format.parse::<u32>() {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => return Err(Unreadable::Newer(newer)),
            _ => return Err(Unreadable::Damaged("its format has no such number")),
        }
        let line: Line = serde_json::from_str(json)
            .map_err(|_| Unreadable::Damaged("its first line was damaged"))?;
        let version = Version {
            epoch: u128::from_str_radix(&line.epoch, 16)
                .map(Epoch::from_bits)
                .map_err(|_| Unreadable::Damaged("its epoch is no number"))?,
            revision: line.revision,
        };
        let cipher = cipher(&line).ok_or(Unreadable::Damaged("it does not say how to open it"))?;
        Ok(Self {
            session: SessionKey::new(line.session),
            version,
            cipher,
            length: end + 1,
        })
    }

    /// Where the key is that sealed it, and which key; `None`: it is plaintext.
    pub fn sealed_with(&self) -> Option<(KeySource, KeyId)> {
        match self.cipher {
            Cipher::Plain { .. } => None,
            Cipher::Sealed { source, key_id, .. } => Some((source, key_id)),
        }
    }
}

/// Why a line cannot be read.
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

fn cipher(line: &Line) -> Option<Cipher> {
    match line.cipher.as_str() {
        PLAIN => Some(Cipher::Plain {
            sha256: unhex(line.sha256.as_deref()?)?.try_into().ok()?,
        }),
        SEALED => Some(Cipher::Sealed {
            source: KeySource::of(line.key_source.as_deref()?)?,
            key_id: KeyId::of(line.key_id.as_deref()?)?,
            nonce: unhex(line.nonce.as_deref()?)?.try_into().ok()?,
        }),
        _ => None,
    }
}
