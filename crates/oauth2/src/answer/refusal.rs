//! Sorts an answer without tokens: the failure kind and the message (RFC 6749 section 5.2).

use std::time::SystemTime;

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use token_rotator::{FailureKind, SourceError};

use super::json::Fields;
use super::{RequestKind, retry_after};
use crate::secrets::Secrets;
use crate::transport::SecretBytes;

/// What a known error code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CodeMeaning {
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

pub(super) fn sort(
    request: RequestKind,
    answer: &Response<SecretBytes>,
    sent: &Secrets,
) -> SourceError {
    let status = answer.status();
    let html = is_html(answer);
    let fields = ErrorFields::read(answer, sent);
    let kind =
        kind_by_code(request, status, &fields).unwrap_or_else(|| request.by_status(status, html));

    let code = fields.shown_code(sent);
    let mut text = headline(answer, html, &fields, kind).to_owned();
    text.push_str(" (HTTP ");
    text.push_str(status.as_str());
    if let Some(code) = code {
        text.push_str(", ");
        text.push_str(code);
    }
    text.push(')');
    if let Some(description) = &fields.description {
        text.push_str(": ");
        text.push_str(description);
    }

    let mut error = SourceError::new(kind, text);
    if let Some(code) = code {
        error = error.with_code(code);
    }
    if let Some(hint) = hint(answer, html, &fields, kind) {
        error = error.with_hint(hint);
    }
    if let Some(wait) = retry_after::read(answer.headers(), SystemTime::now()) {
        error = error.with_retry_after(wait);
    }
    if kind == FailureKind::Terminal && fields.reuse && request.may_be_reuse() {
        error = error.with_reuse_detected();
    }
    error
}

fn headline(
    answer: &Response<SecretBytes>,
    html: bool,
    fields: &ErrorFields,
    kind: FailureKind,
) -> &'static str {
    match (answer.status().as_u16(), kind) {
        (200..300, _) if fields.code.is_none() && answer.body().is_empty() => {
            "the issuer's answer is empty"
        }
        (200..300, _) if fields.code.is_none() && html => "the issuer answered with a web page",
        (200..300, _) if fields.code.is_none() => {
            "the issuer's answer is no JSON object with an access token"
        }
        (300..400, _) => {
            "redirect refused: a token endpoint has none, and the tokens would travel along"
        }
        (403, FailureKind::Transient) if html => {
            "a firewall or gateway in front of the issuer refused the request with a web page"
        }
        (_, FailureKind::Misconfigured) if fields.code.as_deref() == Some(UNSUPPORTED) => {
            "the issuer revokes no tokens of this kind: they live until they expire"
        }
        (404 | 405, FailureKind::Misconfigured) => "there is no such endpoint",
        (_, FailureKind::Transient) => "the issuer cannot answer now",
        (_, FailureKind::Uncertain) => "the issuer gave no clear answer",
        _ => "the issuer refused the request",
    }
}

/// Returns the action for the answer, or `None` if the answer does not name its cause.
fn hint(
    answer: &Response<SecretBytes>,
    html: bool,
    fields: &ErrorFields,
    kind: FailureKind,
) -> Option<&'static str> {
    let code = fields.code.as_deref().unwrap_or_default();
    match (answer.status().as_u16(), kind) {
        (_, FailureKind::Terminal) => Some("sign in again"),
        (300..400, _) => Some("configure the address that the redirect leads to"),
        (403, FailureKind::Transient) if html => {
            Some("see whether a firewall or a proxy before the issuer blocks this machine")
        }
        (429, FailureKind::Transient) => Some("wait; the issuer limits how often it is asked"),
        (_, FailureKind::Transient) => Some("try again in a moment"),
        (_, FailureKind::Misconfigured) => match code {
            "invalid_client" | "incorrect_client_credentials" => {
                Some("check the client id, the client's secret and how the client authenticates")
            }
            "unauthorized_client" | "unsupported_grant_type" => {
                Some("let the issuer allow this client this grant")
            }
            "invalid_scope" => Some("ask for another scope"),
            "invalid_target" => Some("ask for another resource or audience"),
            UNSUPPORTED => None,
            _ if matches!(answer.status().as_u16(), 404 | 405) => {
                Some("check the endpoint's address")
            }
            _ => None,
        },
        _ => None,
    }
}

