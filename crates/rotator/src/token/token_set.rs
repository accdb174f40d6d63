//! The token set: the issuer's answer.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::token::lifetime;
use crate::token::secret::{ExposeSecret, SecretString};

/// The most unknown fields that are kept from an answer.
const EXTRA_FIELDS_MAX: usize = 32;
/// The most bytes of an unknown field.
const EXTRA_BYTES_MAX: usize = 8 * 1024;

/// The issuer's answer (RFC 6749 section 5.1): access token, type, refresh token, expiry, scope,
/// `id_token` and other fields.
///
/// The whole answer is secret: `Debug` shows which fields are present and when the token expires.
#[derive(Clone)]
pub struct TokenSet {
    access_token: SecretString,
    token_type: String,
    refresh_token: Option<SecretString>,
    expiry: Expiry,
    obtained_at: Option<SystemTime>,
    scope: Option<String>,
    id_token: Option<SecretString>,
    extra: BTreeMap<String, SecretString>,
}

/// When an access token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// The issuer gave no readable expiry. The token serves until the upstream refuses it.
    Unknown,
    /// The token expires this long after its receipt. Times of more than ten years are cut to ten
    /// years.
    ///
    /// Zero: a token set handed to [`sign_in`](crate::Rotator::sign_in) or
    /// [`update`](crate::Rotator::update) has expired and is refreshed first. From a token source,
    /// zero counts as unknown.
    In(Duration),
    /// The token expires at this moment of the wall clock. A rotator turns it into a lifetime at the
    /// receipt.
    ///
    /// A moment in the past: a token set handed to [`sign_in`](crate::Rotator::sign_in) or
    /// [`update`](crate::Rotator::update) has expired and is refreshed first. From a token source it
    /// counts as unknown, with [`Event::ClockAhead`](crate::Event::ClockAhead), because the local
    /// clock is wrong.
    At(SystemTime),
}

impl TokenSet {
    /// A token set with this Bearer token (RFC 6750), without refresh token and with unknown expiry.
    pub fn bearer(access_token: impl Into<SecretString>) -> Self {
        Self {
            access_token: access_token.into(),
            token_type: "Bearer".to_owned(),
            refresh_token: None,
            expiry: Expiry::Unknown,
            obtained_at: None,
            scope: None,
            id_token: None,
            extra: BTreeMap::new(),
        }
    }

    /// Sets the token type. Rotators accept no other type than Bearer.
    pub fn with_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.token_type = token_type.into();
        self
    }

    /// Sets the refresh token.
    pub fn with_refresh_token(mut self, refresh_token: impl Into<SecretString>) -> Self {
        self.refresh_token = Some(refresh_token.into());
        self
    }

    /// Sets the lifetime of the access token, counted from its receipt.
    pub fn expires_in(self, lifetime: Duration) -> Self {
        self.with_expiry(Expiry::In(lifetime))
    }

    /// Sets the expiry.
    pub fn with_expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }

    /// Sets the granted scope, as the issuer wrote it.
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Sets the `id_token`.
    pub fn with_id_token(mut self, id_token: impl Into<SecretString>) -> Self {
        self.id_token = Some(id_token.into());
        self
    }

    /// Adds another field of the answer. Ignores a field that is longer than 8 KiB, and fields
    /// beyond the first 32.
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        let value = value.into();
        if self.extra.len() < EXTRA_FIELDS_MAX && value.expose_secret().len() <= EXTRA_BYTES_MAX {
            self.extra.insert(name.into(), value);
        }
        self
    }

    /// The access token.
    pub fn access_token(&self) -> &SecretString {
        &self.access_token
    }

    /// The token type, as the issuer wrote it.
    pub fn token_type(&self) -> &str {
        &self.token_type
    }

    /// The refresh token, if there is one.
    pub fn refresh_token(&self) -> Option<&SecretString> {
        self.refresh_token.as_ref()
    }

    /// When the access token expires, as the issuer stated it.
    pub fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// When the token set was received. `None` until a rotator receives it.
    pub fn obtained_at(&self) -> Option<SystemTime> {
        self.obtained_at
    }

    /// The granted scope, as the issuer wrote it.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// The `id_token`, if there is one.
    pub fn id_token(&self) -> Option<&SecretString> {
        self.id_token.as_ref()
    }

    /// Another field of the answer, by its name.
    pub fn extra(&self, name: &str) -> Option<&SecretString> {
        self.extra.get(name)
    }

    /// All other fields of the answer.
    #[cfg(feature = "codec")]
    pub(crate) fn extras(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.extra.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether this is a Bearer token; the comparison ignores case (RFC 6749 section 5.1).
    pub fn is_bearer(&self) -> bool {
        self.token_type.eq_ignore_ascii_case("Bearer")
    }

    /// Takes refresh token, `id_token` and scope from the previous token set where this one has
    /// none.
    pub(crate) fn inherit(mut self, previous: Option<&Self>) -> Self {
        let Some(previous) = previous else {
            return self;
        };
        if self.refresh_token.is_none() {
            self.refresh_token.clone_from(&previous.refresh_token);
        }
        if self.id_token.is_none() {
            self.id_token.clone_from(&previous.id_token);
        }
        if self.scope.is_none() {
            self.scope.clone_from(&previous.scope);
        }
        self
    }

    /// Sets the moment of receipt, unless it is set.
    pub(crate) fn received(mut self, now: SystemTime) -> Self {
        self.obtained_at.get_or_insert(now);
        self
    }

    /// Sets the moment of receipt, unless it is set. An issuer sends no expired token, so an expiry
    /// that had passed at the receipt becomes unknown. Returns how far it had passed by the local
    /// clock, which is wrong by at least that time.
    pub(crate) fn received_from_issuer(self, now: SystemTime) -> (Self, Option<Duration>) {
        let mut tokens = self.received(now);
        let received = tokens.obtained_at.unwrap_or(now);
        let passed = lifetime::expired_before_receipt(&tokens, received);
        if passed.is_some() || tokens.expiry == Expiry::In(Duration::ZERO) {
            tokens.expiry = Expiry::Unknown;
        }
        (tokens, passed)
    }

    /// When the access token expires, by the wall clock of its receipt: the receipt plus the
    /// [lifetime](Self::lifetime). Returns `None` if the lifetime is unknown, or if it counts from a
    /// receipt that is not set.
    ///
    /// If the wall clock was set since, this moment is wrong by as much.
    /// [`Rotator::time_left`](crate::Rotator::time_left) does not use the wall clock.
    pub fn expires_at(&self) -> Option<SystemTime> {
        match self.expiry {
            Expiry::At(at) => Some(at),
            Expiry::Unknown | Expiry::In(_) => self.obtained_at?.checked_add(self.lifetime()?),
        }
    }

    /// The lifetime of the access token at its receipt, zero if it had expired. If the issuer gave
    /// none and the token is a JWT, the lifetime that the JWT states. Returns `None` if it is
    /// unknown.
    pub fn lifetime(&self) -> Option<Duration> {
        match self.expiry {
            Expiry::Unknown => lifetime::of_jwt(self, self.obtained_at?),
            Expiry::In(lifetime) => Some(lifetime),
            Expiry::At(at) => Some(at.duration_since(self.obtained_at?).unwrap_or_default()),
        }
    }
}

