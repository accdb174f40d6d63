//! What happened to a session, and what follows from that.
//!
//! The session keeps states and moves between them. This keeps no state at all: it writes down
//! what happened, and answers every question by looking back over it.

use token_rotator_core::{Ending, Purpose};

use crate::common::events::{At, Failed, Life, Sent, Times};

/// A fact of the past.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    SignedIn,
    SignedOut,
    Installed {
        token: u64,

        validity: Life,
        by: By,
        at: u64,
    },
    /// The token of that time was refused: too soon to be about its age, or not.
    Refused {
        too_soon: bool,
        at: u64,
    },
    Began {
        flight: u64,
        began: At,
        purpose: Purpose,
        at: u64,
    },
    /// A request that carried the token of that time was accepted.
    Accepted(Sent),
    /// An endpoint refused a replay with the token of that time, at this time.
    ReplayRefused(u32, u64),
    /// A caller waits for the flight in the air.
    Joined,
    /// Its waiters were released for its lateness.
    Late,
    /// The flight in the air reported: a failure, or not.
    Landed(Option<Failed>, u64),
}

/// Who brought a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    /// The issuer, just now.
    Flight,
    /// A store, where another process saved it.
    Store,
    /// The program, in a sign-in or an update.
    Program,
}

pub(crate) struct Past {
    pub(crate) policy: Times,
    pub(crate) facts: Vec<Fact>,
}

impl Past {
    /// What happened since the last sign-in or sign-out.
    fn era(&self) -> &[Fact] {
        let from = self
            .facts
            .iter()
            .rposition(|fact| matches!(fact, Fact::SignedIn | Fact::SignedOut));
        &self.facts[from.unwrap_or(0)..]
    }

    /// What happened in this epoch since its last token.
    fn since_token(&self) -> &[Fact] {
        let era = self.era();
        let from = era
            .iter()
            .rposition(|fact| matches!(fact, Fact::Installed { .. }));
        &era[from.unwrap_or(0)..]
    }

    pub(crate) fn here(&self) -> At {
        let count = |of: fn(&Fact) -> bool| self.facts.iter().filter(|fact| of(fact)).count();
        At {
            epoch: count(|fact| matches!(fact, Fact::SignedIn | Fact::SignedOut)) as u64,
            generation: count(|fact| matches!(fact, Fact::Installed { .. })) as u64,
        }
    }

    pub(crate) fn signed_out(&self) -> bool {
        matches!(self.era().first(), Some(Fact::SignedOut)) && self.token().is_none()
    }

    /// The token of this epoch, usable or not: itself, how long it is good, and since when.
    pub(crate) fn token(&self) -> Option<(u64, Life, u64)> {
        match self.since_token().first() {
            Some(&Fact::Installed {
                token,

                validity,
                at,
                ..
            }) => Some((token, validity, at)),
            _ => None,
        }
    }

    pub(crate) fn was_refused(&self) -> bool {
        let refused = |fact: &Fact| {
            matches!(
                fact,
                Fact::Refused {
                    too_soon: false,
                    ..
                }
            )
        };
        self.since_token().iter().any(refused)
    }

    pub(crate) fn expired(&self, wall: u64) -> bool {
        let expires_at = self
            .token()
            .and_then(|(_, validity, _)| validity.expires_at);
        expires_at.is_some_and(|at| wall >= at)
    }

    pub(crate) fn usable(&self, wall: u64) -> bool {
        self.token().is_some() && !self.was_refused() && !self.expired(wall)
    }

    /// The flight of this epoch that has not reported, with when it began.
    pub(crate) fn in_the_air(&self) -> Option<(u64, Purpose, u64)> {
        self.era().iter().rev().find_map(|fact| match *fact {
            Fact::Landed(..) => Some(None),
            Fact::Began {
                flight,
                purpose,
                at,
                ..
            } => Some(Some((flight, purpose, at))),
            _ => None,
        })?
    }

    pub(crate) fn in_time(&self, steady: u64) -> Option<u64> {
        let (flight, _, at) = self.in_the_air()?;
        (steady < at + self.policy.flight_deadline).then_some(flight)
    }

