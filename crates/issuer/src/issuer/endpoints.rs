//! Routes of the issuer, and its metadata (RFC 8414).

use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::issuer::IssuerShared;
use crate::issuer::token_endpoint::DEVICE_CODE;
use crate::response::{self, HttpResponse};
use crate::server::RequestHandler;
use crate::server::connection::Connection;

impl RequestHandler for IssuerShared {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> HttpResponse {
        let post = request.method() == Method::POST;
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/authorize" if request.method() == Method::GET => self.authorize(request.uri()),
            "/device_authorization" if post => self.device_authorization(request).await,
            "/device" if get || post => self.device(request).await,
            "/token" if post => self.token(request, &connection).await,
            "/revoke" if post => self.revoke(request).await,
            "/introspect" if post => self.introspect(request).await,
            "/login" if post => self.login(request).await,
            "/api/auth/refresh" if post => self.cookie_refresh(request, &connection).await,
            "/logout" if post => self.logout(&request),
            "/counters" if get => {
                response::json(StatusCode::OK, &json!(self.database().counters()))
            }
            "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration"
                if get =>
            {
                response::json(StatusCode::OK, &self.metadata())
            }
            "/device" => method_not_allowed("GET, HEAD, POST"),
            "/device_authorization"
            | "/token"
            | "/revoke"
            | "/introspect"
            | "/login"
            | "/api/auth/refresh"
            | "/logout" => method_not_allowed("POST"),
            "/authorize" => method_not_allowed("GET"),
            "/counters"
            | "/.well-known/oauth-authorization-server"
            | "/.well-known/openid-configuration" => method_not_allowed("GET, HEAD"),
            _ => response::json(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
        }
    }
}

impl IssuerShared {
    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.url);
        let client_authentication = json!(["client_secret_basic", "client_secret_post", "none"]);
        json!({
            "issuer": self.url,
            "authorization_endpoint": at("/authorize"),
            "device_authorization_endpoint": at("/device_authorization"),
            "token_endpoint": at("/token"),
            "revocation_endpoint": at("/revoke"),
            "introspection_endpoint": at("/introspect"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "authorization_response_iss_parameter_supported": true,
            "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": [
                "authorization_code",
                DEVICE_CODE,
                "refresh_token",
                "client_credentials",
                "password",
            ],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256"],
            "token_endpoint_auth_methods_supported": client_authentication,
            "revocation_endpoint_auth_methods_supported": client_authentication,
            "introspection_endpoint_auth_methods_supported": client_authentication,
        })
    }
}

fn method_not_allowed(methods: &'static str) -> HttpResponse {
    let mut response = response::empty(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}
