//! Issuer metadata: an issuer's endpoints and capabilities.
//!
//! [`IssuerMetadata::discover`] requests the metadata that every sign-in needs:
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
//! For an issuer such as `https://issuer.example/a`, discovery requests two addresses in turn:
//!
//! 1. `https://issuer.example/.well-known/oauth-authorization-server/a` (RFC 8414 section 3);
//! 2. `https://issuer.example/a/.well-known/openid-configuration` (OIDC Discovery 1.0
//!    section 4).
//!
//! Discovery takes the first document that names the issuer exactly as the caller wrote it (RFC
//! 8414 section 3.3). It also finds an issuer that serves a web page at the first address. If the
//! first address cannot be reached, the second is not requested.

mod error;
mod metadata;
pub(crate) mod tenant;

use http::header::{ACCEPT, LOCATION};
use http::{HeaderValue, Request, Response, Uri};

use crate::answer::Fields;
use crate::answer::refusal::is_html;
use crate::checks;
use crate::transport::{DynTransport, SecretBytes, Transport};
pub use error::{DiscoveryError, NoMetadata};
pub use metadata::IssuerMetadata;

/// At most this many characters of an address from an answer are shown.
const SHOWN_MAX: usize = 200;

impl IssuerMetadata {
    /// Requests the issuer's metadata with one or two requests.
    ///
    /// `issuer` is the issuer's identifier, exactly as the issuer writes it; a `/` at the end
    /// counts. The issuer and every endpoint in the document must use `https` or a loopback
    /// address. A loopback endpoint is allowed only for a loopback issuer.
    ///
    /// *Waits* as long as the transport does. *Cancellation*: dropping the future abandons the
    /// request and changes nothing.
    pub async fn discover(
        issuer: &str,
        transport: &impl Transport,
    ) -> Result<Self, DiscoveryError> {
        Self::discover_by(NameRule::Exact, issuer, transport).await
    }

    /// Requests the metadata like [`discover`](Self::discover). Also takes a document for many
    /// tenants: for an authority such as `https://login.microsoftonline.com/common/v2.0`, Microsoft
    /// Entra ID names the issuer `https://login.microsoftonline.com/{tenantid}/v2.0`.
    ///
    /// A sign-in then takes the tenant from the `id_token`: `iss` must have the tenant of `tid` in
    /// place of `{tenantid}`, and the authority must admit that tenant.
    pub async fn discover_tenants(
        issuer: &str,
        transport: &impl Transport,
    ) -> Result<Self, DiscoveryError> {
        Self::discover_by(NameRule::Tenants, issuer, transport).await
    }

    async fn discover_by(
        rule: NameRule,
        issuer: &str,
        transport: &impl Transport,
    ) -> Result<Self, DiscoveryError> {
        let url = checks::url("issuer URL", issuer).map_err(DiscoveryError::IssuerUrl)?;
        if url.query().is_some() {
            return Err(DiscoveryError::Query);
        }
        let [first, second] = metadata_urls(issuer, &url);
        let first = match fetch(rule, issuer, first, transport).await {
            Ok(metadata) => return Ok(metadata),
            Err(error @ DiscoveryError::Unreachable { .. }) => return Err(error),
            Err(error) => error,
        };
        match (first, fetch(rule, issuer, second, transport).await) {
            (_, Ok(metadata)) => Ok(metadata),
            (
                DiscoveryError::NoDocument { mut asked },
                Err(DiscoveryError::NoDocument { asked: more }),
            ) => {
                asked.extend(more);
                Err(DiscoveryError::NoDocument { asked })
            }
            // A document with an error tells more than a missing document.
            (DiscoveryError::NoDocument { .. }, Err(error)) | (error, Err(_)) => Err(error),
        }
    }
}

/// Returns the addresses where the metadata may be, in the order of the requests.
fn metadata_urls(issuer: &str, url: &Uri) -> [String; 2] {
    // Both specifications remove the last `/` and nothing else.
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let path = url.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let host = issuer.strip_suffix(path).unwrap_or(issuer);
    [
        format!("{host}/.well-known/oauth-authorization-server{path}"),
        format!("{issuer}/.well-known/openid-configuration"),
    ]
}

/// How the issuer's name in the document is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameRule {
    /// RFC 8414 section 3.3.
    Exact,
    /// A name with `{tenantid}` matches an authority of many tenants too.
    Tenants,
}

async fn fetch(
    rule: NameRule,
    issuer: &str,
    address: String,
    transport: &impl Transport,
) -> Result<IssuerMetadata, DiscoveryError> {
    let mut request = Request::new(SecretBytes::default());
    let url = checks::url("issuer URL", &address).map_err(DiscoveryError::IssuerUrl)?;
    *request.uri_mut() = url;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(ACCEPT, json);
    let answer = DynTransport::send(transport, request).await;
    let answer = answer.map_err(|cause| DiscoveryError::Unreachable {
        url: address.clone(),
        cause,
    })?;
    let fields = match document(&answer) {
        Ok(fields) => fields,
        Err(reason) => {
            let asked = vec![(address, reason)];
            return Err(DiscoveryError::NoDocument { asked });
        }
    };
    let named = fields.text("issuer").unwrap_or_default();
    let has_tenants = rule == NameRule::Tenants && tenant::is_authority_of(&named, issuer);
    if named != issuer && !has_tenants {
        return Err(DiscoveryError::IssuerMismatch {
            url: address,
            asked: issuer.to_owned(),
            named: displayable(&named),
        });
    }
    let mut metadata = IssuerMetadata::read(&fields, &named, &address);
    if has_tenants {
        metadata = metadata.with_authority(tenant::between(&named, issuer));
    }
    Ok(metadata)
}

/// Returns the fields of the answer if it is a JSON object that names an issuer.
fn document(answer: &Response<SecretBytes>) -> Result<Fields, NoMetadata> {
    let status = answer.status();
    if status.is_redirection() {
        let location = answer.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        return Err(NoMetadata::Redirect {
            location: location.map(displayable),
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

/// Returns an address from an answer in a form that may be shown.
fn displayable(text: &str) -> String {
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
            assert_eq!(metadata_urls(issuer, &url), [first, second]);
        }
    }
}
