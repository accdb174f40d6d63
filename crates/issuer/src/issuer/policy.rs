//! What an issuer does with a refresh token that was used before.

use std::time::Duration;

/// How refresh tokens rotate, and what presenting one a second time does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshPolicy {
    /// The same refresh token for ever; answers to a refresh leave it out (Google, Entra; RFC 6749 section 6).
    MultiUse,
    /// A new refresh token with every refresh; the old ones stay good.
    Rotating,
    /// A new refresh token with every refresh; presenting a used one revokes the family (RFC 9700 section 4.14.2).
    #[default]
    SingleUse,
    /// Single use, but a used token is good for this long after its first use, and then mints a new one, as long as no
    /// successor of it was used (Auth0, Okta, Hydra). After that its reuse revokes the family.
    Leeway(Duration),
    /// The parent of the active refresh token is always good, and answered with the active one that exists already
    /// (Supabase). Anything older revokes the family.
    ParentAlways,
}
