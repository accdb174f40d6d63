//! Recovery after an uncertain outcome: which refresh tokens were presented without a clear answer,
//! and whether a flight may present them again. A strict issuer takes a second use of a refresh
//! token for theft and revokes the grant.

use std::time::{Duration, SystemTime};

use crate::profile::Profile;
use crate::store::intent::{Intent, IntentId, IntentOutcome, TokenHash};

/// What this process has observed beyond the record, for one epoch. A flight of an earlier epoch
/// neither changes nor reads it.
#[derive(Default)]
pub(crate) struct Recovery {
    epoch: u64,
    own: Option<Own>,
    seen: Option<Seen>,
}

/// The last intent of this process, while its outcome is open or uncertain.
#[derive(Clone, Copy)]
struct Own {
    intent: Intent,
    /// No other process presented the refresh token before this process.
    first: bool,
    /// When this process first sent the refresh token, by the steady clock. `None` if it has not
    /// sent the token, or if the token came back unspent.
    sent: Option<Duration>,
    /// The last attempt that this process has certainly made: the record holds it.
    ours: u32,
}

impl Own {
    /// Returns whether the refresh token was never sent under this intent.
    fn unsent(&self, intent: &Intent) -> bool {
        self.first && self.sent.is_none() && intent.attempts <= 1
    }

    /// Returns whether this process made the intent's last attempt.
    fn made(&self, intent: &Intent) -> bool {
        (self.first && intent.attempts <= 1) || intent.attempts == self.ours
    }
}

/// An intent in the record, timed by the steady clock of this process.
#[derive(Clone, Copy)]
struct Seen {
    id: IntentId,
    attempts: u32,
    /// When this process first read the intent.
    since: Duration,
    /// When this process first read the intent's last attempt.
    attempt_since: Duration,
}

/// What a flight may do with its refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Present the refresh token under this intent. No earlier attempt is in doubt.
    Present(Intent),
    /// Present the refresh token once more. The profile allows it.
    Again(Intent),
    /// Present the refresh token once more, although the profile does not allow it. No other way to
    /// a token is left.
    LastResort(Intent),
    /// Do not present the refresh token. The access token is still usable, and may be the last one.
    Hold,
    /// Wait this long for the process that wrote the intent.
    Wait(Duration),
    /// The issuer has refused the refresh token.
    Refused,
}

/// The facts that a plan is made from.
pub(crate) struct Situation {
    /// The epoch of the flight.
    pub(crate) epoch: u64,
    pub(crate) token: TokenHash,
    /// The intent in the record.
    pub(crate) found: Option<Intent>,
    pub(crate) profile: Profile,
    pub(crate) wall: SystemTime,
    pub(crate) steady: Duration,
    /// Whether the access token can still be served.
    pub(crate) usable: bool,
    /// A caller forced this refresh.
    pub(crate) forced: bool,
    /// How long a process that has lost its lease may still be refreshing.
    pub(crate) linger: Duration,
}

impl Recovery {
    pub(crate) fn plan(&mut self, situation: &Situation) -> Plan {
        match self.known(situation.epoch) {
            Some(known) => known.decide(situation),
            None => Self::default().decide(situation),
        }
    }

    /// Returns the intent under which the refresh token may have been spent before.
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

    /// Notes the intent before it is written to the record. Until the write is confirmed, another
    /// process may have made the intent's last attempt.
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

    /// Notes that the record holds the intent.
    pub(crate) fn written(&mut self, epoch: u64, intent: &Intent) {
        self.change(epoch, intent.id, |own| own.ours = intent.attempts);
    }

    /// Notes that the refresh token is about to be sent.
    pub(crate) fn sending(&mut self, epoch: u64, intent: &Intent, steady: Duration) {
        self.change(epoch, intent.id, |own| {
            own.sent.get_or_insert(steady);
        });
    }

    /// Notes that the issuer gave no clear answer.
    pub(crate) fn uncertain(&mut self, epoch: u64, intent: Intent) {
        self.change(epoch, intent.id, |own| own.intent = intent);
    }

    /// Forgets the intent, because no outcome is in doubt any more.
    pub(crate) fn clear(&mut self, epoch: u64) {
        if let Some(known) = self.known(epoch) {
            known.own = None;
        }
    }

    /// Restores the intent `before`, because this attempt did not spend the refresh token. If this
    /// process made the first attempt, the refresh token counts as unsent, even if the record still
    /// says that it is about to be sent.
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

    /// Returns the recovery state of this epoch. Returns `None` if a later epoch has begun.
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
        // If no record can hold intents, the memory of this process is the journal.
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
            // The intent was written, but the refresh token was never sent. The intent's time
            // begins now.
            return Plan::Present(Intent {
                started: situation.wall,
                ..intent
            });
        }
        let seen = self.watch(&intent, situation.steady);
        let watched = situation.steady.saturating_sub(seen.since);
        // The longer of two times counts. The steady clock runs from the first use if this process
        // made it, else from the first read of the intent. The wall clock runs from the intent's
        // start. A wall clock before that start proves nothing, so no window is open.
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
            // The record says when the first attempt began, but not when a later attempt began.
            let by_record = since.filter(|_| intent.attempts <= 1);
            let watched = situation.steady.saturating_sub(seen.attempt_since);
            let waited = by_record.map_or(watched, |since| since.max(watched));
            if waited < situation.linger {
                return Plan::Wait(situation.linger.saturating_sub(waited));
            }
        }
        Plan::LastResort(intent.again())
    }

    /// Returns since when this process has read the intent.
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
