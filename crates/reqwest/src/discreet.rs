//! Errors about the refresh endpoint's answers, without what an answer must not tell.

use http::Response;
use token_rotator::SourceError;
use token_rotator_oauth2::{RequestKind, SecretBytes, Secrets};

/// So many characters of a token in a row may be one, whoever it belongs to.
const RUN_MIN: usize = 20;

/// The longest word of an error code such as `insufficient_user_authentication`.
const WORD_MAX: usize = 16;

const REDACTED: &str = "[redacted]";

/// Sorts an answer that brought no token, as [`RequestKind::refusal`] does.
///
/// `sent` is what went along, as far as that can be seen. Where some of it cannot (`blind`: the
/// client has cookies of its own), nothing that the answer says is repeated but its status and an
/// error code in plain words.
pub(crate) fn refusal(answer: &Response<SecretBytes>, sent: &Secrets, blind: bool) -> SourceError {
    let sorted = RequestKind::Cookie.refusal(answer, sent);
    let message = if blind {
        let mut bare = Response::new(SecretBytes::default());
        *bare.status_mut() = answer.status();
        bare.headers_mut().clone_from(answer.headers());
        let bare = RequestKind::Cookie.refusal(&bare, sent);
        bare.message().to_owned()
    } else {
        without_runs(sorted.message())
    };
    let mut error = SourceError::new(sorted.kind(), message);
    let code = sorted.code().filter(|code| {
        let short = code.len() < RUN_MIN && !blind;
        short || is_words(code)
    });
    if let Some(code) = code {
        error = error.with_code(code);
    }
    // A fixed text: it repeats nothing of the answer.
    if let Some(hint) = sorted.hint() {
        error = error.with_hint(hint);
    }
    if let Some(wait) = sorted.retry_after() {
        error = error.with_retry_after(wait);
    }
    if sorted.is_reuse_detected() {
        error = error.with_reuse_detected();
    }
    error
}

/// The text with `[redacted]` for everything in it that is long enough to be a token.
fn without_runs(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_token(c)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        // Sentences end with a stop.
        let bare = run.trim_end_matches('.');
        if bare.len() < RUN_MIN || is_words(bare) {
            shown.push_str(run);
        } else {
            shown.push_str(REDACTED);
        }
        let between = tail.find(is_of_token).unwrap_or(tail.len());
        shown.push_str(&tail[..between]);
        rest = &tail[between..];
    }
    shown
}

/// The alphabets of base64, base64url, JWTs (RFC 7515) and bearer tokens (RFC 6750 section 2.1), and
/// how they look in a URL.
fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/=%".contains(c)
}

/// Whether it is written as error codes are (`temporarily_unavailable`, `SESSION_EXPIRED`).
fn is_words(text: &str) -> bool {
    let mut words = text.split('_');
    let fits = |word: &str| (1..=WORD_MAX).contains(&word.len());
    words
        .clone()
        .all(|word| fits(word) && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        || words.all(|word| fits(word) && word.bytes().all(|byte| byte.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use token_rotator::FailureKind;

    use super::*;

    fn answer(status: u16, body: &'static str) -> Response<SecretBytes> {
        let mut answer = Response::new(SecretBytes::from(body));
        *answer.status_mut() = status.try_into().expect("a status");
        answer
    }

    /// Property: no run of twenty characters that a token may have is repeated; words are.
    #[test]
    fn long_runs_are_not_shown() {
        for (text, shown) in [
            ("the session is over", "the session is over"),
            (
                "no such session: aB3-aB3-aB3-aB3-aB3-.",
                "no such session: [redacted]",
            ),
            ("sid=0123456789abcdefghij; gone", "[redacted]; gone"),
            (
                "19 are few: 0123456789abcdefghi",
                "19 are few: 0123456789abcdefghi",
            ),
            ("abcdefghijklmnopqrstuvwxyz", "[redacted]"),
            ("CANARY-CANARY-CANARY", "[redacted]"),
            (
                "(HTTP 503, temporarily_unavailable)",
                "(HTTP 503, temporarily_unavailable)",
            ),
            ("REFRESH_TOKEN_ALREADY_USED.", "REFRESH_TOKEN_ALREADY_USED."),
            ("Refresh_Token_Already_Used", "[redacted]"),
            ("", ""),
        ] {
            assert_eq!(without_runs(text), shown, "{text}");
        }
    }

    /// Property: where it is not known what went along, an answer's own words are not repeated; what
    /// follows from it is the same.
    #[test]
    fn what_cannot_be_compared_is_not_repeated() {
        let body = r#"{"error":"a1b2c3","message":"the cookie a1b2c3 was already used"}"#;
        let none = Secrets::new();
        let seen = refusal(&answer(401, body), &none.clone().with("a1b2c3"), false);
        assert!(!format!("{seen:?}").contains("a1b2"), "{seen:?}");
        assert!(seen.message().contains("was already used"), "{seen}");
        let blind = refusal(&answer(401, body), &none, true);
        assert_eq!(blind.message(), "the issuer refused the request (HTTP 401)");
        assert_eq!((blind.kind(), blind.code()), (FailureKind::Terminal, None));
        assert!(seen.is_reuse_detected() && blind.is_reuse_detected());

        let code = r#"{"error":"session_expired","message":"x"}"#;
        let blind = refusal(&answer(401, code), &none, true);
        assert_eq!(blind.code(), Some("session_expired"));
        let long = r#"{"error":"0123456789abcdefghijklm"}"#;
        let seen = refusal(&answer(400, long), &none, false);
        assert_eq!(seen.code(), None);
        assert!(!format!("{seen:?}").contains("0123"), "{seen:?}");
    }
}
