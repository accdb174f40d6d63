//! An answer without tokens: whose fault it is, and what follows (RFC 6749 section 5.2).

use std::time::SystemTime;

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use token_rotator::{FailureKind, SourceError};

use super::json::Fields;
use super::{Exchange, retry_after};
use crate::secrets::Secrets;
use crate::transport::SecretBytes;

/// What a known error code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// This grant is over.
    Over,
    /// The request is wrong, and will be again.
    Wrong,
    /// Later.
    Later,
    /// The issuer failed over it.
    Broken,
}

// Supabase: `_not_found`, `_already_used`; OpenAI: `_expired`, `_reused`, `_invalidated`.
const SUPABASE_AND_OPENAI: &str = "refresh_token_";

/// RFC 7009 section 2.2.1.
pub(crate) const UNSUPPORTED: &str = "unsupported_token_type";

pub(super) fn sort(
    exchange: Exchange,
    answer: &Response<SecretBytes>,
    sent: &Secrets,
) -> SourceError {
    let status = answer.status();
    let html = is_html(answer);
    let said = Said::read(answer, sent);
    let kind = by_code(exchange, status, &said).unwrap_or_else(|| exchange.by_status(status, html));

    let code = said.shown_code(sent);
    let mut text = headline(answer, html, &said, kind).to_owned();
    text.push_str(" (HTTP ");
    text.push_str(status.as_str());
    if let Some(code) = code {
        text.push_str(", ");
        text.push_str(code);
    }
    text.push(')');
    if let Some(description) = &said.description {
        text.push_str(": ");
        text.push_str(description);
    }

    let mut error = SourceError::new(kind, text);
    if let Some(code) = code {
        error = error.with_code(code);
    }
    if let Some(hint) = hint(answer, html, &said, kind) {
        error = error.with_hint(hint);
    }
    if let Some(wait) = retry_after::read(answer.headers(), SystemTime::now()) {
        error = error.with_retry_after(wait);
    }
    if kind == FailureKind::Terminal && said.reuse && exchange.may_be_reuse() {
        error = error.with_reuse_detected();
    }
    error
}

fn headline(
    answer: &Response<SecretBytes>,
    html: bool,
    said: &Said,
    kind: FailureKind,
) -> &'static str {
    match (answer.status().as_u16(), kind) {
        (200..300, _) if said.code.is_none() && answer.body().is_empty() => {
            "the issuer's answer is empty"
        }
        (200..300, _) if said.code.is_none() && html => "the issuer answered with a web page",
        (200..300, _) if said.code.is_none() => {
            "the issuer's answer is no JSON object with an access token"
        }
        (300..400, _) => {
            "redirect refused: a token endpoint has none, and the tokens would travel along"
        }
        (403, FailureKind::Transient) if html => {
            "something before the issuer refused the request with a web page"
        }
        (_, FailureKind::Misconfigured) if said.code.as_deref() == Some(UNSUPPORTED) => {
            "the issuer revokes no tokens of this kind: they live until they expire"
        }
        (404 | 405, FailureKind::Misconfigured) => "there is no such endpoint",
        (_, FailureKind::Transient) => "the issuer cannot answer now",
        (_, FailureKind::Uncertain) => "the issuer gave no clear answer",
        _ => "the issuer refused the request",
    }
}

/// What to do about the answer. Returns `None` if the answer does not tell.
fn hint(
    answer: &Response<SecretBytes>,
    html: bool,
    said: &Said,
    kind: FailureKind,
) -> Option<&'static str> {
    let code = said.code.as_deref().unwrap_or_default();
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

/// What the code says where it decides: `None` leaves it to the status.
fn by_code(exchange: Exchange, status: StatusCode, said: &Said) -> Option<FailureKind> {
    if exchange == Exchange::Cookie {
        return None;
    }
    let Some(verdict) = verdict(said.code.as_deref()?) else {
        // Nothing says that the grant is over, unless the description does.
        let unknown = matches!(status.as_u16(), 400 | 401) && !said.reuse;
        return unknown.then_some(FailureKind::Misconfigured);
    };
    match (status.as_u16(), verdict) {
        (_, Verdict::Later) => Some(FailureKind::Transient),
        // These statuses say more about the state of the issuer than its words about the grant.
        (..200 | 300..400 | 408 | 409 | 425 | 429 | 500.., _) => None,
        (_, Verdict::Over) => Some(exchange.when_over()),
        (_, Verdict::Wrong) => Some(FailureKind::Misconfigured),
        // A request that failed with a 4xx was not carried out; a 2xx tells nothing.
        (400.., Verdict::Broken) => Some(FailureKind::Transient),
        (_, Verdict::Broken) => Some(exchange.when_unsure()),
    }
}

