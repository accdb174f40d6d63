//! What the files of a session are called.

use hmac_sha256::Hash;

use crate::store::SessionKey;
use crate::store::codec::hex;

/// The lock under which a key is made, for the whole store.
pub(super) const KEY_LOCK: &str = "key.lock";

const DATA: &str = ".session";

/// The files of one session.
pub(super) struct Names {
    /// The record.
    pub(super) data: String,
    /// Held while the record is written, for milliseconds: a sign-out must not wait for a flight.
    pub(super) lock: String,
    /// Held by the one who may spend the refresh token.
    pub(super) lease: String,
}

impl Names {
    /// Readable as far as that goes, and apart by a hash: file systems may not tell case, and names
    /// may be long.
    pub(super) fn of(session: &SessionKey) -> Self {
        let readable: String = session
            .as_str()
            .chars()
            .map(|letter| match letter {
                'a'..='z' | '0'..='9' | '-' | '_' => letter,
                'A'..='Z' => letter.to_ascii_lowercase(),
                _ => '_',
            })
            .take(40)
            .collect();
        let hash = Hash::hash(session.as_str().as_bytes());
        let stem = format!("{readable}-{}", hex(&hash[..16]));
        Self {
            data: format!("{stem}{DATA}"),
            lock: format!("{stem}.lock"),
            lease: format!("{stem}.lease"),
        }
    }
}

/// Whether a file of this name holds a record.
pub(super) fn is_data(name: &str) -> bool {
    name.ends_with(DATA)
}
