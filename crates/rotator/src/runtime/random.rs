//! Chance that no two processes share.

/// So many bits from the system. Names of sign-ins and intents come from here: two alike, drawn by
/// processes that started in the same moment, would make one record look like another.
pub(crate) fn bits() -> u128 {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u128::from_ne_bytes(bytes),
        // Seeded per process and thread: good enough where a system has no randomness at all.
        Err(_none) => fastrand::u128(..),
    }
}
