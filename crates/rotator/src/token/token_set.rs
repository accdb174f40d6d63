//! The token set: the issuer's answer.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::token::lifetime;
use crate::token::secret::{ExposeSecret, SecretString};

/// The most unknown fields that are kept from an answer.
const EXTRA_FIELDS_MAX: usize = 32;
/// The most bytes of an unknown field.
const EXTRA_BYTES_MAX: usize = 8 * 1024;

/// The names of the Bearer type, in lower case and without spaces and `_`.
const BEARER_NAMES: [&str; 14] = [
    "bearer",
    "bearertoken",
    "",
    "useraccesstoken",
    "applicationaccesstoken",
    "bot",
    "user",
    "accesstoken",
    "token",
    "oauth",
    "oauth2",
    "jwt",
    "urn:ietf:params:oauth:token-type:accesstoken",
    "urn:ietf:params:oauth:token-type:jwt",
];

/// The issuer's answer (RFC 6749 section 5.1): access token, type, refresh token, expiry, scope,
/// `id_token` and other fields.
///
/// The whole answer is secret: `Debug` shows which fields are present and when the token expires.
#[derive(Clone)]
pub struct TokenSet {
    access_token: SecretString,
    token_type: String,
    refresh_token: Option<SecretString>,
    refresh_expiry: Expiry,
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
            refresh_expiry: Expiry::Unknown,
            expiry: Expiry::Unknown,
            obtained_at: None,
            scope: None,
            id_token: None,
            extra: BTreeMap::new(),
        }
    }

    /// A token set without any token, for the record of a session whose first refresh failed.
    pub(crate) fn without_tokens() -> Self {
        Self::bearer(String::new())
    }

    /// Whether this is a token set without any token.
    pub(crate) fn has_no_tokens(&self) -> bool {
        self.access_token.expose_secret().is_empty() && self.refresh_token.is_none()
    }

    /// Sets the token type. Rotators accept no other type than Bearer and its
    /// [known aliases](Self::is_bearer).
    pub fn with_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.token_type = token_type.into();
        self
    }

    /// Sets the refresh token.
    pub fn with_refresh_token(mut self, refresh_token: impl Into<SecretString>) -> Self {
        self.refresh_token = Some(refresh_token.into());
        self
    }

    /// Sets when the refresh token expires, as the issuer stated it.
    pub fn with_refresh_expiry(mut self, expiry: Expiry) -> Self {
        self.refresh_expiry = expiry;
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

    /// When the refresh token expires, by the wall clock. Returns `None` if there is no refresh token
    /// or the issuer named no end, and before a rotator receives a token set with a lifetime.
    pub fn refresh_token_expires_at(&self) -> Option<SystemTime> {
        let at = match self.refresh_expiry {
            Expiry::Unknown => None,
            Expiry::In(lifetime) => self.obtained_at?.checked_add(lifetime),
            Expiry::At(at) => Some(at),
        };
        at.filter(|_| self.refresh_token.is_some())
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

    /// Whether this is a Bearer token; the comparison ignores case (RFC 6749 section 5.1), spaces
    /// and `_`.
    ///
    /// Some issuers write another name for a token that is sent as a Bearer token. The known names
    /// are: an empty one, `User Access Token` and `Application Access Token` (eBay), `bot` and
    /// `user` (Slack), `BearerToken` (Apigee), `access_token`, `token`, `oauth`, `oauth2`, `JWT`, and
    /// the access token and JWT types of RFC 8693 section 3.
    pub fn is_bearer(&self) -> bool {
        let name = self.token_type.chars();
        let name = name.filter(|c| !c.is_whitespace() && *c != '_');
        let name = name.collect::<String>().to_ascii_lowercase();
        BEARER_NAMES.contains(&&*name)
    }

    /// Returns the first text that has a control character. A program that prints such a text would
    /// write into a header, a terminal or a script.
    pub(crate) fn text_with_control_character(&self) -> Option<&'static str> {
        let secret = |secret: &'_ Option<SecretString>| {
            secret
                .as_ref()
                .is_some_and(|secret| has_control_character(secret.expose_secret()))
        };
        if has_control_character(self.access_token.expose_secret()) {
            return Some("its access token cannot stand in a header: it has a control character");
        }
        if has_control_character(&self.token_type) {
            return Some("its token type has a control character");
        }
        if secret(&self.refresh_token) {
            return Some("its refresh token has a control character");
        }
        if secret(&self.id_token) {
            return Some("its id_token has a control character");
        }
        if self.scope.as_deref().is_some_and(has_control_character) {
            return Some("its scope has a control character");
        }
        let mut extra = self.extra.iter();
        extra
            .any(|(name, _)| has_control_character(name))
            .then_some("the name of one of its fields has a control character")
    }

    /// Takes refresh token, `id_token` and scope from the previous token set where this one has
    /// none. A refresh token that is empty or has a character outside of printable ASCII counts as
    /// none: the issuer did not mean to replace the previous one with it.
    pub(crate) fn inherit(mut self, previous: Option<&Self>) -> Self {
        let Some(previous) = previous else {
            return self;
        };
        let is_refresh_token = |token: &SecretString| {
            let token = token.expose_secret();
            !token.is_empty() && token.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        if !self.refresh_token.as_ref().is_some_and(is_refresh_token) {
            self.refresh_token.clone_from(&previous.refresh_token);
            if self.refresh_expiry == Expiry::Unknown {
                self.refresh_expiry = previous.refresh_expiry;
            }
        }
        // The previous token set may be one that was refused for one of its texts.
        if self.id_token.is_none() {
            let printable = |token: &SecretString| !has_control_character(token.expose_secret());
            self.id_token = previous.id_token.clone().filter(printable);
        }
        if self.scope.is_none() {
            let printable = |scope: &String| !has_control_character(scope);
            self.scope = previous.scope.clone().filter(printable);
        }
        self
    }

    /// Sets the moment of receipt, unless it is set. The end of the refresh token becomes absolute,
    /// because a later token set may inherit the refresh token.
    pub(crate) fn received(mut self, now: SystemTime) -> Self {
        let received = *self.obtained_at.get_or_insert(now);
        if let Expiry::In(lifetime) = self.refresh_expiry {
            let at = received.checked_add(lifetime);
            self.refresh_expiry = at.map_or(Expiry::Unknown, Expiry::At);
        }
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

/// Returns whether the text has a character that moves the cursor, ends a line or begins an escape
/// sequence.
fn has_control_character(text: &str) -> bool {
    text.chars().any(char::is_control)
}

impl std::fmt::Debug for TokenSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TokenSet")
            .field("token_type", &self.token_type)
            .field("refresh_token", &self.refresh_token.is_some())
            .field("refresh_expiry", &self.refresh_expiry)
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

    /// Property: names that issuers write for Bearer are Bearer, and types with a proof of possession
    /// are not.
    #[test]
    fn names_of_the_bearer_type() {
        let is_bearer = |name: &str| TokenSet::bearer("a").with_token_type(name).is_bearer();
        for name in [
            "Bearer",
            "bearer",
            "BEARER",
            " Bearer ",
            "",
            "User Access Token",
            "user_access_token",
            "Application Access Token",
            "bot",
            "user",
            "BearerToken",
            "access_token",
            "token",
            "OAuth",
            "OAuth2",
            "JWT",
            "urn:ietf:params:oauth:token-type:access_token",
            "urn:ietf:params:oauth:token-type:jwt",
        ] {
            assert!(is_bearer(name), "{name}");
        }
        for name in [
            "MAC",
            "mac",
            "DPoP",
            "PoP",
            "pop",
            "N_A",
            "Basic",
            "SSHCert",
            "unreadable",
            "bearers",
        ] {
            assert!(!is_bearer(name), "{name}");
        }
    }

    /// Property: every text that a program may print is checked for control characters.
    #[test]
    fn a_text_with_a_control_character_is_found() {
        let plain = || TokenSet::bearer("a").with_refresh_token("r");
        assert_eq!(plain().text_with_control_character(), None);
        for bad in ["a\r\nX-Injected: 1", "a\u{1b}[2J", "a\0", "a\u{9b}"] {
            for (tokens, what) in [
                (TokenSet::bearer(bad), "access token"),
                (plain().with_id_token(bad), "id_token"),
                (plain().with_scope(bad), "scope"),
                (plain().with_token_type(bad), "token type"),
                (plain().with_refresh_token(bad), "refresh token"),
                (plain().with_extra(bad, "b"), "fields"),
            ] {
                let found = tokens.text_with_control_character();
                assert!(found.is_some_and(|found| found.contains(what)), "{what}");
            }
        }
    }

    /// Property: the end of a refresh token counts from its receipt, and belongs to that refresh
    /// token alone.
    #[test]
    fn the_end_of_a_refresh_token_is_inherited_with_it() {
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::UNIX_EPOCH + 100 * day;
        let first = TokenSet::bearer("a").with_refresh_token("r");
        let first = first.with_refresh_expiry(Expiry::In(day));
        assert_eq!(first.refresh_token_expires_at(), None);
        let first = first.received(now);
        assert_eq!(first.refresh_token_expires_at(), Some(now + day));
        let same = TokenSet::bearer("b")
            .inherit(Some(&first))
            .received(now + day / 2);
        assert_eq!(same.refresh_token_expires_at(), Some(now + day));
        let next = TokenSet::bearer("c").with_refresh_token("s");
        let next = next.inherit(Some(&same)).received(now + day / 2);
        assert_eq!(next.refresh_token_expires_at(), None);
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
