//! Random bits that differ between processes.

/// Returns 128 random bits of the system. Epochs and intents are named by them. Processes that
/// start at the same moment must not draw equal names, because one record would then look like
/// another.
pub(crate) fn bits() -> u128 {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u128::from_ne_bytes(bytes),
        // A system without a random source gets bits from a seed per process and thread.
        Err(_none) => fastrand::u128(..),
    }
}
