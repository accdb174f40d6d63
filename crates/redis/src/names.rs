//! What a session's keys are called.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use token_rotator::SessionKey;

/// The keys of one session.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) record: String,
    pub(crate) lease: String,
    pub(crate) fence: String,
    /// The message that the record was saved.
    pub(crate) saved: String,
    /// The message that the lease was given back.
    pub(crate) released: String,
}

impl Names {
    pub(crate) fn new(prefix: &str, session: &SessionKey) -> Self {
        let mut hash = String::with_capacity(64);
        for byte in Sha256::digest(session.as_str()) {
            // Writing to a string cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        // What stands in braces decides about the slot: all keys of a session share one.
        let name = |what: &str| format!("{prefix}{{{hash}}}:{what}");
        Self {
            record: name("record"),
            lease: name("lease"),
            fence: name("fence"),
            saved: format!("{hash}:record"),
            released: format!("{hash}:lease"),
        }
    }
}

/// The channel on which a store tells of changes.
pub(crate) fn channel(prefix: &str) -> String {
    format!("{prefix}changes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_keys_share_what_is_in_braces() {
        let names = Names::new("app:", &SessionKey::new("work"));
        let hash = names.saved.trim_end_matches(":record");
        let tag = format!("{{{hash}}}");
        for (key, what) in [
            (&names.record, "record"),
            (&names.lease, "lease"),
            (&names.fence, "fence"),
        ] {
            assert_eq!(*key, format!("app:{tag}:{what}"));
        }
        assert_eq!(hash.len(), 64);
        let other = Names::new("app:", &SessionKey::new("Work"));
        assert_ne!(other.saved, names.saved);
        assert_ne!(names.released, names.saved);
    }
}
