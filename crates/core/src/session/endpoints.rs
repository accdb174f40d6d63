//! The endpoints that refused a replay (rule 17).

use crate::policy::doubled;
use crate::{Arithmetic as _, Number};

/// One endpoint that refused a replay.
#[derive(Clone, Copy, Debug)]
struct Refuser {
    /// The driver's hash; zero for an empty entry.
    endpoint: u32,
    /// No refusal by this endpoint starts a refresh before this time of the steady clock.
    until: Number,
    /// The last pause.
    pause: Number,
}

/// The last eight endpoints that refused a replay, the newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusers([Refuser; 8]);

impl Refusers {
    pub(super) const NONE: Self = Self(
        [Refuser {
            endpoint: 0,
            until: Number::ZERO,
            pause: Number::ZERO,
        }; 8],
    );

    // Each entry is named by a constant: the build for JavaScript has no computed addresses.

    /// Whether this endpoint's refusals start no refresh at this time.
    #[inline(never)]
    pub(super) fn pauses(&self, endpoint: u32, steady: Number) -> bool {
        let pauses = |place: usize| {
            let refuser = &self.0[place];
            refuser.endpoint == endpoint && steady < refuser.until
        };
        pauses(0)
            || pauses(1)
            || pauses(2)
            || pauses(3)
            || pauses(4)
            || pauses(5)
            || pauses(6)
            || pauses(7)
    }

    /// Remembers that this endpoint refused a replay, and doubles its pause if that is over.
    /// Returns whether the endpoint is new to the table. A new one displaces the oldest.
    #[inline(never)]
    pub(super) fn remember(
        &mut self,
        endpoint: u32,
        steady: Number,
        first: Number,
        most: Number,
    ) -> bool {
        let mut known = false;
        let mut again = |place: usize| {
            let refuser = &mut self.0[place];
            if refuser.endpoint == endpoint {
                known = true;
                if steady >= refuser.until {
                    refuser.pause = doubled(refuser.pause, 1, most);
                    refuser.until = steady.plus(refuser.pause);
                }
            }
        };
        again(0);
        again(1);
        again(2);
        again(3);
        again(4);
        again(5);
        again(6);
        again(7);
        if !known {
            // Field by field: a copy of the whole entry would be one of 64-bit integers.
            let mut shift = |to: usize| {
                self.0[to].endpoint = self.0[to - 1].endpoint;
                self.0[to].until = self.0[to - 1].until;
                self.0[to].pause = self.0[to - 1].pause;
            };
            shift(7);
            shift(6);
            shift(5);
            shift(4);
            shift(3);
            shift(2);
            shift(1);
            self.0[0].endpoint = endpoint;
            self.0[0].until = steady.plus(first);
            self.0[0].pause = first;
        }
        !known
    }

    /// Forgets this endpoint, which accepted a token. Its entry stays empty.
    #[inline(never)]
    pub(super) fn forget(&mut self, endpoint: u32) {
        let mut forget = |place: usize| {
            let refuser = &mut self.0[place];
            if refuser.endpoint == endpoint {
                refuser.endpoint = 0;
            }
        };
        forget(0);
        forget(1);
        forget(2);
        forget(3);
        forget(4);
        forget(5);
        forget(6);
        forget(7);
    }

    /// Forgets every endpoint. Only the hashes: an empty entry decides nothing.
    #[inline(never)]
    pub(super) fn clear(&mut self) {
        self.0[0].endpoint = 0;
        self.0[1].endpoint = 0;
        self.0[2].endpoint = 0;
        self.0[3].endpoint = 0;
        self.0[4].endpoint = 0;
        self.0[5].endpoint = 0;
        self.0[6].endpoint = 0;
        self.0[7].endpoint = 0;
    }
}
