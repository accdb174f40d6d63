//! `POST /device_authorization` and the page at `/device` (RFC 8628).

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::issuer::authorize::USER;
use crate::issuer::form::Form;
use crate::issuer::ledger::{Asked, Decision, DeviceRequest};
use crate::issuer::refusal::Refusal;

impl IssuerShared {
    pub(super) async fn device_authorization(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Answer {
        let headers = request.headers().clone();
        let given = async {
            let form = Form::read(request).await?;
            let client = self.clients.authenticate(&headers, &form)?;
            let asked = Asked {
                scope: form.get("scope"),
                audience: form.get("audience").or_else(|| form.get("resource")),
            };
            Ok::<_, Refusal>(self.give_device(&client.id, asked))
        };
        match given.await {
            Ok(fields) => answer::no_store(answer::json(StatusCode::OK, &fields)),
            Err(refusal) => refusal.answer(),
        }
    }

    /// The page where a user enters the code, made for curl: there is nothing to click.
    pub(super) async fn device(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let form = if request.method() == Method::POST {
            Form::read(request).await
        } else {
            Form::parse(request.uri().query().unwrap_or_default().as_bytes())
        };
        let Ok(form) = form else {
            return page(StatusCode::BAD_REQUEST, "This is no form.");
        };
        let Some(user_code) = form.get("user_code") else {
            let how = format!(
                "Enter the code that the device shows: {0}/device?user_code=CODE\n\
                 Sign in as somebody else with &user=NAME, say no with &deny.",
                self.url
            );
            return page(StatusCode::OK, &how);
        };
        let user = form.get("user").unwrap_or(USER);
        let (decision, done) = if form.has("deny") {
            (Decision::Denied, "Denied.".to_owned())
        } else {
            let signed_in = format!("Signed in as {user}. The device goes on by itself.");
            (Decision::Approved(user.to_owned()), signed_in)
        };
        if self.decide(user_code, decision) {
            return page(StatusCode::OK, &done);
        }
        page(
            StatusCode::NOT_FOUND,
            "No device waits with this code: it is wrong, was entered before, or has expired.",
        )
    }

    fn give_device(&self, client: &str, asked: Asked<'_>) -> Value {
        let codes = self.device_codes;
        let request = DeviceRequest {
            client,
            asked,
            lifetime: codes.lifetime,
            interval: codes.interval,
        };
        let now = self.clock.now();
        let (device_code, user_code) = self.ledger().give_device(&request, now);
        json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": format!("{}/device", self.url),
            "verification_uri_complete": format!("{}/device?user_code={user_code}", self.url),
            "expires_in": codes.lifetime.as_secs(),
            "interval": codes.interval.as_millis().div_ceil(1000) as u64,
        })
    }
}

fn page(status: StatusCode, text: &str) -> Answer {
    let text = format!("{text}\n");
    answer::no_store(answer::text(status, "text/plain; charset=utf-8", text))
}
