//! Access tokens: issuing and judging them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::whole_milliseconds;
use crate::issuer::ledger::{Asked, FamilyId, Issued, Ledger};
use crate::issuer::mint::Claims;

/// What the ledger remembers of an access token.
#[derive(Clone, Debug)]
pub(crate) struct AccessToken {
    pub(crate) family: FamilyId,
    pub(crate) generation: u64,
    pub(crate) subject: Arc<str>,
    pub(crate) client: Arc<str>,
    pub(crate) scope: Arc<str>,
    /// Milliseconds since the Unix epoch on the issuer's clock.
    pub(crate) expires_at: i64,
    serial: u64,
    revoked: bool,
}

/// What an access token is worth.
#[derive(Clone, Debug)]
pub(crate) enum Judgement {
    /// Good.
    Active(AccessToken),
    /// Ours, but expired or revoked.
    Dead { generation: u64 },
    /// Not one of ours.
    Unknown,
}

impl Judgement {
    pub(crate) fn generation(&self) -> Option<u64> {
        match self {
            Self::Active(access) => Some(access.generation),
            Self::Dead { generation } => Some(*generation),
            Self::Unknown => None,
        }
    }
}

/// The access tokens issued last.
#[derive(Default)]
pub(super) struct AccessTokens {
    known: HashMap<Arc<str>, AccessToken>,
    oldest_first: VecDeque<Arc<str>>,
    next_serial: u64,
    /// Tokens with a serial below this one were expired early.
    expired_below: u64,
}

impl AccessTokens {
    /// Beyond this many the oldest are forgotten and count as foreign, so that a soak test does not fill the memory.
    const REMEMBERED: usize = 100_000;

    pub(super) fn get(&self, identity: &str) -> Option<&AccessToken> {
        self.known.get(identity)
    }

    pub(super) fn is_dead(&self, access: &AccessToken, now: i64) -> bool {
        access.revoked || access.serial < self.expired_below || now >= access.expires_at
    }

    pub(super) fn revoke(&mut self, identity: &str) {
        if let Some(access) = self.known.get_mut(identity) {
            access.revoked = true;
        }
    }

    pub(super) fn expire_all(&mut self) {
        self.expired_below = self.next_serial;
    }

    fn remember(&mut self, identity: String, mut access: AccessToken) {
        access.serial = self.next_serial;
        self.next_serial += 1;
        let identity: Arc<str> = identity.into();
        self.known.insert(Arc::clone(&identity), access);
        self.oldest_first.push_back(identity);
        if self.oldest_first.len() > Self::REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Ledger {
    /// Issues the next access token of a family; the scope asked for was checked.
    pub(super) fn issue(
        &mut self,
        family: FamilyId,
        asked: Asked<'_>,
        refresh_token: Option<&Arc<str>>,
        now: i64,
    ) -> Issued {
        let found = self
            .families
            .get_mut(&family)
            .expect("families are never removed");
        let scope = asked
            .scope
            .map_or_else(|| Arc::clone(&found.scope), Arc::from);
        found.generation += 1;
        let access = AccessToken {
            family,
            generation: found.generation,
            subject: Arc::clone(&found.subject),
            client: Arc::clone(&found.client),
            scope,
            expires_at: now.saturating_add(whole_milliseconds(self.lifetime)),
            serial: 0,
            revoked: false,
        };
        let minted = self.mint.access_token(&Claims {
            subject: &access.subject,
            client: &access.client,
            audience: asked.audience.unwrap_or("upstream"),
            scope: &access.scope,
            family,
            generation: access.generation,
            issued_at: now,
            expires_at: access.expires_at,
        });
        let issued = Issued {
            access_token: minted.token,
            refresh_token: refresh_token.map(ToString::to_string),
            id_token: None,
            lifetime: self.lifetime,
            scope: access.scope.to_string(),
            family,
            generation: access.generation,
        };
        self.access_tokens.remember(minted.identity, access);
        issued
    }
}
