//! The endpoints that refused a replay (rule 17).

use crate::policy::doubled;

/// One endpoint that refused a replay.
#[derive(Clone, Copy, Debug)]
struct Refuser {
    /// The driver's hash; zero for an empty entry.
    endpoint: u32,
    /// No refusal by this endpoint starts a refresh before this time of the steady clock.
    until: u64,
    /// The last pause.
    pause: u64,
}

/// The last eight endpoints that refused a replay, the newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusers([Refuser; 8]);

impl Refusers {
    pub(super) const NONE: Self = Self(
        [Refuser {
            endpoint: 0,
            until: 0,
            pause: 0,
        }; 8],
    );

    /// Whether this endpoint's refusals start no refresh at this time.
    pub(super) fn pauses(&self, endpoint: u32, steady: u64) -> bool {
        let mut refusers = self.0.iter();
        refusers.any(|refuser| refuser.endpoint == endpoint && steady < refuser.until)
    }

    /// Remembers that this endpoint refused a replay, and doubles its pause if that is over.
    /// Returns whether the endpoint is new to the table. A new one displaces the oldest.
    pub(super) fn remember(&mut self, endpoint: u32, steady: u64, first: u64, most: u64) -> bool {
        let mut refusers = self.0.iter_mut();
        if let Some(known) = refusers.find(|refuser| refuser.endpoint == endpoint) {
            if steady >= known.until {
                known.pause = doubled(known.pause, 1, most);
                known.until = steady.saturating_add(known.pause);
            }
            return false;
        }
        self.0.rotate_right(1);
        self.0[0] = Refuser {
            endpoint,
            until: steady.saturating_add(first),
            pause: first,
        };
        true
    }

    /// Forgets this endpoint, which accepted a token. Its entry stays empty.
    pub(super) fn forget(&mut self, endpoint: u32) {
        for refuser in &mut self.0 {
            if refuser.endpoint == endpoint {
                refuser.endpoint = 0;
            }
        }
    }

    /// Forgets every endpoint.
    pub(super) fn clear(&mut self) {
        *self = Self::NONE;
    }
}
