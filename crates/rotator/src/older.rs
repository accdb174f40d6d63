//! Token sets that are known to be older than the one that is to be saved.

use sha2::{Digest as _, Sha256};

use crate::secret::ExposeSecret as _;
use crate::token_set::TokenSet;

/// How many are remembered. There is one more with every refresh that the store does not take, and
/// whichever of them it holds after all, the first it was known to hold among them.
const MOST: usize = 256;

/// Whatever of these a store holds, what comes after them may be written over it. Kept as prints:
/// tokens that were replaced are not held in memory.
#[derive(Clone, Default)]
pub(crate) struct Older(Vec<Print>);

type Print = [u8; 32];

impl Older {
    /// Than whatever follows this one.
    pub(crate) fn than_after(tokens: Option<&TokenSet>) -> Self {
        let mut older = Self::default();
        if let Some(tokens) = tokens {
            older.push(tokens);
        }
        older
    }

    pub(crate) fn push(&mut self, tokens: &TokenSet) {
        self.add(print(tokens));
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        for one in &others.0 {
            self.add(*one);
        }
    }

    pub(crate) fn contains(&self, tokens: &TokenSet) -> bool {
        !self.0.is_empty() && self.0.contains(&print(tokens))
    }

    fn add(&mut self, one: Print) {
        if self.0.contains(&one) {
            return;
        }
        if self.0.len() == MOST {
            self.0.remove(1);
        }
        self.0.push(one);
    }
}

/// Of what tells token sets apart: access token and refresh token.
fn print(tokens: &TokenSet) -> Print {
    let mut hash = Sha256::new();
    for token in [Some(tokens.access_token()), tokens.refresh_token()] {
        let token = token.map(|token| token.expose_secret().as_bytes());
        // The length keeps the two apart; no token is that long.
        let length = token.map_or(u64::MAX, |token| token.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(token.unwrap_or_default());
    }
    hash.finalize().into()
}
