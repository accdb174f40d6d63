//! Issuer profiles: what a refresh token that may be spent is still good for.

use std::time::Duration;

/// What an issuer does when a refresh token is presented that was used before.
///
/// After an uncertain outcome (the answer to a refresh was lost) this decides whether the refresh
/// token may be presented again. It is chosen by whoever configures the rotator; nothing in the
/// protocol announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    reuse: Reuse,
    revokes_per_token: bool,
}

/// When a refresh token may be presented once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reuse {
    /// Never: a second use revokes the whole grant.
    Never,
    /// Within this time of its first use.
    Within(Duration),
    /// For as long as its successor has not been used.
    Predecessor,
    /// As often as one likes.
    Always,
}

impl Profile {
    /// The strictest issuer there is, and the default: refresh tokens are single use, and a
    /// second use revokes the grant.
    pub const fn strict() -> Self {
        Self::new(Reuse::Never)
    }

    /// Refresh tokens may be used many times (Entra, Google, most cookie sessions).
    pub const fn multi_use() -> Self {
        Self::new(Reuse::Always)
    }

    /// The parent of the active refresh token is always accepted and answered with its
    /// successor (Supabase).
    pub const fn parent_always() -> Self {
        Self::new(Reuse::Predecessor)
    }

    /// The previous refresh token is accepted for this long after its use (Auth0's leeway, Okta's
    /// and Ory Hydra's grace period).
    pub const fn leeway(window: Duration) -> Self {
        Self::new(Reuse::Within(window))
    }

    /// Auth0, whose `leeway` may be zero: the previous refresh token within it mints a new one,
    /// after it the whole family is revoked.
    pub const fn auth0(leeway: Duration) -> Self {
        Self::leeway(leeway)
    }

    /// Okta with its default grace period of 30 s; use [`Profile::leeway`] for another.
    pub const fn okta() -> Self {
        Self::leeway(Duration::from_secs(30))
    }

    /// Keycloak with `Max Reuse` at its default of 0. Reuse there is counted, not timed.
    pub const fn keycloak() -> Self {
        Self::strict()
    }

    /// Ory Hydra with this `rotation_grace_period`, which it cuts to five minutes.
    pub fn hydra(grace: Duration) -> Self {
        Self::leeway(grace.min(Duration::from_secs(300)))
    }

    /// Supabase: the parent of the active refresh token is always answered with its successor.
    pub const fn supabase() -> Self {
        Self::parent_always()
    }

    /// An issuer under FAPI 2.0, where a retry with the previous refresh token must succeed.
    pub const fn fapi2() -> Self {
        Self::parent_always()
    }

    const fn new(reuse: Reuse) -> Self {
        Self {
            reuse,
            revokes_per_token: false,
        }
    }

    /// The issuer revokes single tokens and not the grant they belong to, so that a sign-in over
    /// an old session may revoke the old tokens.
    pub const fn with_revocation_per_token(mut self) -> Self {
        self.revokes_per_token = true;
        self
    }

    /// When a refresh token may be presented once more.
    pub const fn reuse(self) -> Reuse {
        self.reuse
    }

    /// Whether a sign-in over an old session may revoke the old tokens.
    pub const fn revokes_per_token(self) -> bool {
        self.revokes_per_token
    }

    /// Whether it matters at all that a refresh token was presented before.
    pub(crate) fn counts_uses(self) -> bool {
        self.reuse != Reuse::Always
    }

    /// Whether the refresh token may be presented again this long after it was first sent.
    pub(crate) fn allows_again(self, after: Duration) -> bool {
        match self.reuse {
            Reuse::Never => false,
            // A tenth is left for the way to the issuer, who has the last word on the window.
            Reuse::Within(window) => after < window.saturating_sub(window / 10),
            Reuse::Predecessor | Reuse::Always => true,
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::strict()
    }
}
