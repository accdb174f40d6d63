//! The names of the files of a session.

use hmac_sha256::Hash;

use crate::store::SessionKey;
use crate::store::codec::hex;

/// The lock file of the whole store, which is locked while a key is generated.
pub(super) const KEY_LOCK: &str = "key.lock";

const DATA: &str = ".session";

/// The names of the files of one session.
pub(super) struct SessionFiles {
    /// The file of the record.
    pub(super) data: String,
    /// The lock file of writers. It is locked for milliseconds, while the record is written. It is
    /// not the lease file, because a sign-out must not wait for a flight.
    pub(super) lock: String,
    /// The lock file of the lease. It is locked by the process that may spend the refresh token.
    pub(super) lease: String,
}

impl SessionFiles {
    /// Names the files of a session by the readable part of its key and a hash of the key. The hash
    /// tells sessions apart, because file systems may ignore case and keys may be long.
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
