//! Reads a token set from the fields of an answer (RFC 6749 section 5.1).

use std::time::{Duration, SystemTime};

use token_rotator::{Expiry, SourceError, TokenSet};

use super::json::{self, Fields};
use super::rules::AnswerRules;
use crate::secrets::Secrets;

/// Fields that this module interprets. All other strings become extra fields of the token set.
const KNOWN: [&str; 6] = [
    "access_token",
    "token_type",
    "refresh_token",
    "id_token",
    "scope",
    "expires_in",
];

/// Names of the lifetime of a refresh token: GitHub, eBay, `LinkedIn`; Keycloak, `TikTok`; Intuit.
const REFRESH_LIFETIMES: [&str; 8] = [
    "refresh_token_expires_in",
    "refresh_expires_in",
    "x_refresh_token_expires_in",
    "refresh_token_lifetime",
    "refresh_token_ttl",
    "refresh_token_validity",
    "refreshTokenExpiresIn",
    "refresh_token_expires",
];

/// Names of the end of a refresh token, in seconds or milliseconds since 1970.
const REFRESH_ENDS: [&str; 3] = [
    "refresh_token_expires_at",
    "refresh_expires_at",
    "refreshTokenExpiresAt",
];

/// Maximum length of field names and token types.
const NAME_MAX: usize = 64;

/// 100 years. The rotator shortens an expiry further; this bound prevents an overflow.
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Placeholder for an unreadable token type, which is refused like every type except Bearer.
const UNREADABLE: &str = "unreadable";

const OTHER_FIELDS: &str = "name the fields of this issuer's answers: `fields.access_token` in the \
                            program, `AnswerRules::field` in a library";

const OTHER_TYPE: &str = "have the issuer give Bearer tokens; if it gives them under this name, say so: \
                          `token_type = \"bearer\"` in the program, `AnswerRules::assume_bearer` in a \
                          library";

/// Reads all fields. Returns `None` if the answer has neither an access token nor a refresh token,
/// or an error and no access token.
///
/// *Errors*: the answer has no access token, or its token type is not Bearer. The error carries the
/// refresh token of the answer.
pub(super) fn read(
    fields: &Fields,
    rules: &AnswerRules,
    sent: &Secrets,
    with_refresh_token: bool,
) -> Option<Result<TokenSet, SourceError>> {
    let answer = Answer { fields, rules };
    let access_token = answer.text("access_token");
    let refresh_token = answer
        .text("refresh_token")
        .filter(|token| with_refresh_token && is_refresh_token(token));
    let refused = |error: SourceError| match &refresh_token {
        Some(token) => error.with_refresh_token(token.as_str()),
        None => error,
    };
    let Some(access_token) = access_token else {
        if refresh_token.is_none() || fields.text("error").is_some() {
            return None;
        }
        let error = SourceError::content_refused("the issuer's answer has no access token");
        return Some(Err(refused(error.with_hint(OTHER_FIELDS))));
    };
    let mut tokens = TokenSet::bearer(access_token)
        .with_token_type(answer.token_type(sent))
        .with_expiry(expiry(answer.number("expires_in")));
    if !tokens.is_bearer() {
        let name = tokens.token_type();
        let error = SourceError::content_refused(format!(
            "the issuer's token type is `{name}`, and only Bearer tokens can be sent"
        ));
        return Some(Err(refused(error.with_hint(OTHER_TYPE))));
    }
    if let Some(token) = refresh_token {
        tokens = tokens.with_refresh_token(token);
    }
    if with_refresh_token {
        tokens = tokens.with_refresh_expiry(answer.refresh_expiry());
    }
    if let Some(token) = answer.text("id_token") {
        tokens = tokens.with_id_token(token);
    }
    // `Debug` shows the scope and the names of fields, so they must not contain a secret of the
    // request.
    if let Some(scope) = answer.scope().filter(|scope| !sent.occur_whole_in(scope)) {
        tokens = tokens.with_scope(scope);
    }
    for (name, value) in fields.texts() {
        if !KNOWN.contains(&name) && is_name(name) && !sent.occur_whole_in(name) {
            tokens = tokens.with_extra(name, value);
        }
    }
    Some(Ok(tokens))
}

/// The fields of an answer, where the rules say that they are.
struct Answer<'a> {
    fields: &'a Fields,
    rules: &'a AnswerRules,
}

