//! Sessions in an httpOnly cookie: `POST /login`, `POST /api/auth/refresh`, `POST /logout`.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::issuer::form::read_body;
use crate::issuer::ledger::{Asked, Issued, Ledger, Redemption};
use crate::issuer::refresh::Exchange;
use crate::issuer::refusal::Refusal;
use crate::server::connection::Connection;

impl IssuerShared {
    pub(crate) async fn login(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let body = match read_body(request).await {
            Ok(body) => body,
            Err(refusal) => return refusal.answer(),
        };
        let Ok(login) = serde_json::from_slice::<Login>(&body) else {
            return Refusal::request("not a JSON object with user and password").answer();
        };
        let now = self.clock.now();
        let outcome = login.redeem(&self, &mut self.ledger(), now);
        self.answer_exchange(&login, outcome, None)
    }

    pub(crate) async fn cookie_refresh(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Answer {
        self.ledger().count_token_request();
        let refresh_token = cookie(request.headers());
        // A client sends no body here; what comes anyway is read, so that the connection can be used again.
        if let Err(refusal) = read_body(request).await {
            return refusal.answer();
        }
        self.exchange(CookieSession { refresh_token }, connection)
            .await
    }

    pub(crate) fn logout(&self, request: &Request<Incoming>) -> Answer {
        let refresh_token = cookie(request.headers());
        let access_token = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let access_token = access_token.and_then(|value| value.strip_prefix("Bearer "));
        self.ledger()
            .log_out(refresh_token.as_deref(), access_token);
        let mut answer = answer::no_store(answer::empty(StatusCode::NO_CONTENT));
        clear_cookie(&mut answer);
        answer
    }
}

/// A sign-in by password. No gate holds it and no fault meets it.
#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

impl Exchange for Login {
    fn redeem(
        &self,
        shared: &IssuerShared,
        ledger: &mut Ledger,
        now: i64,
    ) -> Result<Issued, Refusal> {
        ledger.login(
            &self.user,
            &self.password,
            shared.clients.first(),
            Asked::default(),
            now,
        )
    }

    fn fields(&self, shared: &IssuerShared, issued: &Issued, lifetime: Option<Value>) -> Value {
        session_fields(shared, issued, lifetime)
    }

    fn decorate(&self, issued: &Issued, answer: &mut Answer) {
        set_cookie(issued, answer);
    }

    fn refuse(&self, refusal: &Refusal) -> Answer {
        unauthorized(refusal)
    }
}

/// A refresh request that carries its token in the cookie.
struct CookieSession {
    refresh_token: Option<String>,
}

impl Exchange for CookieSession {
    fn redeem(&self, _: &IssuerShared, ledger: &mut Ledger, now: i64) -> Result<Issued, Refusal> {
        let token = self
            .refresh_token
            .as_deref()
            .ok_or(Refusal::Grant("no refresh cookie"))?;
        ledger.redeem(
            Redemption {
                token,
                client: None,
                asked: Asked::default(),
            },
            now,
        )
    }

    fn fields(&self, shared: &IssuerShared, issued: &Issued, lifetime: Option<Value>) -> Value {
        session_fields(shared, issued, lifetime)
    }

    fn decorate(&self, issued: &Issued, answer: &mut Answer) {
        set_cookie(issued, answer);
    }

    fn refuse(&self, refusal: &Refusal) -> Answer {
        let mut answer = unauthorized(refusal);
        clear_cookie(&mut answer);
        answer
    }
}

fn session_fields(shared: &IssuerShared, issued: &Issued, lifetime: Option<Value>) -> Value {
    let mut fields = json!({
        "accessToken": issued.access_token,
        "wsToken": shared.ledger().socket_token(),
    });
    if let Some(lifetime) = lifetime {
        fields["expiresIn"] = lifetime;
    }
    fields
}

/// First-party endpoints say 401 where the token endpoint says 400.
fn unauthorized(refusal: &Refusal) -> Answer {
    let mut answer = refusal.answer();
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    answer
}

fn set_cookie(issued: &Issued, answer: &mut Answer) {
    if let Some(refresh_token) = &issued.refresh_token {
        let cookie =
            format!("refresh_token={refresh_token}; Path=/api/auth; HttpOnly; SameSite=Lax");
        // The prefix was checked at the start, the rest is hexadecimal.
        if let Ok(mut value) = HeaderValue::try_from(cookie) {
            value.set_sensitive(true);
            answer.headers_mut().append(SET_COOKIE, value);
        }
    }
}

fn clear_cookie(answer: &mut Answer) {
    let cleared = HeaderValue::from_static(
        "refresh_token=; Path=/api/auth; HttpOnly; SameSite=Lax; Max-Age=0",
    );
    answer.headers_mut().append(SET_COOKIE, cleared);
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
