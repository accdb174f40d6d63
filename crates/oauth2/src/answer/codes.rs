//! What the error codes of issuers mean.

use token_rotator::Profile;

/// What a known error code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeMeaning {
    /// The grant has ended.
    GrantEnded,
    /// The request is wrong; a repeat fails too.
    RequestWrong,
    /// The issuer may accept the request later.
    TryLater,
    /// The issuer failed while it processed the request.
    IssuerFailed,
}

// Supabase: `_not_found`, `_already_used`; OpenAI: `_expired`, `_reused`, `_invalidated`.
const SUPABASE_AND_OPENAI: &str = "refresh_token_";

/// The error code of RFC 7009 section 2.2.1.
pub(crate) const UNSUPPORTED: &str = "unsupported_token_type";

/// Returns the meaning of a code. `None` means that no rule knows the code.
pub(super) fn meaning_of(code: &str, profile: Profile) -> Option<CodeMeaning> {
    if profile.terminal_codes().contains(&code) {
        return Some(CodeMeaning::GrantEnded);
    }
    exact_meaning(code).or_else(|| meaning_of_family(code))
}

/// Recognises codes by a part of their text.
fn meaning_of_family(code: &str) -> Option<CodeMeaning> {
    let normalized = code.to_ascii_lowercase().replace([' ', '-'], "_");
    // GitHub: `rate_limit_exceeded`; Slack: `ratelimited`; Supabase: `over_request_rate_limit`;
    // Auth0: `too_many_attempts`.
    if normalized.contains("rate_limit")
        || normalized.contains("ratelimit")
        || normalized.starts_with("too_many_")
    {
        return Some(CodeMeaning::TryLater);
    }
    code.starts_with(SUPABASE_AND_OPENAI)
        .then_some(CodeMeaning::GrantEnded)
}

pub(super) fn exact_meaning(code: &str) -> Option<CodeMeaning> {
    Some(match code {
        // RFC 6749 section 5.2; GitHub; Slack. A gateway before the issuer sends none of these codes,
        // so they need no profile. `invalid_token` and `token_expired` may be a gateway's.
        "invalid_grant" | "bad_refresh_token" | "invalid_refresh_token" | "bad_verification_code"
        // RFC 8628 section 3.5.
        | "expired_token"
        // OpenID Connect Core section 3.1.2.6: only the user can continue.
        | "interaction_required" | "login_required" | "consent_required" => CodeMeaning::GrantEnded,
        // RFC 6749 section 5.2, RFC 8707 section 2, RFC 7009 section 2.2.1; GitHub.
        "invalid_request" | "invalid_client" | "unauthorized_client" | "unsupported_grant_type"
        | "invalid_scope" | "invalid_target" | UNSUPPORTED
        | "incorrect_client_credentials" => CodeMeaning::RequestWrong,
        // RFC 6749 section 4.1.2.1, RFC 8628 section 3.5; Auth0.
        "temporarily_unavailable" | "slow_down" | "too_many_requests" => CodeMeaning::TryLater,
        "server_error" => CodeMeaning::IssuerFailed,
        _ => return None,
    })
}

/// RFC 6749 allows printable ASCII. Codes in use have no spaces, unlike the phrase `Bad Request`.
pub(crate) fn is_code(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    text.len() <= 40 && text.bytes().all(legal)
}

/// Returns whether the text reports an already used refresh token: Auth0 ("reused refresh token
/// detected"), Keycloak ("Maximum allowed refresh token reuse exceeded"), Supabase ("Already
/// Used"), `OpenAI` (`refresh_token_reused`).
pub(super) fn reports_reuse(text: &str) -> bool {
    let text = text.to_ascii_lowercase().replace(['_', '-'], " ");
    [
        "reuse",
        "already used",
        "already been used",
        "used before",
        "previously used",
    ]
    .iter()
    .any(|phrase| text.contains(phrase))
}
