//! Issuer profiles: what an issuer does with a refresh token that was used before.

use std::time::Duration;

/// What an issuer does when a client presents a used refresh token.
///
/// After an uncertain outcome (the answer to a refresh was lost), the profile decides whether the
/// refresh token may be presented again. The profile also has the answers by which this issuer alone
/// says that a grant has ended. The user configures the profile, because no protocol announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    reuse: Reuse,
    revokes_per_token: bool,
    terminal_codes: &'static [&'static str],
    empty_400_is_terminal: bool,
}

/// When a refresh token may be presented again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reuse {
    /// Never. A second use revokes the whole grant.
    Never,
    /// Within this time after its first use.
    Within(Duration),
    /// Until its successor is used.
    Predecessor,
    /// At any time.
    Always,
}

impl Profile {
    /// The strictest profile, and the default. Refresh tokens are single use, and a second use
    /// revokes the grant.
    pub const fn strict() -> Self {
        Self::new(Reuse::Never)
    }

    /// Refresh tokens may be used many times (Entra, Google, most cookie sessions).
    pub const fn multi_use() -> Self {
        Self::new(Reuse::Always)
    }

    /// The issuer always accepts the parent of the active refresh token and answers with its
    /// successor (Supabase).
    pub const fn parent_always() -> Self {
        Self::new(Reuse::Predecessor)
    }

    /// The issuer accepts the previous refresh token for this long after its use (leeway of Auth0,
    /// grace period of Okta and Ory Hydra).
    pub const fn leeway(window: Duration) -> Self {
        Self::new(Reuse::Within(window))
    }

    /// Auth0 with this `leeway`, which may be zero. Within the leeway, the previous refresh token
    /// yields a new token. After the leeway, its use revokes the whole token family.
    pub const fn auth0(leeway: Duration) -> Self {
        Self::leeway(leeway)
    }

    /// Okta with its default grace period of 30 s. Use [`Profile::leeway`] for another grace
    /// period.
    pub const fn okta() -> Self {
        Self::leeway(Duration::from_secs(30))
    }

    /// Keycloak with `Max Reuse` at its default of 0. Keycloak counts uses and sets no time limit.
    pub const fn keycloak() -> Self {
        Self::strict()
    }

    /// Ory Hydra with this `rotation_grace_period`. Hydra limits it to five minutes. It answers
    /// `token_inactive` if the refresh token has ended.
    pub fn hydra(grace: Duration) -> Self {
        Self::leeway(grace.min(Duration::from_secs(300))).with_terminal_codes(&["token_inactive"])
    }

    /// Supabase. It always answers the parent of the active refresh token with its successor.
    pub const fn supabase() -> Self {
        Self::parent_always().with_terminal_codes(&[
            "session_expired",
            "session_not_found",
            "user_banned",
            "user_not_found",
        ])
    }

    /// Slack with token rotation. Its refresh tokens are single use.
    pub const fn slack() -> Self {
        Self::strict().with_terminal_codes(&[
            "account_inactive",
            "invalid_auth",
            "token_expired",
            "token_revoked",
        ])
    }

    /// Firebase Authentication (the Secure Token API). Refresh tokens may be used many times.
    pub const fn firebase() -> Self {
        Self::multi_use().with_terminal_codes(&[
            "INVALID_REFRESH_TOKEN",
            "TOKEN_EXPIRED",
            "USER_DISABLED",
            "USER_NOT_FOUND",
        ])
    }

    /// Glewlwyd. It answers with an empty 400 if the refresh token has ended.
    pub const fn glewlwyd() -> Self {
        let mut profile = Self::strict();
        profile.empty_400_is_terminal = true;
        profile
    }

    /// An issuer under FAPI 2.0, where a retry with the previous refresh token must succeed.
    pub const fn fapi2() -> Self {
        Self::parent_always()
    }

    const fn new(reuse: Reuse) -> Self {
        Self {
            reuse,
            revokes_per_token: false,
            terminal_codes: &[],
            empty_400_is_terminal: false,
        }
    }

    /// Sets the error codes by which this issuer alone says that a grant has ended. `invalid_grant`
    /// (RFC 6749 section 5.2) needs no entry.
    pub const fn with_terminal_codes(mut self, codes: &'static [&'static str]) -> Self {
        self.terminal_codes = codes;
        self
    }

    /// The issuer revokes single tokens, not their grant. A sign-in that replaces a session then
    /// revokes the old tokens.
    pub const fn with_revocation_per_token(mut self) -> Self {
        self.revokes_per_token = true;
        self
    }

    /// Returns the error codes by which this issuer alone says that a grant has ended.
    pub const fn terminal_codes(self) -> &'static [&'static str] {
        self.terminal_codes
    }

    /// Returns whether an empty answer with status 400 says that a grant has ended.
    pub const fn is_empty_400_terminal(self) -> bool {
        self.empty_400_is_terminal
    }

    /// Returns when a refresh token may be presented again.
    pub const fn reuse(self) -> Reuse {
        self.reuse
    }

    /// Returns whether a sign-in that replaces a session revokes the old tokens.
    pub const fn revokes_per_token(self) -> bool {
        self.revokes_per_token
    }

    /// Returns whether an earlier use of a refresh token restricts its next use.
    pub(crate) fn counts_uses(self) -> bool {
        self.reuse != Reuse::Always
    }

    /// Returns whether the refresh token may be presented again this long after it was first sent.
    pub(crate) fn allows_again(self, after: Duration) -> bool {
        match self.reuse {
            Reuse::Never => false,
            // A tenth of the window is left for the request to reach the issuer, which measures the
            // window.
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
