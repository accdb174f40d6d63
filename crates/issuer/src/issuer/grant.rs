//! The tokens of one sign-in.

use std::fmt;
use std::time::Duration;

/// The tokens of one sign-in. Its `Debug` shows no token.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The access token's lifetime, counted from its issue.
    pub expires_in: Duration,
    /// The number of the family that all tokens of this sign-in belong to.
    pub family: u64,
    /// The generation of the access token: 1 after a sign-in, one more with every access token of the family.
    pub generation: u64,
}

impl fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Grant")
            .field("access_token", &"[redacted]")
            .field("refresh_token", &"[redacted]")
            .field("expires_in", &self.expires_in)
            .field("family", &self.family)
            .field("generation", &self.generation)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Grant;

    #[test]
    fn debug_shows_no_token() {
        let grant = Grant {
            access_token: "CANARY-a".to_owned(),
            refresh_token: "CANARY-b".to_owned(),
            expires_in: Duration::from_secs(1),
            family: 7,
            generation: 1,
        };
        let shown = format!("{grant:?}");
        assert!(!shown.contains("CANARY"), "{shown}");
        assert!(shown.contains("family: 7"), "{shown}");
    }
}