    /// Epoch and generation that a flight began in, and why it did.
    pub(crate) fn beginning(&self, number: u64) -> (At, Purpose) {
        let began = self.facts.iter().find_map(|fact| match *fact {
            Fact::Began {
                flight,
                began,
                purpose,
                ..
            } if flight == number => Some((began, purpose)),
            _ => None,
        });
        began.expect("a flight that began")
    }

    /// Whether any of what happened since the flight in the air began is such a fact.
    pub(crate) fn since_it_began(&self, such: fn(&Fact) -> bool) -> bool {
        let era = self.era().iter().rev();
        era.take_while(|fact| !matches!(fact, Fact::Began { .. }))
            .any(such)
    }

    /// The failures since the last token: what, when, and whether the flight had begun with that
    /// token. A look that found nothing is not one.
    fn failures(&self) -> Vec<(Failed, u64, bool)> {
        let mut began_here = false;
        let mut look = false;
        let mut failures = Vec::new();
        for fact in self.since_token() {
            match *fact {
                Fact::Began { purpose, .. } => {
                    began_here = true;
                    look = purpose == Purpose::Look;
                }
                Fact::Landed(Some(failed), at) if !(look && began_here) => {
                    failures.push((failed, at, began_here));
                }
                _ => {}
            }
        }
        failures
    }

    pub(crate) fn error(&self) -> Option<u64> {
        let (failed, ..) = self.failures().pop()?;
        Some(failed.error)
    }

    pub(crate) fn ended(&self) -> bool {
        let terminal =
            |(failed, _, own): &(Failed, u64, bool)| *own && failed.ending == Ending::Terminal;
        self.failures().iter().any(terminal)
    }

    /// Until when the last cool-down lasts, and whether the issuer asked for it.
    pub(crate) fn cooling(&self) -> Option<(u64, bool)> {
        let mut failures = self.failures();
        failures.retain(|(failed, _, own)| *own && failed.ending != Ending::Terminal);
        let row = failures.len();
        let (failed, at, _) = failures.pop()?;
        let doubled = self.policy.cool_down << (row - 1).min(20);
        let nominal = doubled.min(self.policy.cool_down_max);
        let jittered = nominal * u64::from(failed.jitter.unwrap_or(1_000)) / 1_000;
        let asked = failed.retry_after;
        let length = asked.map_or(jittered, |asked| {
            asked
                .max(self.policy.cool_down)
                .min(self.policy.retry_after_max)
        });
        Some((at + length, failed.retry_after.is_some()))
    }

    /// Whether an ended session may look into its store now.
    pub(crate) fn look_is_due(&self, steady: u64) -> bool {
        let from = self.looks_from();
        self.ended() && self.in_the_air().is_none() && from.is_some_and(|from| steady >= from)
    }

    /// Since when an ended session may look into its store again.
    fn looks_from(&self) -> Option<u64> {
        let interval = Some(self.policy.look_interval).filter(|interval| *interval < u64::MAX)?;
        let mut look = false;
        let mut from = 0;
        for fact in self.since_token() {
            match *fact {
                Fact::Began { purpose, .. } => look = purpose == Purpose::Look,
                Fact::Landed(Some(_), at) if look => from = at + interval,
                Fact::Landed(Some(failed), at) if failed.ending == Ending::Terminal => from = at,
                _ => {}
            }
        }
        Some(from)
    }

    pub(crate) fn early_is_due(&self, at: (u64, u64)) -> bool {
        let Some((_, validity, _)) = self.token() else {
            return false;
        };
        let uncertain =
            |(failed, _, own): &(Failed, u64, bool)| *own && failed.ending == Ending::Uncertain;
        let last = self.era().iter().rev().find_map(|fact| match *fact {
            Fact::Began {
                purpose: Purpose::Early,
                at,
                ..
            } => Some(at),
            _ => None,
        });
        validity.refresh_at.is_some_and(|from| at.0 >= from)
            && !self.failures().iter().any(uncertain)
            && self.in_the_air().is_none()
            && !self.ended()
            && self.cooling().is_none_or(|(until, _)| at.1 >= until)
            && last.is_none_or(|last| at.1 >= last + self.policy.early_interval)
    }

