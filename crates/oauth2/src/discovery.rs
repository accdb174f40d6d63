//! What an issuer says of itself: its endpoints, and what they can do.
//!
//! [`IssuerMetadata::discover`] asks an issuer for its metadata, which the sign-ins begin with:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # use http::{Request, Response, StatusCode};
//! # use token_rotator_oauth2::{SecretBytes, TransportError};
//! # async fn transport(request: Request<SecretBytes>) -> Result<Response<SecretBytes>, TransportError> {
//! #     assert_eq!(request.uri(), "https://issuer.example/.well-known/oauth-authorization-server");
//! #     let document = r#"{"issuer":"https://issuer.example","token_endpoint":"https://issuer.example/token"}"#;
//! #     Ok(Response::new(document.into()))
//! # }
//! use token_rotator_oauth2::IssuerMetadata;
//!
//! let issuer = IssuerMetadata::discover("https://issuer.example", &transport).await?;
//! assert_eq!(issuer.token_endpoint().unwrap(), "https://issuer.example/token");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! Two addresses are asked, one after the other, for an issuer such as `https://issuer.example/a`:
//!
//! 1. `https://issuer.example/.well-known/oauth-authorization-server/a` (RFC 8414 section 3);
//! 2. `https://issuer.example/a/.well-known/openid-configuration` (OIDC Discovery 1.0
//!    section 4).
//!
//! The first document that names the issuer exactly as it was asked for (RFC 8414 section 3.3) is
//! taken. An issuer whose paths all lead to a web page, or one that knows the second address only,
//! is found all the same; one that cannot be reached is not asked again.

mod error;
mod metadata;

use http::header::{ACCEPT, LOCATION};
use http::{HeaderValue, Request, Response, Uri};

use crate::answer::Fields;
use crate::answer::refusal::is_html;
use crate::checks;
use crate::transport::{ANSWER_BYTES_MAX, SecretBytes, Transport, TransportError};
pub use error::{DiscoveryError, NoMetadata};
pub use metadata::IssuerMetadata;

/// So much of an address of somebody else's is shown.
const SHOWN_MAX: usize = 200;

impl IssuerMetadata {
    /// Asks the issuer for its metadata: one request, or two.
    ///
    /// `issuer` is the issuer's identifier, letter by letter as the issuer writes it; a `/` at its
    /// end counts. It and every endpoint that the document names must be `https` or on this
    /// machine, the latter only for an issuer on this machine. Waits for as long as the transport
    /// does; dropping the future gives up, and nothing has happened.
    pub async fn discover(
        issuer: &str,
        transport: &impl Transport,
    ) -> Result<Self, DiscoveryError> {
        let url = checks::url("issuer URL", issuer).map_err(DiscoveryError::IssuerUrl)?;
        if url.query().is_some() {
            return Err(DiscoveryError::Query);
        }
        let [first, second] = places(issuer, &url);
        let first = match ask(issuer, first, transport).await {
            Ok(metadata) => return Ok(metadata),
            Err(error @ DiscoveryError::Unreachable { .. }) => return Err(error),
            Err(error) => error,
        };
        match (first, ask(issuer, second, transport).await) {
            (_, Ok(metadata)) => Ok(metadata),
            (
                DiscoveryError::NoDocument { mut asked },
                Err(DiscoveryError::NoDocument { asked: others }),
            ) => {
                asked.extend(others);
                Err(DiscoveryError::NoDocument { asked })
            }
            // Of a document that was there and one that was not, the former says more.
            (DiscoveryError::NoDocument { .. }, Err(error)) | (error, Err(_)) => Err(error),
        }
    }
}

/// Where the metadata may be, in the order they are asked.
fn places(issuer: &str, url: &Uri) -> [String; 2] {
    // Both specifications take the last `/` away, and nothing else.
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let path = url.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let host = issuer.strip_suffix(path).unwrap_or(issuer);
    [
        format!("{host}/.well-known/oauth-authorization-server{path}"),
        format!("{issuer}/.well-known/openid-configuration"),
    ]
}

async fn ask(
    issuer: &str,
    place: String,
    transport: &impl Transport,
) -> Result<IssuerMetadata, DiscoveryError> {
    let mut request = Request::new(SecretBytes::default());
    let url = checks::url("issuer URL", &place).map_err(DiscoveryError::IssuerUrl)?;
    *request.uri_mut() = url;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(ACCEPT, json);
    let answer = match transport.send(request).await {
        Ok(answer) if answer.body().len() > ANSWER_BYTES_MAX => {
            Err(TransportError::answer_too_long())
        }
        answer => answer,
    };
    let answer = answer.map_err(|cause| DiscoveryError::Unreachable {
        url: place.clone(),
        cause,
    })?;
    let fields = match document(&answer) {
        Ok(fields) => fields,
        Err(why) => {
            let asked = vec![(place, why)];
            return Err(DiscoveryError::NoDocument { asked });
        }
    };
    let named = fields.text("issuer").unwrap_or_default();
    if named != issuer {
        return Err(DiscoveryError::IssuerMismatch {
            url: place,
            asked: issuer.to_owned(),
            named: shown(&named),
        });
    }
    IssuerMetadata::read(&fields, issuer, &place)
}

/// The fields of the document, if the answer is one that names an issuer.
fn document(answer: &Response<SecretBytes>) -> Result<Fields<'_>, NoMetadata> {
    let status = answer.status();
    if status.is_redirection() {
        let location = answer.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        return Err(NoMetadata::Redirect {
            location: location.map(shown),
        });
    }
    if !status.is_success() {
        return Err(NoMetadata::Status(status));
    }
    if is_html(answer) {
        return Err(NoMetadata::WebPage);
    }
    Fields::read(answer.body().expose())
        .filter(|fields| fields.text("issuer").is_some())
        .ok_or(NoMetadata::NotADocument)
}

/// An address of somebody else's, fit to be shown.
fn shown(text: &str) -> String {
    if text.len() <= SHOWN_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return text.to_owned();
    }
    "(an address that cannot be shown)".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_part_goes_between_host_and_path_or_to_the_end() {
        let cases = [
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "http://127.0.0.1:8080/tenant/1/",
                "http://127.0.0.1:8080/.well-known/oauth-authorization-server/tenant/1",
                "http://127.0.0.1:8080/tenant/1/.well-known/openid-configuration",
            ),
        ];
        for (issuer, first, second) in cases {
            let url = issuer.parse().unwrap();
            assert_eq!(places(issuer, &url), [first, second]);
        }
    }
}
