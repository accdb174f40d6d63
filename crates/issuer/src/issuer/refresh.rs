//! The way of a refresh request: gate, fault, ledger, answer. Both endpoints take it.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::issuer::fault::Fault;
use crate::issuer::ledger::{Issued, Ledger};
use crate::issuer::refusal::Refusal;
use crate::server::connection::Connection;

/// What a refresh endpoint does with the ledger, and how it words its answer.
pub(super) trait Exchange: Send + Sync + 'static {
    /// Presents the request's credentials to the ledger; `now` is the issuer's clock.
    fn redeem(
        &self,
        shared: &IssuerShared,
        ledger: &mut Ledger,
        now: i64,
    ) -> Result<Issued, Refusal>;
    /// The fields of the answer; `lifetime` is what to announce, if anything.
    fn fields(&self, shared: &IssuerShared, issued: &Issued, lifetime: Option<Value>) -> Value;
    /// Sets what the answer carries beside its body.
    fn decorate(&self, issued: &Issued, answer: &mut Answer);
    /// The answer to a refusal.
    fn refuse(&self, refusal: &Refusal) -> Answer;
}

/// How a refresh request ends.
enum End {
    Answer(Answer),
    /// Never, with the guard that counts it as in flight.
    Hang(InFlight),
    Close,
    Reset,
}

impl IssuerShared {
    /// Takes a refresh request to its end, on a task of its own: a client that goes away does not stop the issuer.
    pub(super) async fn exchange(
        self: Arc<Self>,
        exchange: impl Exchange,
        connection: &Connection,
    ) -> Answer {
        let processing = self.tasks.spawn(Arc::clone(&self).process(exchange));
        match processing.await {
            Ok(Some(End::Answer(answer))) => answer,
            Ok(Some(End::Reset)) => connection.reset().await,
            Ok(Some(End::Hang(_in_flight))) => std::future::pending().await,
            // Closed by a fault, by the shutdown, or by a bug that panicked; the latter shows in the test's output.
            Ok(Some(End::Close) | None) | Err(_) => connection.close().await,
        }
    }

    async fn process(self: Arc<Self>, exchange: impl Exchange) -> End {
        let in_flight = InFlight::begin(&self);
        self.gate.pass().await;
        let fault = self.faults.draw();
        match fault {
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::ResetBefore) => return End::Reset,
            Some(Fault::Hang) => return End::Hang(in_flight),
            Some(Fault::Status {
                status,
                ref retry_after,
            }) => return End::Answer(status_only(status, retry_after.as_deref())),
            Some(Fault::ErrorInside200) => return End::Answer(oauth_error(200, "invalid_grant")),
            Some(Fault::OAuthError { status, ref error }) => {
                return End::Answer(oauth_error(status, error));
            }
            Some(Fault::Redirect(ref to)) => {
                return End::Answer(answer::redirect(StatusCode::TEMPORARY_REDIRECT, to));
            }
            Some(Fault::HtmlForbidden) => return End::Answer(html_forbidden()),
            // The others consume first.
            _ => {}
        }
        let outcome = {
            let now = self.clock.now();
            exchange.redeem(&self, &mut self.ledger(), now)
        };
        self.answer_gate.pass().await;
        if !self.answer_delay.is_zero() {
            tokio::time::sleep(self.answer_delay).await;
        }
        match fault {
            Some(Fault::ResetAfter) => End::Reset,
            Some(Fault::AnswerLost) => End::Close,
            fault => End::Answer(self.answer_exchange(&exchange, outcome, fault.as_ref())),
        }
    }

    /// The answer that brings tokens or refuses them, or what a fault makes of it.
    pub(super) fn answer_exchange(
        &self,
        exchange: &impl Exchange,
        outcome: Result<Issued, Refusal>,
        fault: Option<&Fault>,
    ) -> Answer {
        let issued = match outcome {
            Ok(issued) => issued,
            Err(refusal) => return exchange.refuse(&refusal),
        };
        let announced = self
            .announce_lifetime
            .then(|| Value::from(issued.lifetime.as_secs()));
        let (lifetime, token_type) = match fault {
            Some(Fault::WrongExpiry(wrong)) => (Some(wrong.clone()), None),
            Some(Fault::TokenType(other)) => (announced, Some(other.as_str())),
            _ => (announced, None),
        };
        let mut fields = exchange.fields(self, &issued, lifetime);
        if let (Some(other), Some(token_type)) = (token_type, fields.get_mut("token_type")) {
            *token_type = Value::from(other);
        }
        let mut body = fields.to_string();
        match fault {
            Some(Fault::MalformedJson) => body.truncate(body.len() / 2),
            Some(Fault::EmptyBody) => body.clear(),
            _ => {}
        }
        let mut answer = answer::no_store(answer::text(StatusCode::OK, "application/json", body));
        exchange.decorate(&issued, &mut answer);
        answer
    }
}

/// Counts a refresh request as in flight for as long as it lives.
struct InFlight {
    shared: Arc<IssuerShared>,
}

impl InFlight {
    fn begin(shared: &Arc<IssuerShared>) -> Self {
        shared.ledger().refresh_begins();
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.ledger().refresh_ends();
    }
}

fn status_only(status: u16, retry_after: Option<&str>) -> Answer {
    let mut answer = answer::empty(status_code(status));
    if let Some(Ok(value)) = retry_after.map(str::parse) {
        answer
            .headers_mut()
            .insert(http::header::RETRY_AFTER, value);
    }
    answer
}

fn oauth_error(status: u16, error: &str) -> Answer {
    answer::no_store(answer::json(status_code(status), &json!({"error": error})))
}

fn html_forbidden() -> Answer {
    let page = "<!doctype html><title>Forbidden</title><h1>Forbidden</h1><p>Request blocked.</p>";
    answer::text(
        StatusCode::FORBIDDEN,
        "text/html; charset=utf-8",
        page.to_owned(),
    )
}

/// A status that can end a request; 500 stands in for those that cannot.
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| status.as_u16() >= 200)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
