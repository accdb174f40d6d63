//! What the answer of a cookie endpoint means.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use token_rotator::SourceError;
use token_rotator_oauth2::SecretBytes;

/// The answer's body if it is a success, else the failure it stands for.
///
/// A cookie endpoint speaks no OAuth: 400, 401 and 403 say that the session is over, unless a 403
/// is the HTML page of a firewall in front of it.
pub(crate) fn sorted(answer: Response<SecretBytes>) -> Result<SecretBytes, SourceError> {
    let status = answer.status();
    let said = |how: &str| format!("the refresh endpoint answered {status}{how}");
    let failure = match status.as_u16() {
        200..=299 => return Ok(answer.into_body()),
        300..=399 => SourceError::transient(said("; a refresh follows no redirect")),
        403 if is_html(answer.headers()) => SourceError::transient(said(
            " with a page for people; is there a firewall before it?",
        )),
        400 | 401 | 403 => SourceError::terminal(said(": the session is over")),
        404 | 405 => SourceError::misconfigured(said("; is `refresh_endpoint` right?")),
        408 | 425 | 429 | 503 => SourceError::transient(said("")),
        500..=599 => SourceError::uncertain(said("")),
        _ => SourceError::misconfigured(said("")),
    };
    Err(match retry_after(status, answer.headers()) {
        Some(wait) => failure.with_retry_after(wait),
        None => failure,
    })
}

fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    kind.is_some_and(|kind| {
        kind.get(..9)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
    })
}

/// How long the endpoint asked to be left alone (RFC 9110 section 10.2.3).
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<std::time::Duration> {
    let asks = matches!(status.as_u16(), 408 | 425 | 429 | 503);
    headers
        .get(http::header::RETRY_AFTER)
        .filter(|_| asks)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(std::time::Duration::from_secs)
}
