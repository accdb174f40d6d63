//! Registered clients and their authentication (RFC 6749 section 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

use crate::issuer::form::{FormParameters, decode_component};
use crate::issuer::refusal::Refusal;

/// The clients of an issuer.
#[derive(Clone, Default)]
pub(super) struct RegisteredClients {
    registered: Vec<RegisteredClient>,
    /// Pairs of client id and redirect URI.
    redirect_uris: Vec<(String, String)>,
}

#[derive(Clone)]
pub(super) struct RegisteredClient {
    pub(super) id: String,
    secret: Option<String>,
}

impl RegisteredClients {
    pub(super) fn register(&mut self, id: &str, secret: Option<&str>) {
        self.registered.push(RegisteredClient {
            id: id.to_owned(),
            secret: secret.map(str::to_owned),
        });
    }

    pub(super) fn register_redirect_uri(&mut self, id: &str, uri: &str) {
        self.redirect_uris.push((id.to_owned(), uri.to_owned()));
    }

    pub(super) fn or_default_client(mut self) -> Self {
        if self.registered.is_empty() {
            self.register("demo", None);
        }
        self
    }

    /// Returns the id of the client that first-party sessions belong to.
    pub(super) fn first(&self) -> &str {
        &self.registered[0].id
    }

    pub(super) fn find(&self, id: &str) -> Option<&RegisteredClient> {
        self.registered.iter().find(|client| client.id == id)
    }

    /// Returns whether the client may receive a code at `uri`. The URI must equal a registered URI. The port of a
    /// loopback address may differ (RFC 8252 section 7.3).
    pub(super) fn may_redirect(&self, client: &RegisteredClient, uri: &str) -> bool {
        let registered_uris = self.redirect_uris.iter().filter(|(id, _)| *id == client.id);
        let mut registered_uris = registered_uris
            .map(|(_, registered)| registered.as_str())
            .peekable();
        if registered_uris.peek().is_none() {
            return local_host_and_path(uri, &["127.0.0.1", "[::1]", "localhost"]).is_some();
        }
        let loopback = |uri| local_host_and_path(uri, &["127.0.0.1", "[::1]"]);
        registered_uris.any(|registered| {
            registered == uri
                || loopback(registered).is_some_and(|location| loopback(uri) == Some(location))
        })
    }

    /// Authenticates the client of a form: by basic authentication, by parameters, or by `client_id` alone if it is
    /// public.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &FormParameters,
    ) -> Result<&RegisteredClient, Refusal> {
        let (id, secret, by_header) = match basic_credentials(headers)? {
            Some(_) if form.get("client_secret").is_some() => {
                return Err(Refusal::Request(
                    "more than one way of client authentication",
                ));
            }
            Some((id, secret)) => {
                if form
                    .get("client_id")
                    .is_some_and(|client_id| client_id != id)
                {
                    return Err(Refusal::Request(
                        "client_id differs from the authenticated client",
                    ));
                }
                (id, Some(secret), true)
            }
            None => {
                let id = form
                    .get("client_id")
                    .ok_or(Refusal::Client { by_header: false })?;
                (
                    id.to_owned(),
                    form.get("client_secret").map(str::to_owned),
                    false,
                )
            }
        };
        self.registered
            .iter()
            .find(|client| client.id == id && client.accepts(secret.as_deref()))
            .ok_or(Refusal::Client { by_header })
    }
}

impl RegisteredClient {
    pub(super) fn is_confidential(&self) -> bool {
        self.secret.is_some()
    }

    fn accepts(&self, secret: Option<&str>) -> bool {
        // A public client may send an empty secret (RFC 6749 section 2.3.1).
        self.secret.as_deref().unwrap_or_default() == secret.unwrap_or_default()
    }
}

impl std::fmt::Debug for RegisteredClients {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.registered.iter().map(|client| &client.id))
            .finish()
    }
}

/// Returns host and path of an `http` URI with one of these hosts and any port.
fn local_host_and_path(uri: &str, hosts: &[&str]) -> Option<(String, String)> {
    let has_no_fragment = !uri.contains('#');
    let uri: Uri = uri.parse().ok().filter(|_| has_no_fragment)?;
    let (host, path) = (uri.host()?, uri.path_and_query()?);
    let authority = uri.authority()?.as_str();
    let is_local = uri.scheme_str() == Some("http") && hosts.contains(&host);
    (is_local && !authority.contains('@')).then(|| (host.to_owned(), path.to_string()))
}

/// Returns client id and secret of a basic `Authorization`, each form-urlencoded (RFC 6749 section 2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, String)>, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let refusal = Refusal::Client { by_header: true };
    let credentials = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, credentials)| STANDARD.decode(credentials.trim()).ok())
        .and_then(|credentials| String::from_utf8(credentials).ok());
    match credentials
        .as_deref()
        .and_then(|credentials| credentials.split_once(':'))
    {
        Some((id, secret)) => Ok(Some((decode_component(id), decode_component(secret)))),
        None => Err(refusal),
    }
}
