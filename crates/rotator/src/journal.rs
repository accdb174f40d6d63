//! What is known of refresh tokens that were presented without a clear answer, and what follows
//! from it: the decision that keeps a strict issuer from taking us for a thief.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::intent::{Intent, IntentId, IntentOutcome, TokenHash};
use crate::profile::Profile;
use crate::sync::lock_std;

/// What this rotator knows beyond the record.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Known>);

#[derive(Default)]
struct Known {
    own: Option<Own>,
    /// An intent of somebody else's, and when it was first seen by our steady clock.
    seen: Option<(IntentId, Duration)>,
}

/// The intent that this rotator wrote last and knows no end of.
#[derive(Clone, Copy)]
struct Own {
    intent: Intent,
    /// Nobody presented the refresh token before us.
    first: bool,
    /// When we first sent it, by the steady clock; `None`: not yet.
    sent: Option<Duration>,
}

/// What a refresh token may be used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Present it, under this intent: nothing speaks against it.
    Present(Intent),
    /// Present it once more, as the profile allows.
    Again(Intent),
    /// Present it once more, though the profile does not allow it: nothing else is left.
    LastResort(Intent),
    /// Leave it alone: the access token is still good, and may be the last one.
    Hold,
    /// Leave it to the owner of the intent for so long.
    Wait(Duration),
    /// The issuer has refused it before.
    Refused,
}

/// What a plan is made from.
pub(crate) struct Situation {
    pub(crate) token: TokenHash,
    /// The intent in the record.
    pub(crate) found: Option<Intent>,
    pub(crate) profile: Profile,
    pub(crate) wall: SystemTime,
    pub(crate) steady: Duration,
    /// Whether the access token can still be served.
    pub(crate) usable: bool,
    /// Somebody asked for this refresh by name.
    pub(crate) forced: bool,
    /// How long a holder that has lost its lease may still be at work.
    pub(crate) linger: Duration,
}

impl Journal {
    pub(crate) fn plan(&self, situation: &Situation) -> Plan {
        let mut known = lock_std(&self.0);
        let about = |intent: &Intent| intent.token == situation.token;
        let own = known.own.filter(|own| about(&own.intent));
        // Where there is no record to write intents in, our own memory is the journal.
        let found = situation.found.filter(about).or(own.map(|own| own.intent));
        let Some(intent) = found else {
            return Plan::Present(Intent::new(situation.token, situation.wall));
        };
        let own = own.filter(|own| own.intent.id == intent.id);
        if intent.outcome == IntentOutcome::Refused {
            return if situation.forced {
                Plan::Again(intent.again())
            } else {
                Plan::Refused
            };
        }
        if let Some(Own {
            first: true,
            sent: None,
            ..
        }) = own
        {
            // Written down, but never sent.
            return Plan::Present(intent);
        }
        // By our steady clock where the first use was ours; by the wall clock in any case. One that
        // stands before the beginning tells nothing: then no window is open.
        let by_wall = situation.wall.duration_since(intent.started).ok();
        let since = match own {
            Some(Own {
                first: true,
                sent: Some(sent),
                ..
            }) => {
                let by_steady = situation.steady.saturating_sub(sent);
                Some(by_wall.map_or(by_steady, |by_wall| by_wall.max(by_steady)))
            }
            _ => by_wall,
        };
        if since.is_some_and(|since| situation.profile.allows_again(since)) {
            return Plan::Again(intent.again());
        }
        if situation.usable {
            return Plan::Hold;
        }
        if own.is_none() && intent.outcome == IntentOutcome::Open {
            let first_seen = match known.seen {
                Some((id, at)) if id == intent.id => at,
                _ => {
                    known.seen = Some((intent.id, situation.steady));
                    situation.steady
                }
            };
            let watched = situation.steady.saturating_sub(first_seen);
            let waited = since.map_or(watched, |since| since.max(watched));
            if waited < situation.linger {
                return Plan::Wait(situation.linger.saturating_sub(waited));
            }
        }
        Plan::LastResort(intent.again())
    }

    /// This intent is about to be written down.
    pub(crate) fn writing(&self, intent: Intent) {
        let mut known = lock_std(&self.0);
        known.own = Some(match known.own.filter(|own| own.intent.id == intent.id) {
            Some(own) => Own { intent, ..own },
            None => Own {
                intent,
                first: intent.attempts <= 1,
                sent: None,
            },
        });
    }

    /// The refresh token is about to be sent. How long ago we did so for the first time.
    pub(crate) fn sending(&self, steady: Duration) -> Duration {
        let mut known = lock_std(&self.0);
        known.own.as_mut().map_or(Duration::ZERO, |own| {
            steady.saturating_sub(*own.sent.get_or_insert(steady))
        })
    }

    /// Nothing is in doubt any more.
    pub(crate) fn clear(&self) {
        lock_std(&self.0).own = None;
    }

    /// The refresh token was not spent this time, which says nothing of the time before: things
    /// stand as they did.
    pub(crate) fn withdraw(&self, before: Option<Intent>) {
        let mut known = lock_std(&self.0);
        known.own = known.own.and_then(|own| {
            let before = before.filter(|before| before.id == own.intent.id)?;
            Some(Own {
                intent: before,
                ..own
            })
        });
    }

    /// The intent that is in doubt, for a record that is to say so.
    pub(crate) fn own(&self) -> Option<Intent> {
        lock_std(&self.0).own.map(|own| own.intent)
    }
}

#[cfg(test)]
mod tests;
