//! Reads a token set from the fields of an answer (RFC 6749 section 5.1).

use std::time::Duration;

use token_rotator::{Expiry, TokenSet};

use super::json::Fields;
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

/// Maximum length of field names and token types.
const NAME_MAX: usize = 64;

/// 100 years. The rotator shortens an expiry further; this bound prevents an overflow.
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Placeholder for an unreadable token type, which is refused like every type except Bearer.
const UNREADABLE: &str = "unreadable";

/// Reads all fields except the refresh token. Returns `None` if there is no access token.
pub(super) fn read(fields: &Fields<'_>, sent: &Secrets) -> Option<TokenSet> {
    let mut tokens = TokenSet::bearer(fields.secret("access_token")?)
        .with_token_type(token_type(fields, sent))
        .with_expiry(expiry(fields.number("expires_in")));
    if let Some(token) = fields.secret("id_token") {
        tokens = tokens.with_id_token(token);
    }
    // `Debug` shows the scope and the names of fields, so they must not contain a secret of the
    // request.
    if let Some(scope) = fields
        .text("scope")
        .filter(|scope| !sent.occur_whole_in(scope))
    {
        tokens = tokens.with_scope(scope);
    }
    for (name, value) in fields.texts() {
        if !KNOWN.contains(&name) && is_name(name) && !sent.occur_whole_in(name) {
            tokens = tokens.with_extra(name, value);
        }
    }
    Some(tokens)
}

/// Returns Bearer if the type is missing, null or empty: RFC 6749 requires it, but many issuers
/// leave it out.
fn token_type(fields: &Fields<'_>, sent: &Secrets) -> String {
    match fields.raw("token_type") {
        None | Some("null" | "\"\"") => "Bearer".to_owned(),
        Some(_) => fields
            .text("token_type")
            .filter(|name| is_name(name) && !sent.occur_whole_in(name))
            .unwrap_or_else(|| UNREADABLE.to_owned()),
    }
}

/// Reads a number of seconds greater than zero.
fn expiry(seconds: Option<f64>) -> Expiry {
    match seconds {
        Some(seconds) if seconds > 0.0 => Expiry::In(Duration::from_secs_f64(
            seconds.min(LIFETIME_MAX.as_secs_f64()),
        )),
        _ => Expiry::Unknown,
    }
}

/// Accepts letters, digits and the separators of URNs, because a URN is a valid token type.
fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    text.len() <= NAME_MAX && text.bytes().all(legal)
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
