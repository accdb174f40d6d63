//! One session for each grant: which refresh tokens were signed in with, and by which session.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::intent::TokenHash;
use crate::shared::Shared;
use crate::sync::lock_std;
use crate::token_set::TokenSet;

/// The sign-ins of all sessions that have a configuration in common.
#[derive(Default)]
pub(crate) struct Grants(Mutex<HashMap<TokenHash, u64>>);

/// The refresh token that a session was signed in with.
#[derive(Default)]
pub(crate) struct Claim(Mutex<Option<TokenHash>>);

impl Shared {
    /// Takes the grant of these tokens for this session. An error says that another session has it:
    /// two would spend one refresh token, each under a lease of its own.
    pub(crate) fn claim(&self, tokens: &TokenSet) -> Result<(), &'static str> {
        let hash = TokenHash::of(tokens);
        let mut grants = lock_std(&self.common.grants.0);
        if let Some(hash) = hash
            && *grants.entry(hash).or_insert(self.id) != self.id
        {
            return Err(
                "their refresh token is that of another session here; each session needs a \
                 sign-in of its own",
            );
        }
        let before = std::mem::replace(&mut *lock_std(&self.claim.0), hash);
        if let Some(before) = before.filter(|before| Some(*before) != hash) {
            grants.remove(&before);
        }
        Ok(())
    }

    /// Gives the grant back.
    pub(crate) fn disclaim(&self) {
        if let Some(hash) = lock_std(&self.claim.0).take() {
            lock_std(&self.common.grants.0).remove(&hash);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.disclaim();
    }
}
