//! Transports for tests.
//!
//! `browser` begins sign-ins, `odd` makes arbitrary answers.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod browser;
pub(crate) mod odd;

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use token_rotator_oauth2::{ANSWER_BYTES_MAX, SecretBytes, Transport, TransportError};

type Answer = Result<Response<SecretBytes>, TransportError>;

/// A transport that answers from a list and records its requests.
#[derive(Clone, Default)]
pub(crate) struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<Request<SecretBytes>>>>,
}

impl Script {
    pub(crate) fn answering(status: u16, body: &str) -> Self {
        Self::default().then(Ok(answer(status, body)))
    }

    pub(crate) fn then(self, answer: Answer) -> Self {
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    pub(crate) fn requests(&self) -> Vec<Request<SecretBytes>> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Returns the parameters of the only request, in order.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one request");
        form_urlencoded::parse(requests[0].body().expose())
            .into_owned()
            .collect()
    }
}

impl Transport for Script {
    async fn send(&self, request: Request<SecretBytes>) -> Answer {
        self.requests.lock().unwrap().push(request);
        let next = self.answers.lock().unwrap().pop_front();
        next.expect("no more requests than answers")
    }
}

pub(crate) fn answer(status: u16, body: &str) -> Response<SecretBytes> {
    let mut answer = Response::new(body.to_owned().into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// Returns all that an error may show: `Display` and `Debug` of the error and of its sources.
pub(crate) fn shown(error: &(dyn StdError + 'static)) -> String {
    let mut all = String::new();
    let mut at = Some(error);
    while let Some(error) = at {
        writeln!(all, "{error}\n{error:?}\n{error:#?}").unwrap();
        at = error.source();
    }
    all
}

/// A real client without redirects, retries and pooled connections.
pub(crate) fn sockets() -> impl Transport {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .unwrap();
    move |request: Request<SecretBytes>| {
        let client = client.clone();
        async move {
            let failed = |error: reqwest::Error| {
                if error.is_connect() || error.is_builder() {
                    TransportError::not_sent(error.without_url())
                } else {
                    TransportError::maybe_sent(error.without_url())
                }
            };
            let request = request.map(SecretBytes::into_bytes);
            let request = reqwest::Request::try_from(request).map_err(failed)?;
            let mut answer = client.execute(request).await.map_err(failed)?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                body.extend_from_slice(&chunk);
                if body.len() > ANSWER_BYTES_MAX {
                    return Err(TransportError::answer_too_long());
                }
            }
            let mut whole = Response::new(body.into());
            *whole.status_mut() = answer.status();
            *whole.headers_mut() = answer.headers().clone();
            Ok(whole)
        }
    }
}
