//! Sessions in an httpOnly cookie: `POST /login`, `POST /api/auth/refresh`, `POST /logout`.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::issuer::IssuerShared;
use crate::issuer::database::{IssuedTokens, Redemption, RequestedAccess, TokenDatabase};
use crate::issuer::form::read_body;
use crate::issuer::refresh::TokenRequest;
use crate::issuer::refusal::Refusal;
use crate::response::{self, HttpResponse};
use crate::server::connection::Connection;

impl IssuerShared {
    pub(crate) async fn login(self: Arc<Self>, request: Request<Incoming>) -> HttpResponse {
        let body = match read_body(request).await {
            Ok(body) => body,
            Err(refusal) => return refusal.response(),
        };
        let Ok(login) = serde_json::from_slice::<Login>(&body) else {
            return Refusal::Request("not a JSON object with user and password").response();
        };
        let now = self.clock.now();
        let result = login.redeem(&self, &mut self.database(), now);
        self.token_response(&login, result, None)
    }

    pub(crate) async fn cookie_refresh(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> HttpResponse {
        self.database().count_token_request();
        let refresh_token = cookie(request.headers());
        // Clients send no body here. The issuer reads any body, so that the connection can be reused.
        if let Err(refusal) = read_body(request).await {
            return refusal.response();
        }
        self.serve_token_request(CookieRefresh { refresh_token }, connection)
            .await
    }

    pub(crate) fn logout(&self, request: &Request<Incoming>) -> HttpResponse {
        let refresh_token = cookie(request.headers());
        let access_token = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let access_token = access_token.and_then(|value| value.strip_prefix("Bearer "));
        self.database()
            .log_out(refresh_token.as_deref(), access_token);
        let mut response = response::no_store(response::empty(StatusCode::NO_CONTENT));
        clear_cookie(&mut response);
        response
    }
}

/// A sign-in by password. It passes no gate and draws no fault.
#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

impl TokenRequest for Login {
    fn redeem(
        &self,
        shared: &IssuerShared,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        database.login(
            &self.user,
            &self.password,
            shared.clients.first(),
            RequestedAccess::default(),
            now,
        )
    }

    fn fields(
        &self,
        shared: &IssuerShared,
        issued: &IssuedTokens,
        lifetime: Option<Value>,
    ) -> Value {
        session_fields(shared, issued, lifetime)
    }

    fn decorate(&self, issued: &IssuedTokens, response: &mut HttpResponse) {
        set_cookie(issued, response);
    }

    fn refuse(&self, refusal: &Refusal) -> HttpResponse {
        unauthorized(refusal)
    }
}

/// A refresh request that carries its refresh token in the cookie.
struct CookieRefresh {
    refresh_token: Option<String>,
}

impl TokenRequest for CookieRefresh {
    fn redeem(
        &self,
        _: &IssuerShared,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        let token = self
            .refresh_token
            .as_deref()
            .ok_or(Refusal::Grant("no refresh cookie"))?;
        database.redeem(
            Redemption {
                token,
                client: None,
                requested: RequestedAccess::default(),
            },
            now,
        )
    }

    fn fields(
        &self,
        shared: &IssuerShared,
        issued: &IssuedTokens,
        lifetime: Option<Value>,
    ) -> Value {
        session_fields(shared, issued, lifetime)
    }

    fn decorate(&self, issued: &IssuedTokens, response: &mut HttpResponse) {
        set_cookie(issued, response);
    }

    fn refuse(&self, refusal: &Refusal) -> HttpResponse {
        let mut response = unauthorized(refusal);
        clear_cookie(&mut response);
        response
    }
}

fn session_fields(shared: &IssuerShared, issued: &IssuedTokens, lifetime: Option<Value>) -> Value {
    let mut fields = json!({
        "accessToken": issued.access_token,
        "wsToken": shared.database().socket_token(),
    });
    if let Some(lifetime) = lifetime {
        fields["expiresIn"] = lifetime;
    }
    fields
}

/// Builds a refusal with status 401. First-party endpoints respond with 401 where the token endpoint responds with 400.
fn unauthorized(refusal: &Refusal) -> HttpResponse {
    let mut response = refusal.response();
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

fn set_cookie(issued: &IssuedTokens, response: &mut HttpResponse) {
    if let Some(refresh_token) = &issued.refresh_token {
        let cookie =
            format!("refresh_token={refresh_token}; Path=/api/auth; HttpOnly; SameSite=Lax");
        // Cannot fail: `IssuerBuilder::start` checks the prefix, and the rest is hexadecimal.
        if let Ok(mut value) = HeaderValue::try_from(cookie) {
            value.set_sensitive(true);
            response.headers_mut().append(SET_COOKIE, value);
        }
    }
}

fn clear_cookie(response: &mut HttpResponse) {
    let cleared = HeaderValue::from_static(
        "refresh_token=; Path=/api/auth; HttpOnly; SameSite=Lax; Max-Age=0",
    );
    response.headers_mut().append(SET_COOKIE, cleared);
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let value = pairs
        .flat_map(|pairs| pairs.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("refresh_token="));
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}
