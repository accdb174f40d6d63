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

    /// Whether this endpoint's refusals start no refresh at this time.
    #[inline(never)]
    pub(super) fn pauses(&self, endpoint: u32, steady: Number) -> bool {
        let [a, b, c, d, e, f, g, h] = &self.0;
        let pauses = |refuser: &Refuser| refuser.endpoint == endpoint && steady < refuser.until;
        pauses(a)
            || pauses(b)
            || pauses(c)
            || pauses(d)
            || pauses(e)
            || pauses(f)
            || pauses(g)
            || pauses(h)
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
        // Written entry by entry: the build for JavaScript needs constant addresses.
        let mut known = false;
        let mut again = |refuser: &mut Refuser| {
            if refuser.endpoint == endpoint {
                known = true;
                if steady >= refuser.until {
                    refuser.pause = doubled(refuser.pause, 1, most);
                    refuser.until = steady.plus(refuser.pause);
                }
            }
        };
        let [a, b, c, d, e, f, g, h] = &mut self.0;
        again(a);
        again(b);
        again(c);
        again(d);
        again(e);
        again(f);
        again(g);
        again(h);
        if !known {
            (*h, *g, *f, *e, *d, *c, *b) = (*g, *f, *e, *d, *c, *b, *a);
            *a = Refuser {
                endpoint,
                until: steady.plus(first),
                pause: first,
            };
        }
        !known
    }

    /// Forgets this endpoint, which accepted a token.
    #[inline(never)]
    pub(super) fn forget(&mut self, endpoint: u32) {
        let [a, b, c, d, e, f, g, h] = &mut self.0;
        let forget = |refuser: &mut Refuser| {
            if refuser.endpoint == endpoint {
                refuser.endpoint = 0;
            }
        };
        forget(a);
        forget(b);
        forget(c);
        forget(d);
        forget(e);
        forget(f);
        forget(g);
        forget(h);
    }
}