    /// The endpoints that refused a replay, the newest first: until when their refusals start
    /// nothing, and how long that pause is. One that was forgotten keeps its place as endpoint 0.
    fn refusers(facts: &[Fact], times: &Times) -> Vec<(u32, u64, u64)> {
        let mut table: Vec<(u32, u64, u64)> = Vec::new();
        for fact in facts {
            match *fact {
                Fact::Accepted(sent) => {
                    for entry in table.iter_mut().filter(|entry| entry.0 == sent.endpoint) {
                        entry.0 = 0;
                    }
                }
                Fact::ReplayRefused(endpoint, at) => {
                    match table.iter_mut().find(|entry| entry.0 == endpoint) {
                        Some((_, until, pause)) if at >= *until => {
                            *pause = (*pause * 2).min(times.fresh_max);
                            *until = at + *pause;
                        }
                        Some(_) => {}
                        None => table.insert(0, (endpoint, at + times.fresh, times.fresh)),
                    }
                    table.truncate(8);
                }
                _ => {}
            }
        }
        table
    }

    /// Whether refusals by this endpoint start nothing at this time.
    pub(crate) fn is_paused(&self, endpoint: u32, steady: u64) -> bool {
        let mut refusers = Self::refusers(self.era(), &self.policy).into_iter();
        refusers.any(|(other, until, _)| other == endpoint && steady < until)
    }

    /// Useless refreshes in a row after these facts of an era, and whether that of the current token
    /// was judged. Its first replay judges it; a refused one counts if its endpoint is new to the
    /// table.
    fn useless(facts: &[Fact], times: &Times) -> (u32, bool) {
        let mut row = 0_u32;
        let mut judged = false;
        for (place, fact) in facts.iter().enumerate() {
            match *fact {
                Fact::Installed { .. } => judged = false,
                Fact::Accepted(sent) if sent.replay => (row, judged) = (0, true),
                Fact::ReplayRefused(endpoint, _) => {
                    let before = Self::refusers(&facts[..place], times);
                    let new = before.iter().all(|(other, ..)| *other != endpoint);
                    if new && !judged {
                        row = (row + 1).min(3);
                    }
                    judged = true;
                }
                _ => {}
            }
        }
        (row, judged)
    }

    /// How old the token of now must be for a refusal to count.
    ///
    /// A token from a flight is young at first, and for longer the more such tokens were refused
    /// before it. A token from a store is no younger than it says, unless the token before it was
    /// young and refused too. The age of a token from the program is unknown.
    ///
    /// Age counts while no request was accepted, and after three useless refreshes. It always
    /// counts for the last attempt at an endpoint without a name. It does not count at an endpoint
    /// with a name once the replay at another one was refused.
    pub(crate) fn counts_from_age(&self, sent: Sent) -> u64 {
        let accepted = |fact: &Fact| matches!(fact, Fact::Accepted(_));
        let accepted = self.since_token().iter().any(accepted);
        let (useless, judged) = Self::useless(self.era(), &self.policy);
        let named = sent.endpoint != 0;
        let counted = named && judged || accepted && (named || !sent.replay);
        if counted && useless < 3 {
            return 0;
        }
        // Of the token that the loop has come to.
        let (mut first, mut by, mut since) = (0, By::Program, 0);
        let (mut doubted, mut refused) = (true, true);
        // How many in a row were refused while they were young.
        let mut row = 0_u32;
        for (place, fact) in self.era().iter().enumerate() {
            match *fact {
                Fact::Installed {
                    validity,
                    by: brought,
                    at,
                    ..
                } => {
                    if !doubted && !refused {
                        row = 0;
                    }
                    (doubted, refused) = (false, false);
                    let quarter = validity.lifetime.map_or(u64::MAX, |lifetime| lifetime / 4);
                    first = self.policy.fresh.min(quarter);
                    (by, since) = (brought, at);
                }
                Fact::Refused { too_soon: true, .. } => doubted = true,
                Fact::ReplayRefused(..) => {
                    let facts = &self.era()[..=place];
                    doubted |= Self::useless(facts, &self.policy).0 >= 3;
                }
                Fact::Refused { at, .. } => {
                    refused = true;
                    let young = by == By::Store && at - since < first;
                    row = if doubted || young { row + 1 } else { 0 };
                }
                _ => {}
            }
        }
        let age = (first << row.min(20)).min(self.policy.fresh_max);
        match by {
            By::Flight => age,
            By::Store if row > 0 => age,
            By::Store | By::Program => 0,
        }
    }
}
