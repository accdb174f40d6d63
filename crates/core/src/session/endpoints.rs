//! The endpoints that refused a replay (rule 17).

use crate::policy::doubled;

/// One endpoint that refused a replay.
#[derive(Clone, Copy, Debug)]
struct RefusingEndpoint {
    /// The driver's hash of origin and path. Zero if the entry is empty.
    endpoint: u32,
    /// Refusals of this endpoint start no refresh before this time of the steady clock.
    until: u64,
    /// Length of the last pause, in milliseconds.
    pause: u64,
}

/// The last eight endpoints that refused a replay, the newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusingEndpoints([RefusingEndpoint; 8]);

impl RefusingEndpoints {
    pub(super) const NONE: Self = Self(
        [RefusingEndpoint {
            endpoint: 0,
            until: 0,
            pause: 0,
        }; 8],
    );

    /// Returns whether refusals of this endpoint start no refresh at this time.
    pub(super) fn pauses(&self, endpoint: u32, steady: u64) -> bool {
        let mut entries = self.0.iter();
        entries.any(|entry| entry.endpoint == endpoint && steady < entry.until)
    }

    /// Records that this endpoint refused a replay, and doubles its pause if the last pause is
    /// over. Returns whether the endpoint is new to the table. A new endpoint displaces the oldest
    /// entry.
    pub(super) fn remember(&mut self, endpoint: u32, steady: u64, first: u64, most: u64) -> bool {
        let mut entries = self.0.iter_mut();
        if let Some(known) = entries.find(|entry| entry.endpoint == endpoint) {
            if steady >= known.until {
                known.pause = doubled(known.pause, 1, most);
                known.until = steady.saturating_add(known.pause);
            }
            return false;
        }
        self.0.rotate_right(1);
        self.0[0] = RefusingEndpoint {
            endpoint,
            until: steady.saturating_add(first),
            pause: first,
        };
        true
    }

    /// Empties the entry of this endpoint, which has accepted a token.
    pub(super) fn forget(&mut self, endpoint: u32) {
        for entry in &mut self.0 {
            if entry.endpoint == endpoint {
                entry.endpoint = 0;
            }
        }
    }

    /// Empties every entry.
    pub(super) fn clear(&mut self) {
        *self = Self::NONE;
    }
}
