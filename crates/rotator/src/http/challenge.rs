//! Decides whether a refusal is about the token, by `WWW-Authenticate` and `grpc-status`.
//!
//! - [`judge`]: judges an HTTP answer.
//! - [`judge_refusal`]: judges an HTTP answer that counts as a refusal whatever its status.
//! - [`judge_grpc`], [`judge_grpc_trailers`]: judge a gRPC answer.
//! - [`parse`]: reads the challenges.
//!
//! # How a 401 is judged
//!
//! Every 401 asks for a new token unless a `Bearer` challenge says that a new token will not help:
//!
//! | the answer | verdict | why |
//! |---|---|---|
//! | status other than 401 | [`None`](Verdict::None) | RFC 6750 section 3.1 gives `invalid_token` status 401 |
//! | no `WWW-Authenticate` | refresh | many APIs send none, against RFC 9110 section 15.5.2 |
//! | `Bearer` without `error` | refresh | RFC 6750 section 3: the code is only a SHOULD |
//! | `Bearer error="invalid_token"` | refresh | RFC 6750 section 3.1 |
//! | `Bearer error="insufficient_user_authentication"` | [`StepUp`] | RFC 9470 section 3: the user has to sign in again, or more strongly |
//! | `Bearer error="insufficient_scope"`, `"invalid_request"` | not about the token | RFC 6750 section 3.1 |
//! | `Bearer` with any other code | refresh | the list is open (RFC 6750 section 6.2); Entra's a newer token cures Entra's `insufficient_claims` |
//! | other schemes only: `Basic`, `Negotiate`, `DPoP`, `JWT`, ... | refresh | frameworks name whatever scheme comes first; a proxy with a password of its own answers 407 |
//!
//! An API may refuse tokens with another status than 401. If the program lists such a status,
//! [`judge_refusal`] judges the answer by the same table.
//!
//! The table prefers a refresh. An unnecessary refresh costs one request, and the session spaces
//! refreshes out. A missing refresh costs the caller the session.
//!
//! Several `Bearer` challenges are alternatives (RFC 9110 section 11.6.1), so the challenge that a
//! new token can meet decides: `invalid_token` before step-up, step-up before the rest. If a new
//! token is not enough, the 401 of the replay says so. A challenge with a reason decides before a
//! challenge without one.

use std::fmt;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What an answer says about the token that its request carried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The token was refused, or the answer gives no other reason: a newer token may help.
    RefreshToken,
    /// The request was refused for another reason, and a newer token would be refused too.
    NotAboutToken {
        /// The reason given.
        error: BearerError,
    },
    /// The token is good, but its user has to authenticate again or more strongly (RFC 9470).
    StepUp(StepUp),
    /// The answer is no refusal of credentials.
    None,
}

/// The reasons of RFC 6750 section 3.1 that a newer token does not cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BearerError {
    /// `insufficient_scope`: the grant does not cover this request.
    InsufficientScope,
    /// `invalid_request`: the request itself is malformed.
    InvalidRequest,
}

impl BearerError {
    /// The error code in the challenge.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidRequest => "invalid_request",
        }
    }
}

impl fmt::Display for BearerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The demands of the upstream on the user's authentication (RFC 9470 section 3).
///
/// The program puts them into the next authorization request (RFC 9470 section 4). A refresh cannot
/// meet them. The type is an error because it is a cause of [`TokenError`](crate::TokenError).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepUp {
    /// The accepted authentication contexts, separated by spaces, in the order of preference.
    pub acr_values: Option<String>,
    /// The longest time since the user authenticated, in seconds. `None` if it is not readable.
    pub max_age: Option<u64>,
    /// The scope that the request needs too (RFC 6750 section 3).
    pub scope: Option<String>,
}

