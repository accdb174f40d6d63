//! Registered clients and how they authenticate (RFC 6749 section 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

use crate::issuer::form::{Form, decode_component};
use crate::issuer::refusal::Refusal;

/// The clients an issuer knows.
#[derive(Clone, Default)]
pub(super) struct Clients {
    registered: Vec<Client>,
    /// Client and redirect URI.
    redirect_uris: Vec<(String, String)>,
}

#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: String,
    secret: Option<String>,
}

impl Clients {
    pub(super) fn register(&mut self, id: &str, secret: Option<&str>) {
        self.registered.push(Client {
            id: id.to_owned(),
            secret: secret.map(str::to_owned),
        });
    }

    pub(super) fn register_redirect_uri(&mut self, id: &str, uri: &str) {
        self.redirect_uris.push((id.to_owned(), uri.to_owned()));
    }

    pub(super) fn or_demo(mut self) -> Self {
        if self.registered.is_empty() {
            self.register("demo", None);
        }
        self
    }

    /// The client that first-party sessions belong to.
    pub(super) fn first(&self) -> &str {
        &self.registered[0].id
    }

    pub(super) fn named(&self, id: &str) -> Option<&Client> {
        self.registered.iter().find(|client| client.id == id)
    }

    /// Whether the client may be sent a code there: letter by letter, but for the port of a loopback address (RFC 8252
    /// section 7.3).
    pub(super) fn may_redirect(&self, client: &Client, uri: &str) -> bool {
        let own = self.redirect_uris.iter().filter(|(id, _)| *id == client.id);
        let mut own = own.map(|(_, registered)| registered.as_str()).peekable();
        if own.peek().is_none() {
            return on_this_machine(uri, &["127.0.0.1", "[::1]", "localhost"]).is_some();
        }
        let loopback = |uri| on_this_machine(uri, &["127.0.0.1", "[::1]"]);
        own.any(|registered| {
            registered == uri
                || loopback(registered).is_some_and(|place| loopback(uri) == Some(place))
        })
    }

    /// Finds out which client sent the form: by basic authentication, by parameters, or by its name alone if public.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<&Client, Refusal> {
        let (id, secret, by_header) = match basic_credentials(headers)? {
            Some(_) if form.get("client_secret").is_some() => {
                return Err(Refusal::request(
                    "more than one way of client authentication",
                ));
            }
            Some((id, secret)) => {
                if form.get("client_id").is_some_and(|named| named != id) {
                    return Err(Refusal::request(
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

impl Client {
    pub(super) fn is_confidential(&self) -> bool {
        self.secret.is_some()
    }

    fn accepts(&self, secret: Option<&str>) -> bool {
        // An empty secret may be left out (RFC 6749 section 2.3.1), so a public client may also send it.
        self.secret.as_deref().unwrap_or_default() == secret.unwrap_or_default()
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.registered.iter().map(|client| &client.id))
            .finish()
    }
}

/// Host and path of an `http` address with one of these hosts, whatever its port.
fn on_this_machine(uri: &str, hosts: &[&str]) -> Option<(String, String)> {
    let whole = !uri.contains('#');
    let uri: Uri = uri.parse().ok().filter(|_| whole)?;
    let (host, path) = (uri.host()?, uri.path_and_query()?);
    let authority = uri.authority()?.as_str();
    let known = uri.scheme_str() == Some("http") && hosts.contains(&host);
    (known && !authority.contains('@')).then(|| (host.to_owned(), path.to_string()))
}

/// Name and secret from a basic `Authorization`, each form-urlencoded (RFC 6749 section 2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, String)>, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let refused = Refusal::Client { by_header: true };
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
        None => Err(refused),
    }
}
