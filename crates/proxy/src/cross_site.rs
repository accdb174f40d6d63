//! Decides whether a web page of another origin sent a request.
//!
//! Every page that a user visits can send requests to an address of the user's machine. A browser names
//! the page's origin in `Origin`, or the relation of page and target in `Sec-Fetch-Site` (W3C Fetch
//! Metadata). A `WebSocket` handshake carries only `Origin`, and a plain GET of a page only
//! `Sec-Fetch-Site`. Browsers send no `Sec-Fetch` headers to addresses that are neither loopback nor
//! https, so such addresses need the local bearer.
//!
//! The presence of a header decides nothing: Node's `fetch` sends `Sec-Fetch-Mode`, and Python's
//! `websocket-client` sends the target's own `Origin`.

use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{Method, StatusCode};
use token_rotator::middleware::is_loopback_host;

use crate::admit::HostName;
use crate::cors::AllowedOrigin;
use crate::problem::Problem;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Longest part of an `Origin` in an answer or a log.
const SHOWN_BYTES: usize = 100;

/// Why a request of a web page is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CrossSite {
    /// The origin is not listed and is not the proxy's own. The text is escaped.
    Origin(String),
    /// `Sec-Fetch-Site` is this value: `cross-site` or `same-site`.
    Site(&'static str),
    /// A link, a form or a frame of a page opened the address.
    Navigation,
}

/// Checks a request from TCP whose `Host` is allowed. `allowed` are the origins whose pages may use the
/// proxy.
///
/// *Errors*: a page of another origin sent the request.
pub(crate) fn check(
    method: &Method,
    headers: &HeaderMap,
    host: HostName<'_>,
    allowed: &[AllowedOrigin],
) -> Result<(), CrossSite> {
    if AllowedOrigin::of(headers, allowed).is_some() {
        return Ok(());
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    if let Some(origin) = origins.next() {
        let is_own = origins.next().is_none() && is_own_origin(origin, host);
        if !is_own && !is_from_same_origin(headers) {
            return Err(CrossSite::Origin(shown(origin)));
        }
    }
    for site in ["cross-site", "same-site"] {
        if has_value(headers, &SEC_FETCH_SITE, site) {
            return Err(CrossSite::Site(site));
        }
    }
    let is_user_request = method == Method::GET && has_value(headers, &SEC_FETCH_SITE, "none");
    if has_value(headers, &SEC_FETCH_MODE, "navigate") && !is_user_request {
        return Err(CrossSite::Navigation);
    }
    Ok(())
}

/// Whether the origin has the host and port of `Host`.
///
/// The listeners speak HTTP without TLS, so a `Host` of this machine without a port means port 80. Any
/// other name may have a TLS server in front, so there it means the default port of the origin's scheme.
fn is_own_origin(origin: &HeaderValue, host: HostName<'_>) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        _ => return false,
    };
    let Some(origin) = HostName::parse(authority) else {
        return false;
    };
    let host_port = if is_loopback_host(host.name) {
        host.port_or(80)
    } else {
        host.port_or(default_port)
    };
    let origin_port = origin.port_or(default_port);
    origin.name.eq_ignore_ascii_case(host.name) && origin_port.is_some() && origin_port == host_port
}

/// Whether the browser reports that page and target have the same origin. A development server between
/// page and proxy changes `Host`, but passes this header on.
fn is_from_same_origin(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(&SEC_FETCH_SITE).iter();
    let same_origin = |site: &HeaderValue| site.as_bytes().trim_ascii() == b"same-origin";
    sites.next().is_some_and(same_origin) && sites.next().is_none()
}

/// Whether one of the header's values is `value`.
fn has_value(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    let fields = headers.get_all(name).iter();
    fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(value.as_bytes()))
}

/// Returns the origin for an answer or a log: escaped, and cut after 100 bytes. The page chooses it.
fn shown(origin: &HeaderValue) -> String {
    let bytes = origin.as_bytes();
    let shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii();
    let rest = if bytes.len() > SHOWN_BYTES { "..." } else { "" };
    format!("{shown}{rest}")
}

impl CrossSite {
    /// Returns the answer, which names the origin and the setting to add.
    pub(crate) fn problem(&self) -> Problem {
        let detail = match self {
            Self::Origin(origin) if origin == "null" => {
                "A web page with the origin `null` sent this request: a file, a sandboxed frame, or a \
                 page after a redirect. hint: serve the page from an address, and add its origin to \
                 `allowed_origins` of `[proxy]`"
                    .to_owned()
            }
            Self::Origin(origin) => format!(
                "A web page of {origin} sent this request. hint: if that page may use the session, \
                 add \"{origin}\" to `allowed_origins` of `[proxy]`"
            ),
            Self::Site(site) => format!(
                "A web page of another origin sent this request without `Origin` ({site}). hint: if \
                 that page may use the session, add its origin to `allowed_origins` of `[proxy]`, and \
                 send the request with CORS"
            ),
            Self::Navigation => "A link, a form or a frame of a web page sent this request. hint: type \
                                 the address, or send the request with `fetch` from an origin in \
                                 `allowed_origins` of `[proxy]`"
                .to_owned(),
        };
        Problem::with_detail(
            "cross-site",
            StatusCode::FORBIDDEN,
            7,
            "Web pages of other origins may not use this proxy",
            detail,
        )
    }
}

#[cfg(test)]
mod tests;
