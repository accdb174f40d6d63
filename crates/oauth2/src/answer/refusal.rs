//! Sorts an answer without tokens: the failure kind and the message (RFC 6749 section 5.2).

use std::time::SystemTime;

use http::Response;
use http::header::CONTENT_TYPE;
use token_rotator::{FailureKind, Profile, RefusingEndpoint, SourceError};

use super::codes::{self, CodeMeaning, exact_meaning, is_code, meaning_of, reports_reuse};
use super::json::Fields;
use super::rules::AnswerRules;
use super::{RequestKind, retry_after};
use crate::secrets::Secrets;
use crate::transport::SecretBytes;

pub(crate) use codes::UNSUPPORTED;

pub(super) fn sort(
    request: RequestKind,
    rules: &AnswerRules,
    answer: &Response<SecretBytes>,
    sent: &Secrets,
) -> SourceError {
    let refusal = Refusal {
        request,
        status: answer.status().as_u16(),
        html: is_html(answer),
        empty: answer.body().is_empty(),
        fields: ErrorFields::read(answer, rules.profile, sent),
    };
    let verdict = refusal.verdict(rules);
    let fields = &refusal.fields;
    let code = fields.shown_code(sent);
    let mut text = refusal.headline(verdict).to_owned();
    text.push_str(" (HTTP ");
    text.push_str(answer.status().as_str());
    if let Some(code) = code {
        text.push_str(", ");
        text.push_str(code);
    }
    text.push(')');
    if let Some(description) = &fields.description {
        text.push_str(": ");
        text.push_str(description);
    }

    let mut error = SourceError::new(verdict.kind, text);
    if let Some(code) = code {
        error = error.with_code(code);
    }
    if let Some(hint) = refusal.hint(verdict) {
        error = error.with_hint(hint);
    }
    if let Some(wait) = retry_after::read(answer.headers(), SystemTime::now()) {
        error = error.with_retry_after(wait);
    }
    if verdict.kind == FailureKind::Terminal && fields.reuse && request.may_be_reuse() {
        error = error.with_reuse_detected();
    }
    if verdict.without_reason {
        error = error.with_no_reason(match request {
            RequestKind::Cookie => RefusingEndpoint::Cookie,
            _ => RefusingEndpoint::Token,
        });
    }
    error
}

/// An answer without tokens.
struct Refusal {
    request: RequestKind,
    status: u16,
    html: bool,
    empty: bool,
    fields: ErrorFields,
}

/// What an answer without tokens means for the session.
#[derive(Clone, Copy)]
struct Verdict {
    kind: FailureKind,
    /// The answer names no cause that a rule knows, and a user's grant may have ended.
    without_reason: bool,
}

impl From<FailureKind> for Verdict {
    fn from(kind: FailureKind) -> Self {
        Self {
            kind,
            without_reason: false,
        }
    }
}

impl Refusal {
    fn verdict(&self, rules: &AnswerRules) -> Verdict {
        self.kind_by_code(rules)
            .map_or_else(|| self.by_status(rules.profile), Verdict::from)
    }

    /// Returns the failure kind that the code implies, or `None` if the status decides.
    fn kind_by_code(&self, rules: &AnswerRules) -> Option<FailureKind> {
        let request = self.request;
        if request == RequestKind::Cookie {
            return None;
        }
        let code = self.fields.code.as_deref()?;
        match (self.status, meaning_of(code, rules.profile)?) {
            (_, CodeMeaning::TryLater) => Some(FailureKind::Transient),
            // These statuses describe the state of the issuer, not of the grant.
            (..200 | 300..400 | 408 | 409 | 425 | 429 | 500.., _) => None,
            (_, CodeMeaning::GrantEnded) => Some(request.kind_if_final()),
            // The refresh token is bound to a client that the issuer has forgotten.
            (_, CodeMeaning::RequestWrong)
                if rules.is_dynamic_client && code == "invalid_client" =>
            {
                Some(request.kind_if_final())
            }
            (_, CodeMeaning::RequestWrong) => Some(FailureKind::Misconfigured),
            // An issuer does not carry out a request that it answers with 4xx; a 2xx leaves this
            // open.
            (400.., CodeMeaning::IssuerFailed) => Some(FailureKind::Transient),
            (_, CodeMeaning::IssuerFailed) => Some(request.kind_if_uncertain()),
        }
    }