impl Answer<'_> {
    fn raw(&self, name: &str) -> Option<String> {
        match self.rules.path(name) {
            Some(path) => self.fields.raw_at(path),
            None => self.fields.raw(name).map(str::to_owned),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        json::text(&self.raw(name)?)
    }

    fn number(&self, name: &str) -> Option<f64> {
        json::number(&self.raw(name)?)
    }

    /// Returns Bearer if the type is missing, null or empty: RFC 6749 requires it, but many issuers
    /// leave it out.
    fn token_type(&self, sent: &Secrets) -> String {
        match self.raw("token_type").as_deref() {
            _ if self.rules.assumes_bearer => "Bearer".to_owned(),
            None | Some("null" | "\"\"") => "Bearer".to_owned(),
            Some(raw) => json::text(raw)
                .map(|name| name.trim().to_owned())
                .filter(|name| is_type(name) && !sent.occur_whole_in(name))
                .unwrap_or_else(|| UNREADABLE.to_owned()),
        }
    }

    /// Returns the scope with one space between two names. Twitch sends a list, other issuers
    /// separate names by line breaks.
    fn scope(&self) -> Option<String> {
        let raw = self.raw("scope")?;
        let names = match serde_json::from_str::<Vec<String>>(&raw) {
            Ok(names) => names.join(" "),
            Err(_) => json::text(&raw)?,
        };
        let names: Vec<_> = names.split_ascii_whitespace().collect();
        Some(names.join(" ")).filter(|scope| !scope.is_empty())
    }

    fn refresh_expiry(&self) -> Expiry {
        let lifetime = match self.rules.path("refresh_token_expires_in") {
            Some(_) => self.number("refresh_token_expires_in"),
            None => REFRESH_LIFETIMES
                .iter()
                .find_map(|name| self.fields.number(name)),
        };
        let from_lifetime = expiry(lifetime);
        if from_lifetime != Expiry::Unknown {
            return from_lifetime;
        }
        let end = REFRESH_ENDS
            .iter()
            .find_map(|name| self.fields.number(name));
        end.map_or(Expiry::Unknown, moment)
    }
}

/// Reads a number of seconds greater than zero. Zero is no lifetime: Keycloak writes it for offline
/// sessions, which do not end.
fn expiry(seconds: Option<f64>) -> Expiry {
    match seconds {
        Some(seconds) if seconds > 0.0 => Expiry::In(Duration::from_secs_f64(
            seconds.min(LIFETIME_MAX.as_secs_f64()),
        )),
        _ => Expiry::Unknown,
    }
}

/// Reads a moment in seconds since 1970, or in milliseconds if seconds would be after the year 5138.
fn moment(since_epoch: f64) -> Expiry {
    let seconds = if since_epoch >= 1e11 {
        since_epoch / 1e3
    } else {
        since_epoch
    };
    let since_epoch = Duration::try_from_secs_f64(seconds).ok();
    let at = since_epoch
        .filter(|time| !time.is_zero() && *time < LIFETIME_MAX * 2)
        .map(|time| SystemTime::UNIX_EPOCH + time);
    at.map_or(Expiry::Unknown, Expiry::At)
}

/// RFC 6749 appendix A.17: printable ASCII.
fn is_refresh_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Accepts letters, digits and the separators of URNs, because a URN is a valid token type.
fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    text.len() <= NAME_MAX && text.bytes().all(legal)
}

/// Accepts names of several words, such as `User Access Token` (eBay).
fn is_type(text: &str) -> bool {
    text.split(' ').all(is_name) && text.len() <= NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::json::number;

    #[test]
    fn an_expiry_that_cannot_be_read_is_unknown() {
        let hour = Expiry::In(Duration::from_secs(3600));
        let cases = [
            ("3600", hour),
            ("3600.0", hour),
            ("36e2", hour),
            ("\"3600\"", hour),
            ("\" 3600 \"", hour),
            ("0.5", Expiry::In(Duration::from_millis(500))),
            ("1e30", Expiry::In(LIFETIME_MAX)),
            ("1e999", Expiry::In(LIFETIME_MAX)),
            ("18446744073709551616", Expiry::In(LIFETIME_MAX)),
            ("0", Expiry::Unknown),
            ("0.0", Expiry::Unknown),
            ("1e-999", Expiry::Unknown),
            ("-1", Expiry::Unknown),
            ("-1e999", Expiry::Unknown),
            ("\"\"", Expiry::Unknown),
            ("\"0\"", Expiry::Unknown),
            ("\"soon\"", Expiry::Unknown),
            ("\"inf\"", Expiry::Unknown),
            ("\"NaN\"", Expiry::Unknown),
            ("\"3600s\"", Expiry::Unknown),
            ("\"", Expiry::Unknown),
            ("null", Expiry::Unknown),
            ("true", Expiry::Unknown),
            ("[3600]", Expiry::Unknown),
            ("{}", Expiry::Unknown),
        ];
        for (raw, expected) in cases {
            assert_eq!(expiry(number(raw)), expected, "{raw}");
        }
        assert_eq!(expiry(None), Expiry::Unknown);
    }
}