impl fmt::Display for StepUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the API wants the user to sign in again, no other token of this sign-in will do",
        )?;
        if let Some(acr_values) = &self.acr_values {
            write!(f, "; acr_values: {acr_values}")?;
        }
        if let Some(max_age) = self.max_age {
            write!(f, "; max_age: {max_age} s")?;
        }
        if let Some(scope) = &self.scope {
            write!(f, "; scope: {scope}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StepUp {}

/// Judges an HTTP answer by its status and its challenges, as the [module](self) describes.
///
/// For every status but 401, the cost is one comparison. Allocates only for a 401.
#[inline]
pub fn judge(status: StatusCode, headers: &HeaderMap) -> Verdict {
    if status == StatusCode::UNAUTHORIZED {
        judge_refusal(headers)
    } else {
        Verdict::None
    }
}

/// Judges an answer that counts as a refusal whatever its status, by the table for a 401. Never
/// returns [`Verdict::None`].
///
/// For APIs that refuse tokens with 403 or 419. RFC 6750 section 3.1 gives `insufficient_scope` the
/// status 403, so a 403 is about the token only if no challenge names another reason.
#[cold]
pub fn judge_refusal(headers: &HeaderMap) -> Verdict {
    judge_challenges(&parse(headers))
}

/// Whether the headers of an answer refuse a gRPC call as UNAUTHENTICATED.
///
/// Returns true for a trailers-only answer: `content-type: application/grpc...` together with
/// `grpc-status: 16`. For answers with trailers use [`judge_grpc_trailers`].
#[inline]
pub fn judge_grpc(headers: &HeaderMap) -> bool {
    judge_grpc_trailers(headers)
        && headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| is_grpc(kind.as_bytes()))
}

/// Whether the trailers of a gRPC answer say UNAUTHENTICATED: `grpc-status: 16`.
#[inline]
pub fn judge_grpc_trailers(trailers: &HeaderMap) -> bool {
    trailers
        .get(&GRPC_STATUS)
        .is_some_and(|status| status.as_bytes() == b"16")
}

/// Reads the status in the headers of a gRPC answer. Returns an empty slice if the trailers carry
/// the status, and `None` if the answer is not gRPC.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<&[u8]> {
    let kind = headers.get(CONTENT_TYPE)?;
    is_grpc(kind.as_bytes()).then(|| {
        headers
            .get(&GRPC_STATUS)
            .map_or(&[][..], HeaderValue::as_bytes)
    })
}

/// Whether the content type is `application/grpc`, with or without `+proto`, `-web` or parameters.
fn is_grpc(kind: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    kind.get(..GRPC.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
        && matches!(
            kind.get(GRPC.len()),
            None | Some(b'+' | b'-' | b';' | b' ' | b'\t')
        )
}

fn judge_challenges(challenges: &[Challenge]) -> Verdict {
    let mut verdict = Verdict::RefreshToken;
    for challenge in challenges
        .iter()
        .filter(|challenge| challenge.scheme == "bearer")
    {
        // RFC 6749 compares codes exactly, but some servers capitalise them.
        let code = challenge.param("error").unwrap_or_default();
        let is = |known: &str| code.eq_ignore_ascii_case(known);
        if is("invalid_token") {
            return Verdict::RefreshToken;
        }
        if is("insufficient_user_authentication") {
            if !matches!(verdict, Verdict::StepUp(_)) {
                verdict = Verdict::StepUp(challenge.step_up());
            }
        } else if verdict == Verdict::RefreshToken {
            let known = [BearerError::InsufficientScope, BearerError::InvalidRequest];
            if let Some(error) = known.into_iter().find(|error| is(error.as_str())) {
                verdict = Verdict::NotAboutToken { error };
            }
        }
    }
    verdict
}

/// One challenge of a `WWW-Authenticate` header field (RFC 9110 section 11.3).
///
/// `Debug` shows no values: servers quote tokens in `error_description`, and a `token68` may be a
/// credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    token68: Option<String>,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The scheme, in lower case: `bearer`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The `token68` of a challenge without parameters, such as `Negotiate`.
    pub fn token68(&self) -> Option<&str> {
        self.token68.as_deref()
    }

    /// The value of a parameter, unquoted. The case of `name` does not matter.
    ///
    /// If the parameter occurs twice, against RFC 9110 section 11.2, returns the first value.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All parameters in the order of the challenge, with names in lower case.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn step_up(&self) -> StepUp {
        let text = |name| {
            self.param(name)
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        StepUp {
            acr_values: text("acr_values"),
            max_age: self
                .param("max_age")
                .and_then(|seconds| seconds.parse().ok()),
            scope: text("scope"),
        }
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.params().map(|(name, _)| name).collect();
        f.debug_struct("Challenge")
            .field("scheme", &self.scheme)
            .field("token68", &self.token68.as_ref().map(|_| "..."))
            .field("params", &names)
            .finish()
    }
}