    fn by_status(&self, profile: Profile) -> Verdict {
        let request = self.request;
        let is_cookie = request == RequestKind::Cookie;
        match self.status {
            400 if self.empty && profile.is_empty_400_terminal() => request.kind_if_final().into(),
            400 | 401 | 403 if is_cookie && !self.html => FailureKind::Terminal.into(),
            // The session ends, because a retry would be reuse too.
            400 | 401 | 403 if self.fields.reuse && request.may_be_reuse() => {
                request.kind_if_final().into()
            }
            // Statuses of frameworks for an ended session: Laravel, IIS, Esri.
            400 | 401 | 403 | 419 | 440 | 498 => Verdict {
                kind: FailureKind::Transient,
                without_reason: request.has_user(),
            },
            404 | 405 => FailureKind::Misconfigured.into(),
            300..500 | 503 => FailureKind::Transient.into(),
            _ => request.kind_if_uncertain().into(),
        }
    }

    fn headline(&self, verdict: Verdict) -> &'static str {
        let code = self.fields.code.as_deref();
        match (self.status, verdict.kind) {
            (200..300, _) if code.is_none() && self.empty => "the issuer's answer is empty",
            (200..300, _) if code.is_none() && self.html => "the issuer answered with a web page",
            (200..300, _) if code.is_none() => {
                "the issuer's answer is no JSON object with an access token"
            }
            (300..400, _) => {
                "redirect refused: a token endpoint has none, and the tokens would travel along"
            }
            (407, _) => "a proxy before the issuer asks for credentials",
            (404 | 405, FailureKind::Misconfigured) => "there is no such endpoint",
            (408 | 425 | 429, FailureKind::Transient) => "the issuer cannot answer now",
            (400..500, FailureKind::Transient) if self.html => {
                "a firewall or gateway in front of the issuer refused the request with a web page"
            }
            (_, FailureKind::Misconfigured) if code == Some(UNSUPPORTED) => {
                "the issuer revokes no tokens of this kind: they live until they expire"
            }
            _ if verdict.without_reason && code.is_some() => {
                "the issuer refused the request with an unknown code"
            }
            _ if verdict.without_reason => "the issuer refused the request without a reason",
            (400..500, FailureKind::Transient) if code.is_none() => "the request was refused",
            (_, FailureKind::Transient) => "the issuer cannot answer now",
            (_, FailureKind::Uncertain) => "the issuer gave no clear answer",
            _ => "the issuer refused the request",
        }
    }

    /// Returns the action for the answer, or `None` if the answer does not name its cause.
    fn hint(&self, verdict: Verdict) -> Option<&'static str> {
        let code = self.fields.code.as_deref().unwrap_or_default();
        match (self.status, verdict.kind) {
            (_, FailureKind::Terminal) => Some("sign in again"),
            (300..400, _) => Some("configure the address that the redirect leads to"),
            (400..500, FailureKind::Transient) if self.html && verdict.without_reason => Some(
                "see whether a firewall or a proxy before the issuer blocks this machine; if not, \
                 signing in again may help",
            ),
            _ if verdict.without_reason => {
                Some("try again in a moment; if that does not help, signing in again may help")
            }
            (407, _) => Some("give the proxy's user and password in its address"),
            (400..500, FailureKind::Transient) if self.html => {
                Some("see whether a firewall or a proxy before the issuer blocks this machine")
            }
            (429, FailureKind::Transient) => Some("wait; the issuer limits how often it is asked"),
            (400 | 401 | 403, FailureKind::Transient) if code.is_empty() => {
                Some("check the client id, the client's secret and its scope")
            }
            (_, FailureKind::Transient) => Some("try again in a moment"),
            (_, FailureKind::Misconfigured) => match code {
                "invalid_client" | "incorrect_client_credentials" => Some(
                    "check the client id, the client's secret and how the client authenticates",
                ),
                "unauthorized_client" | "unsupported_grant_type" => {
                    Some("let the issuer allow this client this grant")
                }
                "invalid_scope" => Some("ask for another scope"),
                "invalid_target" => Some("ask for another resource or audience"),
                UNSUPPORTED => None,
                _ if matches!(self.status, 404 | 405) => Some("check the endpoint's address"),
                _ => None,
            },
            _ => None,
        }
    }
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
    fn read(answer: &Response<SecretBytes>, profile: Profile, sent: &Secrets) -> Self {
        let Some(fields) = Fields::read_any(answer.body().expose()) else {
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
        let mut codes = texts(&["error", "error_code", "code"]);
        // Firebase writes its code as the message.
        let message = texts(&["message"]).into_iter();
        codes.extend(message.filter(|text| profile.terminal_codes().contains(&&**text)));
        let known = codes
            .iter()
            .find(|code| meaning_of(code, profile).is_some());
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
    Fields::read_any(answer.body().expose())?.text("error")
}

pub(crate) fn is_html(answer: &Response<SecretBytes>) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.trim_start().to_ascii_lowercase();
    kind.starts_with("text/html")
        || kind.starts_with("application/xhtml")
        || answer.body().expose().trim_ascii_start().starts_with(b"<")
}
