//! Recovery after an uncertain outcome: what is known of refresh tokens that were presented without
//! a clear answer, and whether they may be presented again. A strict issuer takes a second use of
//! a refresh token for theft and ends the session.

use std::time::{Duration, SystemTime};

use crate::profile::Profile;
use crate::store::intent::{Intent, IntentId, IntentOutcome, TokenHash};

/// What this process knows beyond the record, for one sign-in. A flight of an earlier sign-in, which
/// may still be in the air, neither changes nor reads it.
#[derive(Default)]
pub(crate) struct Recovery {
    epoch: u64,
    own: Option<Own>,
    seen: Option<Seen>,
}

/// The intent that this rotator wrote last and knows no end of.
#[derive(Clone, Copy)]
struct Own {
    intent: Intent,
    /// Nobody presented the refresh token before us.
    first: bool,
    /// When we first sent it, by the steady clock; `None`: not yet, or it came back unspent.
    sent: Option<Duration>,
    /// The last of its attempts that is certain to be ours: the record took it.
    ours: u32,
}

impl Own {
    /// Whether the refresh token was never sent under this intent, which is ours.
    fn unsent(&self, intent: &Intent) -> bool {
        self.first && self.sent.is_none() && intent.attempts <= 1
    }

    /// Whether its last attempt was ours.
    fn made(&self, intent: &Intent) -> bool {
        (self.first && intent.attempts <= 1) || intent.attempts == self.ours
    }
}

/// An intent in the record, watched by our steady clock.
#[derive(Clone, Copy)]
struct Seen {
    id: IntentId,
    attempts: u32,
    /// When it was first seen.
    since: Duration,
    /// When its last attempt was first seen.
    attempt_since: Duration,
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
    /// The sign-in of the flight.
    pub(crate) epoch: u64,
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

impl Recovery {
    pub(crate) fn plan(&mut self, situation: &Situation) -> Plan {
        match self.known(situation.epoch) {
            Some(known) => known.decide(situation),
            None => Self::default().decide(situation),
        }
    }

    /// The intent under which the refresh token may have been spent before.
    pub(crate) fn in_doubt(
        &mut self,
        epoch: u64,
        token: TokenHash,
        found: Option<Intent>,
    ) -> Option<Intent> {
        let own = self.known(epoch).and_then(|known| known.own);
        let own = own.filter(|own| own.intent.token == token);
        let found = found.filter(|found| found.token == token);
        let intent = found.or(own.map(|own| own.intent))?;
        let unsent = own.is_some_and(|own| own.intent.id == intent.id && own.unsent(&intent));
        (!unsent).then_some(intent)
    }

    /// This intent is about to be written down. Until it is known to be, its last attempt may be
    /// anybody's.
    pub(crate) fn writing(&mut self, epoch: u64, intent: Intent) {
        let Some(known) = self.known(epoch) else {
            return;
        };
        known.own = Some(match known.own.filter(|own| own.intent.id == intent.id) {
            Some(own) => Own { intent, ..own },
            None => Own {
                intent,
                first: intent.attempts <= 1,
                sent: None,
                ours: 0,
            },
        });
    }

    /// The record has it.
    pub(crate) fn written(&mut self, epoch: u64, intent: &Intent) {
        self.change(epoch, intent.id, |own| own.ours = intent.attempts);
    }

    /// The refresh token is about to be sent.
    pub(crate) fn sending(&mut self, epoch: u64, intent: &Intent, steady: Duration) {
        self.change(epoch, intent.id, |own| {
            own.sent.get_or_insert(steady);
        });
    }

    /// There was no clear answer.
    pub(crate) fn uncertain(&mut self, epoch: u64, intent: Intent) {
        self.change(epoch, intent.id, |own| own.intent = intent);
    }

    /// Nothing is in doubt any more.
    pub(crate) fn clear(&mut self, epoch: u64) {
        if let Some(known) = self.known(epoch) {
            known.own = None;
        }
    }

    /// The refresh token was not spent this time, which says nothing of the time before: things
    /// stand as they did. What was never sent before is known to be unsent, should the record go
    /// on saying that it is about to be.
    pub(crate) fn withdraw(&mut self, epoch: u64, before: Option<Intent>) {
        let Some(known) = self.known(epoch) else {
            return;
        };
        known.own = known.own.and_then(|own| match before {
            Some(before) => (before.id == own.intent.id).then_some(Own {
                intent: before,
                ..own
            }),
            None => own.first.then_some(Own { sent: None, ..own }),
        });
    }

    fn change(&mut self, epoch: u64, id: IntentId, change: impl FnOnce(&mut Own)) {
        if let Some(known) = self.known(epoch)
            && let Some(own) = known.own.as_mut().filter(|own| own.intent.id == id)
        {
            change(own);
        }
    }

    /// What is known of this sign-in. Returns `None` if a later sign-in is known.
    fn known(&mut self, epoch: u64) -> Option<&mut Self> {
        if epoch > self.epoch {
            *self = Self {
                epoch,
                ..Self::default()
            };
        }
        (epoch == self.epoch).then_some(self)
    }

    fn decide(&mut self, situation: &Situation) -> Plan {
        let about = |intent: &Intent| intent.token == situation.token;
        let own = self.own.filter(|own| about(&own.intent));
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
        if own.is_some_and(|own| own.unsent(&intent)) {
            // Written down, but never sent: its time begins now.
            return Plan::Present(Intent {
                started: situation.wall,
                ..intent
            });
        }
        let seen = self.watch(&intent, situation.steady);
        let watched = situation.steady.saturating_sub(seen.since);
        // By our steady clock where the first use was ours, and as far as we have watched it where
        // not; by the wall clock in any case. One that stands before the beginning tells nothing:
        // then no window is open.
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
            _ => by_wall.map(|by_wall| by_wall.max(watched)),
        };
        if since.is_some_and(|since| situation.profile.allows_again(since)) {
            return Plan::Again(intent.again());
        }
        if situation.usable {
            return Plan::Hold;
        }
        let theirs = !own.is_some_and(|own| own.made(&intent));
        if theirs && intent.outcome == IntentOutcome::Open {
            // The record says when the first attempt began, and not when a later one did.
            let by_record = since.filter(|_| intent.attempts <= 1);
            let watched = situation.steady.saturating_sub(seen.attempt_since);
            let waited = by_record.map_or(watched, |since| since.max(watched));
            if waited < situation.linger {
                return Plan::Wait(situation.linger.saturating_sub(waited));
            }
        }
        Plan::LastResort(intent.again())
    }

    /// Since when we have seen it.
    fn watch(&mut self, intent: &Intent, steady: Duration) -> Seen {
        let before = self.seen.filter(|seen| seen.id == intent.id);
        let seen = match before {
            Some(seen) if seen.attempts == intent.attempts => seen,
            before => Seen {
                id: intent.id,
                attempts: intent.attempts,
                since: before.map_or(steady, |seen| seen.since),
                attempt_since: steady,
            },
        };
        self.seen = Some(seen);
        seen
    }
}

#[cfg(test)]
mod tests;
