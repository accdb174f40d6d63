//! Redeeming a refresh token by the refresh policy.

use std::sync::Arc;

use crate::clock::whole_milliseconds;
use crate::issuer::database::{FamilyId, IssuedTokens, RequestedAccess, TokenDatabase};
use crate::issuer::event::{IssuerEvent, RevocationCause};
use crate::issuer::policy::RefreshPolicy;
use crate::issuer::refusal::Refusal;

/// A refresh token presented for new tokens.
#[derive(Clone, Copy)]
pub(in crate::issuer) struct Redemption<'a> {
    pub(in crate::issuer) token: &'a str,
    /// The client that presents the token. `None` for the cookie endpoint, which has no client authentication.
    pub(in crate::issuer) client: Option<&'a str>,
    pub(in crate::issuer) requested: RequestedAccess<'a>,
}

/// What the refresh policy decides about a refresh token.
enum PolicyDecision {
    /// Issue a new access token alone.
    AccessOnly,
    /// Issue a new access token and a new refresh token.
    Rotate,
    /// Issue a new access token and return the refresh token that an earlier redemption issued.
    Successor(Arc<str>),
    /// Refuse the token and revoke the family.
    ReuseDetected,
}

impl TokenDatabase {
    /// Redeems a refresh token by the policy. A refusal for any reason but reuse consumes nothing.
    pub(in crate::issuer) fn redeem(
        &mut self,
        redemption: Redemption<'_>,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        let Some((token, refresh)) = self.refresh_tokens.get_key_value(redemption.token) else {
            return Err(Refusal::Grant("unknown refresh token"));
        };
        let (token, family) = (Arc::clone(token), refresh.family);
        if redemption
            .client
            .is_some_and(|client| !self.owns(client, family))
        {
            return Err(Refusal::Grant(
                "the refresh token belongs to another client",
            ));
        }
        if redemption
            .requested
            .scope
            .is_some_and(|scope| !self.families[&family].covers(scope))
        {
            return Err(Refusal::Scope);
        }
        let decision = self.decide(&token, now);
        if matches!(decision, PolicyDecision::ReuseDetected) {
            self.revoke_for_reuse(family);
            return Err(Refusal::Grant("the refresh token was used before"));
        }
        if !self.family_alive(family) {
            return Err(Refusal::Grant("the grant was revoked"));
        }
        let next = match decision {
            PolicyDecision::AccessOnly | PolicyDecision::ReuseDetected => None,
            PolicyDecision::Successor(successor) => Some(successor),
            PolicyDecision::Rotate => Some(self.rotate(&token, family, now)),
        };
        let issued = self.issue(family, redemption.requested, next.as_ref(), now);
        self.counters.refreshes += 1;
        self.report(IssuerEvent::Refreshed {
            family,
            generation: issued.generation,
        });
        Ok(issued)
    }

    fn decide(&self, token: &Arc<str>, now: i64) -> PolicyDecision {
        let refresh = &self.refresh_tokens[token];
        match (self.policy, refresh.used_at) {
            (RefreshPolicy::MultiUse, _) => PolicyDecision::AccessOnly,
            (RefreshPolicy::Rotating, _) | (_, None) => PolicyDecision::Rotate,
            (RefreshPolicy::Leeway(leeway), Some(used_at))
                if now - used_at < whole_milliseconds(leeway) && !refresh.child_used =>
            {
                PolicyDecision::Rotate
            }
            (RefreshPolicy::ParentAlways, Some(_)) => match &refresh.successor {
                Some(successor) if self.refresh_tokens[successor].used_at.is_none() => {
                    PolicyDecision::Successor(Arc::clone(successor))
                }
                _ => PolicyDecision::ReuseDetected,
            },
            (RefreshPolicy::SingleUse | RefreshPolicy::Leeway(_), Some(_)) => {
                PolicyDecision::ReuseDetected
            }
        }
    }

    fn rotate(&mut self, token: &Arc<str>, family: FamilyId, now: i64) -> Arc<str> {
        let successor = self.new_refresh_token(family, Some(token));
        let mut parent = None;
        if let Some(refresh) = self.refresh_tokens.get_mut(token) {
            refresh.used_at.get_or_insert(now);
            refresh.successor = Some(Arc::clone(&successor));
            parent.clone_from(&refresh.parent);
        }
        if let Some(parent) = parent.and_then(|parent| self.refresh_tokens.get_mut(&parent)) {
            parent.child_used = true;
        }
        successor
    }

    fn revoke_for_reuse(&mut self, family: FamilyId) {
        self.counters.reuses += 1;
        let generation = self.newest_generation(family);
        self.report(IssuerEvent::Reused { family, generation });
        self.revoke(family, RevocationCause::Reuse);
    }
}
