//! How the issuer treats a used refresh token.

use std::time::Duration;

/// How refresh tokens rotate, and what the second use of a refresh token does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshPolicy {
    /// The refresh token never changes. Refresh responses contain no refresh token (Google, Entra; RFC 6749 section 6).
    MultiUse,
    /// Every refresh issues a new refresh token. Used refresh tokens stay valid.
    Rotating,
    /// Every refresh issues a new refresh token. A used refresh token revokes the family (RFC 9700 section 4.14.2).
    #[default]
    SingleUse,
    /// Every refresh issues a new refresh token. A used token stays valid for this long after its first use, until a
    /// client uses one of its successors. Each use then issues another token (Auth0, Okta, Hydra). Any later use
    /// revokes the family.
    Leeway(Duration),
    /// The parent of the newest refresh token stays valid, and redeeming it returns the newest token again (Supabase).
    /// Any older token revokes the family.
    ParentAlways,
}
