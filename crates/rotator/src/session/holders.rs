//! The refresh tokens that sessions of this process hold in memory alone.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex};

use crate::runtime::sync::lock_std;
use crate::store::intent::TokenHash;

/// The sessions by the refresh token that they were signed in with.
static HOLDERS: LazyLock<Mutex<HashMap<TokenHash, HashSet<u64>>>> = LazyLock::new(Mutex::default);

/// Records that this session holds the refresh token. Returns whether another session holds it too.
pub(super) fn join(token: TokenHash, session: u64) -> bool {
    let mut holders = lock_std(&HOLDERS);
    let sessions = holders.entry(token).or_default();
    sessions.insert(session);
    sessions.len() > 1
}

/// Records that this session holds the refresh token no longer.
pub(super) fn leave(token: TokenHash, session: u64) {
    let mut holders = lock_std(&HOLDERS);
    if let Some(sessions) = holders.get_mut(&token) {
        sessions.remove(&session);
        if sessions.is_empty() {
            holders.remove(&token);
        }
    }
}
