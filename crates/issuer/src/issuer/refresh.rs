//! The path of a refresh request, for both refresh endpoints: gate, fault, token database, response.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::issuer::IssuerShared;
use crate::issuer::database::{IssuedTokens, TokenDatabase};
use crate::issuer::fault::Fault;
use crate::issuer::refusal::Refusal;
use crate::response::{self, HttpResponse};
use crate::server::connection::Connection;

/// A request for tokens: how it is redeemed and how its response is built.
pub(super) trait TokenRequest: Send + Sync + 'static {
    /// Redeems the request's credentials; `now` is the issuer's clock.
    fn redeem(
        &self,
        shared: &IssuerShared,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal>;
    /// Returns the fields of the response. `lifetime` is the announced lifetime, if the issuer announces one.
    fn fields(
        &self,
        shared: &IssuerShared,
        issued: &IssuedTokens,
        lifetime: Option<Value>,
    ) -> Value;
    /// Adds what the response carries beside its body.
    fn decorate(&self, issued: &IssuedTokens, response: &mut HttpResponse);
    /// Returns the response to a refused request.
    fn refuse(&self, refusal: &Refusal) -> HttpResponse;
}

/// How the issuer ends a refresh request.
enum RequestEnd {
    Respond(HttpResponse),
    /// The issuer never responds. The guard keeps counting the request as in flight.
    Hang(RefreshInFlight),
    Close,
    Reset,
}

impl IssuerShared {
    /// Processes a refresh request in its own task: a client that disconnects does not stop the issuer.
    pub(super) async fn serve_token_request(
        self: Arc<Self>,
        token_request: impl TokenRequest,
        connection: &Connection,
    ) -> HttpResponse {
        let processing = self.tasks.spawn(Arc::clone(&self).process(token_request));
        match processing.await {
            Ok(Some(RequestEnd::Respond(response))) => response,
            Ok(Some(RequestEnd::Reset)) => connection.reset().await,
            Ok(Some(RequestEnd::Hang(_in_flight))) => std::future::pending().await,
            // A fault, the shutdown or a panic closed the connection. The panic shows in the output of the test.
            Ok(Some(RequestEnd::Close) | None) | Err(_) => connection.close().await,
        }
    }

    async fn process(self: Arc<Self>, token_request: impl TokenRequest) -> RequestEnd {
        let in_flight = RefreshInFlight::begin(&self);
        self.gate.pass().await;
        let fault = self.faults.draw();
        match fault {
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::ResetBefore) => return RequestEnd::Reset,
            Some(Fault::Hang) => return RequestEnd::Hang(in_flight),
            Some(Fault::Status {
                status,
                ref retry_after,
            }) => return RequestEnd::Respond(status_only(status, retry_after.as_deref())),
            Some(Fault::ErrorInside200) => {
                return RequestEnd::Respond(oauth_error(200, "invalid_grant"));
            }
            Some(Fault::OAuthError { status, ref error }) => {
                return RequestEnd::Respond(oauth_error(status, error));
            }
            Some(Fault::Redirect(ref location)) => {
                return RequestEnd::Respond(response::redirect(
                    StatusCode::TEMPORARY_REDIRECT,
                    location,
                ));
            }
            Some(Fault::Body { status, body }) => {
                return RequestEnd::Respond(given_body(status, body));
            }
            Some(Fault::HtmlForbidden) => return RequestEnd::Respond(html_forbidden()),
            // All other faults consume the refresh token first.
            _ => {}
        }
        let outcome = {
            let now = self.clock.now();
            token_request.redeem(&self, &mut self.database(), now)
        };
        self.answer_gate.pass().await;
        if !self.answer_delay.is_zero() {
            tokio::time::sleep(self.answer_delay).await;
        }
        match fault {
            Some(Fault::ResetAfter) => RequestEnd::Reset,
            Some(Fault::AnswerLost) => RequestEnd::Close,
            fault => {
                RequestEnd::Respond(self.token_response(&token_request, outcome, fault.as_ref()))
            }
        }
    }

    /// Returns the response with tokens or with the refusal, changed by the fault if there is one.
    pub(super) fn token_response(
        &self,
        token_request: &impl TokenRequest,
        outcome: Result<IssuedTokens, Refusal>,
        fault: Option<&Fault>,
    ) -> HttpResponse {
        let issued = match outcome {
            Ok(issued) => issued,
            Err(refusal) => return token_request.refuse(&refusal),
        };
        let announced = self
            .announce_lifetime
            .then(|| Value::from(issued.lifetime.as_secs()));
        let (lifetime, token_type) = match fault {
            Some(Fault::WrongExpiry(wrong)) => (Some(wrong.clone()), None),
            Some(Fault::TokenType(wrong_type)) => (announced, Some(wrong_type.as_str())),
            _ => (announced, None),
        };
        let mut fields = token_request.fields(self, &issued, lifetime);
        if let (Some(wrong_type), Some(token_type)) = (token_type, fields.get_mut("token_type")) {
            *token_type = Value::from(wrong_type);
        }
        let mut body = fields.to_string();
        match fault {
            Some(Fault::MalformedJson) => body.truncate(body.len() / 2),
            Some(Fault::EmptyBody) => body.clear(),
            _ => {}
        }
        let mut response =
            response::no_store(response::text(StatusCode::OK, "application/json", body));
        token_request.decorate(&issued, &mut response);
        response
    }
}

/// Counts a refresh request as in flight until the guard is dropped.
struct RefreshInFlight {
    shared: Arc<IssuerShared>,
}

impl RefreshInFlight {
    fn begin(shared: &Arc<IssuerShared>) -> Self {
        shared.database().refresh_begins();
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for RefreshInFlight {
    fn drop(&mut self) {
        self.shared.database().refresh_ends();
    }
}

fn status_only(status: u16, retry_after: Option<&str>) -> HttpResponse {
    let mut response = response::empty(status_code(status));
    if let Some(Ok(value)) = retry_after.map(str::parse) {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, value);
    }
    response
}

fn oauth_error(status: u16, error: &str) -> HttpResponse {
    response::no_store(response::json(
        status_code(status),
        &json!({"error": error}),
    ))
}

fn given_body(status: u16, body: String) -> HttpResponse {
    let content_type = if body.starts_with('<') {
        "text/html"
    } else {
        "application/json"
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response::text(status, content_type, body)
}

fn html_forbidden() -> HttpResponse {
    let page = "<!doctype html><title>Forbidden</title><h1>Forbidden</h1><p>Request blocked.</p>";
    response::text(
        StatusCode::FORBIDDEN,
        "text/html; charset=utf-8",
        page.to_owned(),
    )
}

/// Converts a number to a final status. Returns 500 for a number below 200 or above 999.
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| status.as_u16() >= 200)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
