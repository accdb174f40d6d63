//! Issuing and validating access tokens.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::whole_milliseconds;
use crate::issuer::database::{FamilyId, IssuedTokens, RequestedAccess, TokenDatabase};
use crate::issuer::mint::Claims;

/// State of an access token.
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

/// Validity of an access token.
#[derive(Clone, Debug)]
pub(crate) enum TokenValidity {
    /// The upstream accepts the token.
    Active(AccessToken),
    /// This issuer minted the token, and the token has expired or was revoked.
    Inactive { generation: u64 },
    /// This issuer did not mint the token, or no longer remembers it.
    Unknown,
}

impl TokenValidity {
    pub(crate) fn generation(&self) -> Option<u64> {
        match self {
            Self::Active(access) => Some(access.generation),
            Self::Inactive { generation } => Some(*generation),
            Self::Unknown => None,
        }
    }
}

/// The newest access tokens.
#[derive(Default)]
pub(super) struct AccessTokens {
    by_identity: HashMap<Arc<str>, AccessToken>,
    oldest_first: VecDeque<Arc<str>>,
    next_serial: u64,
    /// `expire_all` has expired all tokens with a smaller serial.
    expired_below: u64,
}

impl AccessTokens {
    /// Bounds the memory of a soak test. The issuer forgets older tokens, which then count as unknown.
    const REMEMBERED: usize = 100_000;

    pub(super) fn get(&self, identity: &str) -> Option<&AccessToken> {
        self.by_identity.get(identity)
    }

    pub(super) fn is_inactive(&self, access: &AccessToken, now: i64) -> bool {
        access.revoked || access.serial < self.expired_below || now >= access.expires_at
    }

    pub(super) fn revoke(&mut self, identity: &str) {
        if let Some(access) = self.by_identity.get_mut(identity) {
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
        self.by_identity.insert(Arc::clone(&identity), access);
        self.oldest_first.push_back(identity);
        if self.oldest_first.len() > Self::REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_identity.remove(&oldest);
        }
    }
}

impl TokenDatabase {
    /// Issues the next access token of a family. The caller has checked the requested scope.
    pub(super) fn issue(
        &mut self,
        family: FamilyId,
        requested: RequestedAccess<'_>,
        refresh_token: Option<&Arc<str>>,
        now: i64,
    ) -> IssuedTokens {
        let family_state = self
            .families
            .get_mut(&family)
            .expect("families are never removed");
        let scope = requested
            .scope
            .map_or_else(|| Arc::clone(&family_state.scope), Arc::from);
        family_state.generation += 1;
        let access = AccessToken {
            family,
            generation: family_state.generation,
            subject: Arc::clone(&family_state.subject),
            client: Arc::clone(&family_state.client),
            scope,
            expires_at: now.saturating_add(whole_milliseconds(self.lifetime)),
            serial: 0,
            revoked: false,
        };
        let minted = self.mint.access_token(&Claims {
            subject: &access.subject,
            client: &access.client,
            audience: requested.audience.unwrap_or("upstream"),
            scope: &access.scope,
            family,
            generation: access.generation,
            issued_at: now,
            expires_at: access.expires_at,
        });
        let issued = IssuedTokens {
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