/// Returns the failure kind that the code implies, or `None` if the status decides.
fn kind_by_code(
    request: RequestKind,
    status: StatusCode,
    fields: &ErrorFields,
) -> Option<FailureKind> {
    if request == RequestKind::Cookie {
        return None;
    }
    let Some(meaning) = meaning_of(fields.code.as_deref()?) else {
        // An unknown code ends no grant, unless the description reports reuse.
        let unknown = matches!(status.as_u16(), 400 | 401) && !fields.reuse;
        return unknown.then_some(FailureKind::Misconfigured);
    };
    match (status.as_u16(), meaning) {
        (_, CodeMeaning::TryLater) => Some(FailureKind::Transient),
        // These statuses describe the state of the issuer, not of the grant.
        (..200 | 300..400 | 408 | 409 | 425 | 429 | 500.., _) => None,
        (_, CodeMeaning::GrantEnded) => Some(request.kind_if_final()),
        (_, CodeMeaning::RequestWrong) => Some(FailureKind::Misconfigured),
        // An issuer does not carry out a request that it answers with 4xx; a 2xx leaves this open.
        (400.., CodeMeaning::IssuerFailed) => Some(FailureKind::Transient),
        (_, CodeMeaning::IssuerFailed) => Some(request.kind_if_uncertain()),
    }
}

fn meaning_of(code: &str) -> Option<CodeMeaning> {
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

fn exact_meaning(code: &str) -> Option<CodeMeaning> {
    Some(match code {
        // RFC 6749 section 5.2; GitHub; Slack.
        "invalid_grant" | "bad_refresh_token" | "invalid_refresh_token" | "bad_verification_code"
        // RFC 8628 section 3.5.
        | "expired_token"
        // OpenID Connect Core section 3.1.2.6: only the user can continue.
        | "interaction_required" | "login_required" | "consent_required"
        // Supabase.
        | "session_not_found" | "session_expired"
        | "token_expired" | "token_revoked" | "invalid_token" => CodeMeaning::GrantEnded,
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

/// The error fields of an answer's body.
#[derive(Default)]
struct ErrorFields {
    /// Unredacted: the failure kind must not depend on the text of the secrets.
    code: Option<String>,
    /// Redacted, so that it may be shown.
    description: Option<String>,
    reuse: bool,
}

impl ErrorFields {
    fn read(answer: &Response<SecretBytes>, sent: &Secrets) -> Self {
        let Some(fields) = Fields::read(answer.body().expose()) else {
            return Self::default();
        };
        // An answer with an error may also contain tokens, which must not appear in its
        // description.
        let mut secrets = sent.clone();
        for name in ["access_token", "refresh_token", "id_token"] {
            if let Some(secret) = fields.secret(name) {
                secrets.push(&secret);
            }
        }
        // Some issuers put an object into `error` or use other field names.
        let inner = fields.object("error");
        let texts = |names: &[&str]| -> Vec<String> {
            let inside = inner
                .iter()
                .flat_map(|inner| names.iter().map(|name| inner.text(name)));
            let outside = names.iter().map(|name| fields.text(name));
            outside.chain(inside).flatten().collect()
        };
        let codes = texts(&["error", "error_code", "code"]);
        let known = codes.iter().find(|code| meaning_of(code).is_some());
        // Some frameworks put the reason phrase (`Unauthorized`) there, which is not a code.
        let name = answer.status().canonical_reason();
        let unknown = |code: &&String| is_code(code) && name != Some(code.as_str());
        let code = known.or_else(|| codes.iter().find(unknown));
        let code = code.cloned();
        let description = texts(&["error_description", "message", "msg"])
            .into_iter()
            .next();
        let reuse = code.as_deref().is_some_and(reports_reuse)
            || description.as_deref().is_some_and(reports_reuse);
        let description = description
            .map(|text| secrets.scrub(&text))
            .filter(|text| !text.is_empty());
        Self {
            code,
            description,
            reuse,
        }
    }

    /// Returns the code, unless it may contain a secret of the request.
    fn shown_code(&self, sent: &Secrets) -> Option<&str> {
        let code = self.code.as_deref()?;
        (exact_meaning(code).is_some() || (is_code(code) && !sent.occur_in(code))).then_some(code)
    }
}

/// Returns the error code of an answer of any status: some issuers send it with a 200.
pub(crate) fn code(answer: &Response<SecretBytes>) -> Option<String> {
    Fields::read(answer.body().expose())?.text("error")
}

/// RFC 6749 allows printable ASCII. Codes in use have no spaces, unlike the phrase `Bad Request`.
pub(crate) fn is_code(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    text.len() <= 40 && text.bytes().all(legal)
}

/// Returns whether the text reports an already used refresh token: Auth0 ("reused refresh token
/// detected"), Keycloak ("Maximum allowed refresh token reuse exceeded"), Supabase ("Already
/// Used"), `OpenAI` (`refresh_token_reused`).
fn reports_reuse(text: &str) -> bool {
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

pub(crate) fn is_html(answer: &Response<SecretBytes>) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.trim_start().to_ascii_lowercase();
    kind.starts_with("text/html")
        || kind.starts_with("application/xhtml")
        || answer.body().expose().trim_ascii_start().starts_with(b"<")
}