impl std::fmt::Debug for TokenSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TokenSet")
            .field("token_type", &self.token_type)
            .field("refresh_token", &self.refresh_token.is_some())
            .field("expiry", &self.expiry)
            .field("obtained_at", &self.obtained_at)
            .field("scope", &self.scope)
            .field("id_token", &self.id_token.is_some())
            .field("extra", &self.extra.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> TokenSet {
        (0..EXTRA_FIELDS_MAX).fold(TokenSet::bearer("a"), |tokens, number| {
            tokens.with_extra(format!("field-{number}"), format!("value-{number}"))
        })
    }

    fn extra<'a>(tokens: &'a TokenSet, name: &str) -> Option<&'a str> {
        tokens.extra(name).map(ExposeSecret::expose_secret)
    }

    /// Property: the first 32 unknown fields are kept, and later fields are left out. An issuer
    /// cannot fill the memory.
    #[test]
    fn no_more_than_32_fields_are_kept() {
        assert_eq!(EXTRA_FIELDS_MAX, 32);
        let tokens = full().with_extra("one-more", "left out");
        for number in 0..32 {
            let value = format!("value-{number}");
            assert_eq!(extra(&tokens, &format!("field-{number}")), Some(&*value));
        }
        assert_eq!(tokens.extra.len(), 32);
        assert_eq!(extra(&tokens, "one-more"), None);
    }

    /// Property: a field of 8 KiB is kept whole. A longer field is left out and does not count
    /// among the 32.
    #[test]
    fn a_field_longer_than_8_kib_is_left_out() {
        assert_eq!(EXTRA_BYTES_MAX, 8192);
        let fits = "x".repeat(8192);
        let long = "x".repeat(8193);
        let tokens = TokenSet::bearer("a")
            .with_extra("fits", fits.as_str())
            .with_extra("long", long.as_str())
            .with_extra("after", "kept");
        assert_eq!(extra(&tokens, "fits"), Some(&*fits));
        assert_eq!(extra(&tokens, "long"), None);
        assert_eq!(extra(&tokens, "after"), Some("kept"));
        assert_eq!(tokens.extra.len(), 2);
    }

    /// Property: the limit counts bytes, not characters.
    #[test]
    fn a_field_is_measured_in_bytes() {
        let wide = "\u{e9}".repeat(4097);
        let tokens = TokenSet::bearer("a").with_extra("wide", wide.as_str());
        assert_eq!(extra(&tokens, "wide"), None);
    }

    /// Property: `Debug` shows the names of the fields and none of their values.
    #[test]
    fn extra_fields_are_named_and_not_shown() {
        let tokens = TokenSet::bearer("CANARY-a").with_extra("ws_token", "CANARY-b");
        let shown = format!("{tokens:?}");
        assert!(shown.contains("ws_token"), "{shown}");
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
