//! Is this refusal about the token? What `WWW-Authenticate` and `grpc-status` say.
//!
//! [`judge`] sorts an HTTP answer, [`judge_refusal`] one that counts as a refusal whatever its
//! status, [`judge_grpc`] and [`judge_grpc_trailers`] a gRPC one, and
//! [`parse`] reads the challenges they are sorted by.
//!
//! # How a 401 is judged
//!
//! Every 401 asks for a new token unless a `Bearer` challenge says that a new one will not help:
//!
//! | the answer | verdict | why |
//! |---|---|---|
//! | status other than 401 | [`None`](Verdict::None) | RFC 6750 section 3.1 gives `invalid_token` status 401 |
//! | no `WWW-Authenticate` | refresh | many APIs send none, against RFC 9110 section 15.5.2 |
//! | `Bearer` without `error` | refresh | RFC 6750 section 3: the code is only a SHOULD |
//! | `Bearer error="invalid_token"` | refresh | RFC 6750 section 3.1 |
//! | `Bearer error="insufficient_user_authentication"` | [`StepUp`] | RFC 9470 section 3: the user has to sign in again, and better |
//! | `Bearer error="insufficient_scope"`, `"invalid_request"` | not about the token | RFC 6750 section 3.1 |
//! | `Bearer` with any other code | refresh | the list is open (RFC 6750 section 6.2); Entra's `insufficient_claims`, for one, is cured by a newer token |
//! | other schemes only: `Basic`, `Negotiate`, `DPoP`, `JWT`, ... | refresh | frameworks name whatever scheme comes first; a proxy with a password of its own answers 407 |
//!
//! An API may refuse tokens with another status than 401. Whoever says so has such an answer judged
//! by the same table: [`judge_refusal`].
//!
//! A refresh that was not needed costs one request, and the session spaces those out. A refresh
//! that was needed and not made costs the caller the session.
//!
//! Several `Bearer` challenges are alternatives (RFC 9110 section 11.6.1), so the most hopeful
//! one decides: `invalid_token` before step-up, step-up before the rest. If a new token is not
//! all it takes, the replay's own 401 says so. A challenge that names a reason beats one that
//! gives none.

use std::fmt;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What an answer says about the token that its request carried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The token was refused, or nothing says that it was not: a newer one may help.
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
    /// The code as it stands in the challenge.
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

/// What the upstream asks of the user before it accepts a token (RFC 9470 section 3).
///
/// These go into the next authorization request (section 4 there); a refresh cannot meet them.
/// It is an error too, so that it can stand among the reasons why there is no token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepUp {
    /// The authentication contexts that would do, separated by spaces, the preferred one first.
    pub acr_values: Option<String>,
    /// How many seconds ago the user may at most have authenticated; absent if it cannot be read.
    pub max_age: Option<u64>,
    /// The scope needed as well (RFC 6750 section 3).
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
/// For any status but 401 this is one comparison. It allocates only for a 401.
#[inline]
pub fn judge(status: StatusCode, headers: &HeaderMap) -> Verdict {
    if status == StatusCode::UNAUTHORIZED {
        judge_refusal(headers)
    } else {
        Verdict::None
    }
}

/// Judges an answer that counts as a refusal whatever its status: its challenges mean what they
/// mean at a 401. Never [`Verdict::None`].
///
/// For APIs that refuse tokens with 403 or 419. RFC 6750 section 3.1 gives `insufficient_scope` the
/// status 403, so that a 403 is about the token only where no challenge says otherwise.
#[cold]
pub fn judge_refusal(headers: &HeaderMap) -> Verdict {
    judge_challenges(&parse(headers))
}

/// Whether the headers of an answer are those of a gRPC call refused as UNAUTHENTICATED.
///
/// True for a trailers-only answer: `content-type: application/grpc...` together with
/// `grpc-status: 16`. Other answers carry the status in their trailers: [`judge_grpc_trailers`].
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

/// The status in the headers of a gRPC answer; empty if its trailers carry it. Returns `None` for
/// answers that are not gRPC.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<&[u8]> {
    let kind = headers.get(CONTENT_TYPE)?;
    is_grpc(kind.as_bytes()).then(|| {
        headers
            .get(&GRPC_STATUS)
            .map_or(&[][..], HeaderValue::as_bytes)
    })
}

/// `application/grpc`, with or without `+proto`, `-web` or parameters.
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
        // RFC 6749 compares codes exactly; a server that capitalises them means the same.
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
/// `Debug` leaves the values out: servers quote tokens in `error_description`, and a `token68`
/// may be a credential.
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

    /// The `token68` that stands in place of parameters, as `Negotiate` uses it.
    pub fn token68(&self) -> Option<&str> {
        self.token68.as_deref()
    }

    /// The value of a parameter, unquoted; `name` in any case.
    ///
    /// Of a parameter that occurs twice, against RFC 9110 section 11.2, the first.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All parameters as they came, names in lower case.
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
/// Never fails: what cannot be understood is passed over, and what was understood before and
/// after it stays. Beyond the grammar it takes parameters separated by blanks or semicolons alone
/// (AWS API Gateway sends the former), unquoted values that are no tokens (`realm=https://...`) and
/// a quoted string that is cut off. Bytes that are not UTF-8 become U+FFFD.
pub fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for field in headers.get_all(WWW_AUTHENTICATE) {
        // Several fields are one list (RFC 9110 section 5.3), so a field may go on with the
        // parameters of the challenge before it; but an open quote ends with its field.
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
        // A challenge begins only where an element of the list does; anywhere else a lone word
        // is debris, such as the inside of a description whose quotes were not escaped.
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

    /// `= value` after the name of a parameter, or nothing read.
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

    /// A `token68` after a scheme, or nothing read: `realm=` is one, `realm=x` and `realm =` are not.
    fn token68(&mut self) -> Option<String> {
        let mut ahead = Reader { rest: self.rest };
        ahead.skip_blanks();
        let start = ahead.rest;
        let letters =
            ahead.take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        let padding = ahead.take_while(|byte| byte == b'=');
        ahead.skip_blanks();
        let apart = self.rest.first().is_some_and(|&byte| is_blank(byte));
        let ends = matches!(ahead.rest.first(), None | Some(b','));
        if !apart || !ends || letters.is_empty() {
            return None;
        }
        self.rest = ahead.rest;
        Some(text(&start[..letters.len() + padding.len()]))
    }

    /// A quoted string, without its quotes and escapes, up to its end or that of the field.
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

/// RFC 9110 section 5.6.2.
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
