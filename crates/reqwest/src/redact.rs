//! Errors about the refresh endpoint's answers, without secrets that an answer may repeat.

use http::Response;
use token_rotator::SourceError;
use token_rotator_oauth2::{RequestKind, SecretBytes, Secrets};

/// A run of this many characters of a token's alphabet may be a token.
const RUN_MIN: usize = 20;

/// The longest word of an error code such as `insufficient_user_authentication`.
const WORD_MAX: usize = 16;

const REDACTED: &str = "[redacted]";

/// Classifies an answer without a token, as [`RequestKind::refusal`] does.
///
/// `sent` holds the secrets of the request that this crate has seen. If the request may contain
/// other secrets (`has_unseen`), the error repeats only the status and an error code in plain
/// words.
pub(crate) fn refusal(
    answer: &Response<SecretBytes>,
    sent: &Secrets,
    has_unseen: bool,
) -> SourceError {
    let classified = RequestKind::Cookie.refusal(answer, sent);
    let message = if has_unseen {
        let mut empty = Response::new(SecretBytes::default());
        *empty.status_mut() = answer.status();
        empty.headers_mut().clone_from(answer.headers());
        let empty = RequestKind::Cookie.refusal(&empty, sent);
        empty.message().to_owned()
    } else {
        without_runs(classified.message())
    };
    let mut error = SourceError::new(classified.kind(), message);
    let code = classified.code().filter(|code| {
        let is_short = code.len() < RUN_MIN && !has_unseen;
        is_short || is_words(code)
    });
    if let Some(code) = code {
        error = error.with_code(code);
    }
    // The hint is a fixed text and repeats nothing of the answer.
    if let Some(hint) = classified.hint() {
        error = error.with_hint(hint);
    }
    if let Some(wait) = classified.retry_after() {
        error = error.with_retry_after(wait);
    }
    if let Some(endpoint) = classified.refused_without_reason() {
        error = error.with_no_reason(endpoint);
    }
    if classified.is_reuse_detected() {
        error = error.with_reuse_detected();
    }
    error
}

/// Replaces every run that is long enough to be a token with `[redacted]`.
fn without_runs(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_token_char(c)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        // A full stop may end a sentence.
        let word = run.trim_end_matches('.');
        if word.len() < RUN_MIN || is_words(word) {
            shown.push_str(run);
        } else {
            shown.push_str(REDACTED);
        }
        let between = tail.find(is_token_char).unwrap_or(tail.len());
        shown.push_str(&tail[..between]);
        rest = &tail[between..];
    }
    shown
}

/// Whether the character belongs to the alphabets of base64, base64url, JWTs (RFC 7515) or bearer
/// tokens (RFC 6750 section 2.1), plain or percent-encoded.
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/=%".contains(c)
}

/// Whether the text has the form of an error code (`temporarily_unavailable`, `SESSION_EXPIRED`).
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

    /// Property: runs of twenty characters of a token's alphabet are redacted; words are not.
    #[test]
    fn long_runs_are_redacted() {
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

    /// Property: if a request may contain unseen secrets, the error does not repeat the answer's
    /// text. The classification stays the same.
    #[test]
    fn an_answer_to_unseen_secrets_is_not_repeated() {
        let body = r#"{"error":"a1b2c3","message":"the cookie a1b2c3 was already used"}"#;
        let none = Secrets::new();
        let shown = refusal(&answer(401, body), &none.clone().with("a1b2c3"), false);
        assert!(!format!("{shown:?}").contains("a1b2"), "{shown:?}");
        assert!(shown.message().contains("was already used"), "{shown}");
        let redacted = refusal(&answer(401, body), &none, true);
        assert_eq!(
            redacted.message(),
            "the issuer refused the request (HTTP 401)"
        );
        assert_eq!(
            (redacted.kind(), redacted.code()),
            (FailureKind::Terminal, None)
        );
        assert!(shown.is_reuse_detected() && redacted.is_reuse_detected());

        let code = r#"{"error":"session_expired","message":"x"}"#;
        let redacted = refusal(&answer(401, code), &none, true);
        assert_eq!(redacted.code(), Some("session_expired"));
        let long = r#"{"error":"0123456789abcdefghijklm"}"#;
        let shown = refusal(&answer(400, long), &none, false);
        assert_eq!(shown.code(), None);
        assert!(!format!("{shown:?}").contains("0123"), "{shown:?}");
    }
}
