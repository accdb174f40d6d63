//! `GET /authorize`: signs the user in without a page, and redirects at once.

use std::sync::atomic::Ordering;

use http::{StatusCode, Uri};

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::issuer::client::Client;
use crate::issuer::form::Form;
use crate::issuer::ledger::Authorization;

/// Who signs in where nobody is named.
pub(super) const USER: &str = "alice";

impl IssuerShared {
    pub(super) fn authorize(&self, uri: &Uri) -> Answer {
        let Ok(query) = Form::parse(uri.query().unwrap_or_default().as_bytes()) else {
            return page("a parameter is repeated");
        };
        // Nobody is sent to an address that the client has not registered (RFC 6749 section 4.1.2.1).
        let Some(client) = query.get("client_id").and_then(|id| self.clients.named(id)) else {
            return page("unknown client_id");
        };
        let Some(redirect_uri) = query.get("redirect_uri") else {
            return page("redirect_uri is missing");
        };
        if !self.clients.may_redirect(client, redirect_uri) {
            return page("the redirect_uri is not registered for this client");
        }
        let said = match self.allow(client, redirect_uri, &query) {
            Ok(code) => vec![("code", code)],
            Err((error, description)) => vec![
                ("error", error.to_owned()),
                ("error_description", description.to_owned()),
            ],
        };
        let mut answer = form_urlencoded::Serializer::new(String::new());
        answer.extend_pairs(said);
        if let Some(state) = query.get("state") {
            answer.append_pair("state", state);
        }
        // RFC 9207 section 2.
        answer.append_pair("iss", &self.url);
        let joint = if redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{redirect_uri}{joint}{}", answer.finish());
        answer::no_store(answer::redirect(StatusCode::FOUND, &location))
    }

    /// A code, or an error code and its description.
    fn allow(
        &self,
        client: &Client,
        redirect_uri: &str,
        query: &Form,
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
                "a public client has to send a code_challenge",
            ));
        }
        if challenge.is_some_and(|challenge| challenge.len() != 43)
            || (challenge.is_some() && query.get("code_challenge_method") != Some("S256"))
        {
            return Err(("invalid_request", "the code_challenge is not one by S256"));
        }
        if query.has("deny") || self.denies.load(Ordering::Relaxed) {
            return Err(("access_denied", "the user said no"));
        }
        let own = |name| query.get(name).map(str::to_owned);
        let authorization = Authorization {
            client: client.id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.map(str::to_owned),
            subject: own("login_hint").unwrap_or_else(|| USER.to_owned()),
            scope: own("scope"),
            audience: own("audience").or_else(|| own("resource")),
            nonce: own("nonce"),
        };
        let now = self.clock.now();
        Ok(self.ledger().authorize(authorization, now))
    }
}

/// What a user sees where nobody may be redirected.
fn page(mistake: &str) -> Answer {
    let text = format!("The sign-in cannot begin: {mistake}.\n");
    answer::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", text)
}
