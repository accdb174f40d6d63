//! Which path leads where.

use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::server::Handler;
use crate::server::connection::Connection;

impl Handler for IssuerShared {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, connection: Connection) -> Answer {
        let post = request.method() == Method::POST;
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/token" if post => self.token(request, &connection).await,
            "/revoke" if post => self.revoke(request).await,
            "/introspect" if post => self.introspect(request).await,
            "/login" if post => self.login(request).await,
            "/api/auth/refresh" if post => self.cookie_refresh(request, &connection).await,
            "/logout" if post => self.logout(&request),
            "/counters" if get => answer::json(StatusCode::OK, &json!(self.ledger().counters())),
            "/.well-known/oauth-authorization-server" if get => {
                answer::json(StatusCode::OK, &self.metadata())
            }
            "/token" | "/revoke" | "/introspect" | "/login" | "/api/auth/refresh" | "/logout" => {
                only("POST")
            }
            "/counters" | "/.well-known/oauth-authorization-server" => only("GET, HEAD"),
            _ => answer::json(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
        }
    }
}

impl IssuerShared {
    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.url);
        let client_authentication = json!(["client_secret_basic", "client_secret_post", "none"]);
        json!({
            "issuer": self.url,
            "token_endpoint": at("/token"),
            "revocation_endpoint": at("/revoke"),
            "introspection_endpoint": at("/introspect"),
            "response_types_supported": [],
            "grant_types_supported": ["refresh_token", "client_credentials", "password"],
            "token_endpoint_auth_methods_supported": client_authentication,
            "revocation_endpoint_auth_methods_supported": client_authentication,
            "introspection_endpoint_auth_methods_supported": client_authentication,
        })
    }
}

fn only(methods: &'static str) -> Answer {
    let mut answer = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    answer
}