fn verdict(code: &str) -> Option<Verdict> {
    known(code).or_else(|| by_family(code))
}

/// Codes that are known by a part of them.
fn by_family(code: &str) -> Option<Verdict> {
    let words = code.to_ascii_lowercase().replace([' ', '-'], "_");
    // GitHub: `rate_limit_exceeded`; Slack: `ratelimited`; Supabase: `over_request_rate_limit`;
    // Auth0: `too_many_attempts`.
    if words.contains("rate_limit") || words.contains("ratelimit") || words.starts_with("too_many_")
    {
        return Some(Verdict::Later);
    }
    code.starts_with(SUPABASE_AND_OPENAI)
        .then_some(Verdict::Over)
}

fn known(code: &str) -> Option<Verdict> {
    Some(match code {
        // RFC 6749 section 5.2; GitHub; Slack.
        "invalid_grant" | "bad_refresh_token" | "invalid_refresh_token" | "bad_verification_code"
        // RFC 8628 section 3.5.
        | "expired_token"
        // OpenID Connect Core section 3.1.2.6: only the user can go on from here.
        | "interaction_required" | "login_required" | "consent_required"
        // Supabase.
        | "session_not_found" | "session_expired"
        | "token_expired" | "token_revoked" | "invalid_token" => Verdict::Over,
        // RFC 6749 section 5.2, RFC 8707 section 2, RFC 7009 section 2.2.1; GitHub.
        "invalid_request" | "invalid_client" | "unauthorized_client" | "unsupported_grant_type"
        | "invalid_scope" | "invalid_target" | UNSUPPORTED
        | "incorrect_client_credentials" => Verdict::Wrong,
        // RFC 6749 section 4.1.2.1, RFC 8628 section 3.5; Auth0.
        "temporarily_unavailable" | "slow_down" | "too_many_requests" => Verdict::Later,
        "server_error" => Verdict::Broken,
        _ => return None,
    })
}

/// What the body says about the error.
#[derive(Default)]
struct Said {
    /// As it came: what follows from it must not depend on what the secrets look like.
    code: Option<String>,
    /// Fit to be shown.
    description: Option<String>,
    reuse: bool,
}

impl Said {
    fn read(answer: &Response<SecretBytes>, sent: &Secrets) -> Self {
        let Some(fields) = Fields::read(answer.body().expose()) else {
            return Self::default();
        };
        // An answer with an error in it may bring tokens too; they are not for its description.
        let mut secrets = sent.clone();
        for name in ["access_token", "refresh_token", "id_token"] {
            if let Some(secret) = fields.secret(name) {
                secrets.push(&secret);
            }
        }
        // Some issuers put an object into `error`, or use other names.
        let inner = fields.object("error");
        let texts = |names: &[&str]| -> Vec<String> {
            let inside = inner
                .iter()
                .flat_map(|inner| names.iter().map(|name| inner.text(name)));
            let outside = names.iter().map(|name| fields.text(name));
            outside.chain(inside).flatten().collect()
        };
        let codes = texts(&["error", "error_code", "code"]);
        let known = codes.iter().find(|code| verdict(code).is_some());
        // Frameworks put the name of the status there (`Unauthorized`), which is no code.
        let name = answer.status().canonical_reason();
        let unknown = |code: &&String| is_code(code) && name != Some(code.as_str());
        let code = known.or_else(|| codes.iter().find(unknown));
        let code = code.cloned();
        let description = texts(&["error_description", "message", "msg"])
            .into_iter()
            .next();
        let reuse = code.as_deref().is_some_and(tells_reuse)
            || description.as_deref().is_some_and(tells_reuse);
        let description = description
            .map(|text| secrets.scrub(&text))
            .filter(|text| !text.is_empty());
        Self {
            code,
            description,
            reuse,
        }
    }

    /// The code, unless it may be something we sent.
    fn shown_code(&self, sent: &Secrets) -> Option<&str> {
        let code = self.code.as_deref()?;
        (known(code).is_some() || (is_code(code) && !sent.touch(code))).then_some(code)
    }
}

/// The error code of an answer, whatever its status: some issuers put it into a 200.
pub(crate) fn code(answer: &Response<SecretBytes>) -> Option<String> {
    Fields::read(answer.body().expose())?.text("error")
}

/// RFC 6749 has printable ASCII; those in use are words. `Bad Request` is none.
pub(crate) fn is_code(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    text.len() <= 40 && text.bytes().all(legal)
}

/// Whether the issuer says that somebody used the refresh token before: Auth0 ("reused refresh
/// token detected"), Keycloak ("Maximum allowed refresh token reuse exceeded"), Supabase ("Already
/// Used"), `OpenAI` (`refresh_token_reused`).
fn tells_reuse(text: &str) -> bool {
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