/// Reads all challenges of all `WWW-Authenticate` header fields, in order (RFC 9110 section 11.6.1).
///
/// Never fails: the parser skips unreadable text and keeps the challenges before and after it.
///
/// The parser accepts more than the grammar:
///
/// - parameters separated only by blanks (AWS API Gateway sends those) or semicolons
/// - unquoted values that are not tokens (`realm=https://...`)
/// - a quoted string without its closing quote
/// - bytes that are not UTF-8, which become U+FFFD
pub fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for field in headers.get_all(WWW_AUTHENTICATE) {
        // Several fields form one list (RFC 9110 section 5.3). A field may therefore begin with
        // parameters of the previous field's challenge. An open quote ends with its field.
        Reader {
            rest: field.as_bytes(),
        }
        .read_into(&mut challenges);
    }
    challenges
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn read_into(mut self, challenges: &mut Vec<Challenge>) {
        // A challenge begins only at the start of a list element. Elsewhere a word without a value
        // is garbage, such as a part of a description with unescaped quotes.
        let mut at_start = true;
        while let Some(&byte) = self.rest.first() {
            if is_blank(byte) {
                self.skip_blanks();
                continue;
            }
            if is_token(byte) {
                let word = lower(self.take_while(is_token));
                if let Some(value) = self.value() {
                    if let Some(challenge) = challenges.last_mut() {
                        challenge.params.push((word, value));
                    }
                } else if at_start {
                    let token68 = self.token68();
                    challenges.push(Challenge {
                        scheme: word,
                        token68,
                        params: Vec::new(),
                    });
                }
            } else if byte == b'"' {
                self.quoted();
            } else {
                self.rest = &self.rest[1..];
            }
            at_start = byte == b',';
        }
    }

    /// Reads `= value` after the name of a parameter. Returns `None`, and reads nothing, if there is
    /// no `=`.
    fn value(&mut self) -> Option<String> {
        let mut ahead = Reader { rest: self.rest };
        ahead.skip_blanks();
        ahead.rest = ahead.rest.strip_prefix(b"=")?;
        ahead.skip_blanks();
        let value = if ahead.rest.first() == Some(&b'"') {
            ahead.quoted()
        } else {
            text(ahead.take_while(|byte| !is_blank(byte) && byte != b',' && byte != b';'))
        };
        self.rest = ahead.rest;
        Some(value)
    }

    /// Reads a `token68` after a scheme. Returns `None`, and reads nothing, if there is none:
    /// `realm=` is a `token68`; `realm=x` and `realm =` are not.
    fn token68(&mut self) -> Option<String> {
        let mut ahead = Reader { rest: self.rest };
        ahead.skip_blanks();
        let start = ahead.rest;
        let letters =
            ahead.take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        let padding = ahead.take_while(|byte| byte == b'=');
        ahead.skip_blanks();
        let follows_blank = self.rest.first().is_some_and(|&byte| is_blank(byte));
        let ends_element = matches!(ahead.rest.first(), None | Some(b','));
        if !follows_blank || !ends_element || letters.is_empty() {
            return None;
        }
        self.rest = ahead.rest;
        Some(text(&start[..letters.len() + padding.len()]))
    }

    /// Reads a quoted string up to its closing quote or the end of the field. Returns it without
    /// quotes and escapes.
    fn quoted(&mut self) -> String {
        let mut value = Vec::new();
        let mut bytes = self.rest[1..].iter();
        while let Some(&byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => value.extend(bytes.next()),
                _ => value.push(byte),
            }
        }
        self.rest = bytes.as_slice();
        text(&value)
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self
            .rest
            .iter()
            .position(|&byte| !accept(byte))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        self.take_while(is_blank);
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether the byte may occur in a token (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lower(bytes: &[u8]) -> String {
    text(bytes).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
