//! `POST /device_authorization` and the page at `/device` (RFC 8628).

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::issuer::IssuerShared;
use crate::issuer::authorize::DEFAULT_USER;
use crate::issuer::database::{DeviceRequest, RequestedAccess, UserDecision};
use crate::issuer::form::FormParameters;
use crate::issuer::refusal::Refusal;
use crate::response::{self, HttpResponse};

impl IssuerShared {
    pub(super) async fn device_authorization(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> HttpResponse {
        let headers = request.headers().clone();
        let issued = async {
            let form = FormParameters::read(request).await?;
            let client = self.clients.authenticate(&headers, &form)?;
            Ok::<_, Refusal>(self.issue_device_code(&client.id, form.requested_access()))
        };
        match issued.await {
            Ok(fields) => response::no_store(response::json(StatusCode::OK, &fields)),
            Err(refusal) => refusal.response(),
        }
    }

    /// Serves the page where a user enters the user code. The page is plain text for curl.
    pub(super) async fn device(self: Arc<Self>, request: Request<Incoming>) -> HttpResponse {
        let form = if request.method() == Method::POST {
            FormParameters::read(request).await
        } else {
            FormParameters::parse(request.uri().query().unwrap_or_default().as_bytes())
        };
        let Ok(form) = form else {
            return page(StatusCode::BAD_REQUEST, "The request is not a form.");
        };
        let Some(user_code) = form.get("user_code") else {
            let instructions = format!(
                "Enter the code that the device shows: {0}/device?user_code=CODE\n\
                 Sign in as another user with &user=NAME; deny the device with &deny.",
                self.url
            );
            return page(StatusCode::OK, &instructions);
        };
        let user = form.get("user").unwrap_or(DEFAULT_USER);
        let (decision, message) = if form.has("deny") {
            (UserDecision::Denied, "Denied.".to_owned())
        } else {
            let signed_in = format!("Signed in as {user}. The device continues by itself.");
            (UserDecision::Approved(user.to_owned()), signed_in)
        };
        if self.record_decision(user_code, decision) {
            return page(StatusCode::OK, &message);
        }
        page(
            StatusCode::NOT_FOUND,
            "No device waits with this code: it is wrong, was entered before, or has expired.",
        )
    }

    fn issue_device_code(&self, client: &str, requested: RequestedAccess<'_>) -> Value {
        let codes = self.device_codes;
        let request = DeviceRequest {
            client,
            requested,
            lifetime: codes.lifetime,
            interval: codes.interval,
        };
        let now = self.clock.now();
        let (device_code, user_code) = self.database().issue_device_code(&request, now);
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

fn page(status: StatusCode, text: &str) -> HttpResponse {
    let text = format!("{text}\n");
    response::no_store(response::text(status, "text/plain; charset=utf-8", text))
}
