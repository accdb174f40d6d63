//! Recovery after an uncertain outcome: which refresh tokens were presented without a clear answer,
//! and whether a flight may present them again. A strict issuer takes a second use of a refresh
//! token for theft and revokes the grant.

use std::time::{Duration, SystemTime};

use crate::rotator::profile::Profile;
use crate::store::intent::{Intent, IntentId, IntentOutcome, TokenHash};

/// What this process has observed beyond the record, for one epoch. A flight of an earlier epoch
/// neither changes nor reads it.
#[derive(Default)]
pub(crate) struct Recovery {
    epoch: u64,
    own: Option<OwnIntent>,
    watched: Option<WatchedIntent>,
}

/// The last intent of this process, while its outcome is open or uncertain.
#[derive(Clone, Copy)]
struct OwnIntent {
    intent: Intent,
    /// No other process presented the refresh token before this process.
    is_first: bool,
    /// When this process first sent the refresh token, by the steady clock. `None` if it has not
    /// sent the token, or if the token came back unspent.
    sent_at: Option<Duration>,
    /// The last attempt that this process has certainly made: the record holds it.
    own_attempts: u32,
}

impl OwnIntent {
    /// Returns whether the refresh token was never sent under this intent.
    fn is_unsent(&self, intent: &Intent) -> bool {
        self.is_first && self.sent_at.is_none() && intent.attempts <= 1
    }

    /// Returns whether this process made the intent's last attempt.
    fn made_last_attempt(&self, intent: &Intent) -> bool {
        (self.is_first && intent.attempts <= 1) || intent.attempts == self.own_attempts
    }
}

/// An intent in the record, timed by the steady clock of this process.
#[derive(Clone, Copy)]
struct WatchedIntent {
    id: IntentId,
    attempts: u32,
    /// When this process first read the intent.
    since: Duration,
    /// When this process first read the intent's last attempt.
    attempt_since: Duration,
}

/// What a flight may do with its refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecoveryPlan {
    /// Present the refresh token under this intent. No earlier attempt is in doubt.
    Present(Intent),
    /// Present the refresh token once more. The profile allows it.
    PresentAgain(Intent),
    /// Present the refresh token once more, although the profile does not allow it. No other way to
    /// a token is left.
    LastResort(Intent),
    /// Do not present the refresh token. The access token is still usable, and may be the last one.
    DoNotPresent,
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
    pub(crate) fn plan(&mut self, situation: &Situation) -> RecoveryPlan {
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
        let unsent = own.is_some_and(|own| own.intent.id == intent.id && own.is_unsent(&intent));
        (!unsent).then_some(intent)
    }

    /// Notes the intent before it is written to the record. Until the write is confirmed, another
    /// process may have made the intent's last attempt.
    pub(crate) fn writing(&mut self, epoch: u64, intent: Intent) {
        let Some(known) = self.known(epoch) else {
            return;
        };
        known.own = Some(match known.own.filter(|own| own.intent.id == intent.id) {
            Some(own) => OwnIntent { intent, ..own },
            None => OwnIntent {
                intent,
                is_first: intent.attempts <= 1,
                sent_at: None,
                own_attempts: 0,
            },
        });
    }

    /// Notes that the record holds the intent.
    pub(crate) fn written(&mut self, epoch: u64, intent: &Intent) {
        self.change(epoch, intent.id, |own| own.own_attempts = intent.attempts);
    }

    /// Notes that the refresh token is about to be sent.
    pub(crate) fn sending(&mut self, epoch: u64, intent: &Intent, steady: Duration) {
        self.change(epoch, intent.id, |own| {
            own.sent_at.get_or_insert(steady);
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
    /// process made the first attempt, the refresh token counts as unsent, whatever the record
    /// says.
    pub(crate) fn withdraw(&mut self, epoch: u64, before: Option<Intent>) {
        let Some(known) = self.known(epoch) else {
            return;
        };
        known.own = known.own.and_then(|own| match before {
            Some(before) => (before.id == own.intent.id).then_some(OwnIntent {
                intent: before,
                ..own
            }),
            None => own.is_first.then_some(OwnIntent {
                sent_at: None,
                ..own
            }),
        });
    }

    fn change(&mut self, epoch: u64, id: IntentId, change: impl FnOnce(&mut OwnIntent)) {
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

    fn decide(&mut self, situation: &Situation) -> RecoveryPlan {
        let is_for_token = |intent: &Intent| intent.token == situation.token;
        let own = self.own.filter(|own| is_for_token(&own.intent));
        // If no record can hold intents, the memory of this process is the journal.
        let found = situation
            .found
            .filter(is_for_token)
            .or(own.map(|own| own.intent));
        let Some(intent) = found else {
            return RecoveryPlan::Present(Intent::new(situation.token, situation.wall));
        };
        let own = own.filter(|own| own.intent.id == intent.id);
        if intent.outcome == IntentOutcome::Refused {
            return if situation.forced {
                RecoveryPlan::PresentAgain(intent.again())
            } else {
                RecoveryPlan::Refused
            };
        }
        if own.is_some_and(|own| own.is_unsent(&intent)) {
            // The intent was written, but the refresh token was never sent. The intent's time
            // begins now.
            return RecoveryPlan::Present(Intent {
                started: situation.wall,
                ..intent
            });
        }
        let watched = self.watch(&intent, situation.steady);
        let watched_for = situation.steady.saturating_sub(watched.since);
        // The longer of two times counts. The steady clock runs from the first use if this process
        // made it, else from the first read of the intent. The wall clock runs from the intent's
        // start. A wall clock before that start proves nothing, so no window is open.
        let by_wall = situation.wall.duration_since(intent.started).ok();
        let since = match own {
            Some(OwnIntent {
                is_first: true,
                sent_at: Some(sent),
                ..
            }) => {
                let by_steady = situation.steady.saturating_sub(sent);
                Some(by_wall.map_or(by_steady, |by_wall| by_wall.max(by_steady)))
            }
            _ => by_wall.map(|by_wall| by_wall.max(watched_for)),
        };
        if since.is_some_and(|since| situation.profile.allows_again(since)) {
            return RecoveryPlan::PresentAgain(intent.again());
        }
        if situation.forced && intent.is_of_older_record() {
            return RecoveryPlan::LastResort(intent.again());
        }
        if situation.usable {
            return RecoveryPlan::DoNotPresent;
        }
        let is_foreign = !own.is_some_and(|own| own.made_last_attempt(&intent));
        if is_foreign && intent.outcome == IntentOutcome::Open {
            // The record says when the first attempt began, but not when a later attempt began.
            let by_record = since.filter(|_| intent.attempts <= 1);
            let watched_for = situation.steady.saturating_sub(watched.attempt_since);
            let waited = by_record.map_or(watched_for, |since| since.max(watched_for));
            if waited < situation.linger {
                return RecoveryPlan::Wait(situation.linger.saturating_sub(waited));
            }
        }
        RecoveryPlan::LastResort(intent.again())
    }

    /// Returns since when this process has read the intent.
    fn watch(&mut self, intent: &Intent, steady: Duration) -> WatchedIntent {
        let before = self.watched.filter(|watched| watched.id == intent.id);
        let watched = match before {
            Some(watched) if watched.attempts == intent.attempts => watched,
            before => WatchedIntent {
                id: intent.id,
                attempts: intent.attempts,
                since: before.map_or(steady, |watched| watched.since),
                attempt_since: steady,
            },
        };
        self.watched = Some(watched);
        watched
    }
}

#[cfg(test)]
mod tests;
