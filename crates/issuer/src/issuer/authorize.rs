//! `GET /authorize`: signs the user in without a page, and redirects at once.

use std::sync::atomic::Ordering;

use http::{StatusCode, Uri};

use crate::issuer::IssuerShared;
use crate::issuer::client::RegisteredClient;
use crate::issuer::database::Authorization;
use crate::issuer::form::FormParameters;
use crate::response::{self, HttpResponse};

/// The user of a sign-in that names no user.
pub(super) const DEFAULT_USER: &str = "alice";

impl IssuerShared {
    pub(super) fn authorize(&self, uri: &Uri) -> HttpResponse {
        let Ok(query) = FormParameters::parse(uri.query().unwrap_or_default().as_bytes()) else {
            return page("a parameter is repeated");
        };
        // RFC 6749 section 4.1.2.1: an unregistered address gets no redirect.
        let Some(client) = query.get("client_id").and_then(|id| self.clients.find(id)) else {
            return page("unknown client_id");
        };
        let Some(redirect_uri) = query.get("redirect_uri") else {
            return page("redirect_uri is missing");
        };
        if !self.clients.may_redirect(client, redirect_uri) {
            return page("the redirect_uri is not registered for this client");
        }
        let parameters = match self.authorize_client(client, redirect_uri, &query) {
            Ok(code) => vec![("code", code)],
            Err((error, description)) => vec![
                ("error", error.to_owned()),
                ("error_description", description.to_owned()),
            ],
        };
        let mut query_string = form_urlencoded::Serializer::new(String::new());
        query_string.extend_pairs(parameters);
        if let Some(state) = query.get("state") {
            query_string.append_pair("state", state);
        }
        // RFC 9207 section 2.
        query_string.append_pair("iss", &self.url);
        let separator = if redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{redirect_uri}{separator}{}", query_string.finish());
        response::no_store(response::redirect(StatusCode::FOUND, &location))
    }

    /// Returns an authorization code, or an error code and its description.
    fn authorize_client(
        &self,
        client: &RegisteredClient,
        redirect_uri: &str,
        query: &FormParameters,
    ) -> Result<String, (&'static str, &'static str)> {
        if query.get("response_type") != Some("code") {
            return Err(("unsupported_response_type", "the response_type is not code"));
        }
        if query
            .get("response_mode")
            .is_some_and(|mode| mode != "query")
        {
            return Err(("invalid_request", "the response_mode is not query"));
        }
        let challenge = query.get("code_challenge");
        if challenge.is_none() && !client.is_confidential() {
            return Err((
                "invalid_request",
                "a public client must send a code_challenge",
            ));
        }
        if challenge.is_some_and(|challenge| {
            challenge.len() != 43 || query.get("code_challenge_method") != Some("S256")
        }) {
            return Err((
                "invalid_request",
                "the code_challenge is not an S256 challenge",
            ));
        }
        if query.has("deny") || self.deny_sign_ins.load(Ordering::Relaxed) {
            return Err(("access_denied", "the user denied the request"));
        }
        let requested = query.requested_access();
        let authorization = Authorization {
            client: client.id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.map(str::to_owned),
            subject: query.get("login_hint").unwrap_or(DEFAULT_USER).to_owned(),
            scope: requested.scope.map(str::to_owned),
            audience: requested.audience.map(str::to_owned),
            nonce: query.get("nonce").map(str::to_owned),
        };
        let now = self.clock.now();
        Ok(self.database().authorize(authorization, now))
    }
}

/// Builds the page that the user sees if the issuer must not redirect.
fn page(mistake: &str) -> HttpResponse {
    let text = format!("The sign-in cannot begin: {mistake}.\n");
    response::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", text)
}
