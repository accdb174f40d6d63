//! Routes of the upstream, and the access check in front of them.

use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use crate::response::{self, HttpResponse, PatternBody};
use crate::server::RequestHandler;
use crate::server::connection::Connection;
use crate::upstream::bearer::PresentedToken;
use crate::upstream::echo::{self, BodyDigest};
use crate::upstream::record::RequestRecord;
use crate::upstream::{UpstreamShared, grpc, query};

impl RequestHandler for UpstreamShared {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> HttpResponse {
        let issuer = Arc::clone(&self.issuer);
        match request.uri().path() {
            "/login" if request.method() == Method::POST => issuer.login(request).await,
            "/api/auth/refresh" if request.method() == Method::POST => {
                issuer.cookie_refresh(request, &connection).await
            }
            "/logout" if request.method() == Method::POST => issuer.logout(&request),
            "/__counters" if matches!(*request.method(), Method::GET | Method::HEAD) => {
                let (issuer, upstream) = (issuer.counters(), self.request_log.counters());
                let counters = json!({"issuer": issuer, "upstream": upstream});
                response::no_store(response::json(StatusCode::OK, &counters))
            }
            _ => self.protected(request, connection.number()).await,
        }
    }
}

/// A response, and whether the upstream accepted the request.
enum AccessOutcome {
    Accepted(HttpResponse),
    Refused(HttpResponse),
}

impl UpstreamShared {
    async fn protected(&self, request: Request<Incoming>, connection: u64) -> HttpResponse {
        let arrived = self.started.elapsed();
        let _in_flight = self.request_log.begin();
        let (head, body) = request.into_parts();
        self.gate.pass().await;
        let presented = match header_route(head.uri.path()) {
            Some(name) => PresentedToken::in_header(&head.headers, &name, &self.issuer),
            None => PresentedToken::as_bearer(&head.headers, &self.issuer),
        };
        let request_id = head
            .headers
            .get("x-request-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let path = head.uri.path().to_owned();
        let outcome = self.route(head, body, &presented).await;
        let (accepted, response) = match outcome {
            AccessOutcome::Accepted(response) => (true, response),
            AccessOutcome::Refused(response) => (false, response),
        };
        let answered = self.started.elapsed();
        let (generation, status) = (presented.generation(), response.status().as_u16());
        self.request_log.answered(
            accepted,
            RequestRecord {
                arrived,
                answered,
                path,
                connection,
                request_id,
                generation,
                status,
            },
        );
        response
    }

    async fn route(
        &self,
        head: Parts,
        body: Incoming,
        presented: &PresentedToken,
    ) -> AccessOutcome {
        let path = head.uri.path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        // Routes that need no token, and routes that refuse in their own way.
        match segments[..] {
            ["open", "echo"] => {
                return AccessOutcome::Accepted(self.echo(&head, body, presented).await);
            }
            ["status", code, "open"] => {
                return AccessOutcome::Accepted(with_status(code, body).await);
            }
            ["grpc", "ok"] => return AccessOutcome::Accepted(grpc_ok(body).await),
            ["always-401"] => return AccessOutcome::Refused(self.refuse(body, presented).await),
            ["challenge"] => return self.challenge(&head.uri, body, presented).await,
            ["long-401", length] if !presented.is_valid() => {
                return self.long_refusal(length, body, presented).await;
            }
            ["slow-401"] if !presented.is_valid() => {
                echo::drain(body).await;
                self.slow_gate.pass().await;
                return AccessOutcome::Refused(presented.refusal(&self.realm));
            }
            ["custom-419"] if !presented.is_valid() => {
                echo::drain(body).await;
                let status = StatusCode::from_u16(419).unwrap_or(StatusCode::UNAUTHORIZED);
                return AccessOutcome::Refused(response::json(
                    status,
                    &json!({"error": "token_expired"}),
                ));
            }
            ["custom-body-code"] if !presented.is_valid() => {
                echo::drain(body).await;
                return AccessOutcome::Refused(response::json(
                    StatusCode::OK,
                    &json!({"code": "TOKEN_EXPIRED"}),
                ));
            }
            ["grpc", "unauthenticated"] if !presented.is_valid() => {
                echo::drain(body).await;
                return AccessOutcome::Refused(grpc::unauthenticated());
            }
            ["grpc", "late-unauthenticated"] if !presented.is_valid() => {
                echo::drain(body).await;
                return AccessOutcome::Refused(grpc::late_unauthenticated());
            }
            _ if !presented.is_valid() => {
                return AccessOutcome::Refused(self.refuse(body, presented).await);
            }
            _ => {}
        }
        let get = matches!(head.method, Method::GET | Method::HEAD);
        AccessOutcome::Accepted(match segments[..] {
            ["echo"] | ["header", _, "echo"] => self.echo(&head, body, presented).await,
            ["upload"] if head.method == Method::POST => upload(body).await,
            ["download", length] if get => download(length),
            ["status", code] => with_status(code, body).await,
            ["redirect", "same" | "to"] => {
                echo::drain(body).await;
                redirect(&head.uri, segments[1])
            }
            ["custom-body-code"] => {
                echo::drain(body).await;
                response::json(StatusCode::OK, &json!({"code": "OK"}))
            }
            ["slow-401" | "custom-419"] | ["long-401", _] => {
                echo::drain(body).await;
                response::json(
                    StatusCode::OK,
                    &json!({"generation": presented.generation()}),
                )
            }
            ["grpc", "unauthenticated" | "late-unauthenticated"] => grpc_ok(body).await,
            _ => {
                echo::drain(body).await;
                response::json(StatusCode::NOT_FOUND, &json!({"error": "not_found"}))
            }
        })
    }

    async fn echo(&self, head: &Parts, body: Incoming, presented: &PresentedToken) -> HttpResponse {
        match BodyDigest::read(body).await {
            Some(digest) => echo::describe(head, &digest, presented, &self.issuer),
            None => incomplete_body(),
        }
    }

    async fn refuse(&self, body: Incoming, presented: &PresentedToken) -> HttpResponse {
        echo::drain(body).await;
        presented.refusal(&self.realm)
    }

    async fn long_refusal(
        &self,
        length: &str,
        body: Incoming,
        presented: &PresentedToken,
    ) -> AccessOutcome {
        let response_body = match length.parse() {
            Ok(length) => PatternBody::unannounced(length),
            Err(_) if length == "endless" => PatternBody::unannounced(u64::MAX),
            Err(_) => return AccessOutcome::Accepted(bad_request("not a length")),
        };
        let refusal = self.refuse(body, presented).await;
        AccessOutcome::Refused(refusal.map(|_| response_body.boxed()))
    }

    async fn challenge(
        &self,
        uri: &Uri,
        body: Incoming,
        presented: &PresentedToken,
    ) -> AccessOutcome {
        let when = query::first(uri, "when");
        match (when.as_deref(), presented.is_valid()) {
            (Some("bad"), true) => {
                echo::drain(body).await;
                let described = json!({"generation": presented.generation()});
                return AccessOutcome::Accepted(response::json(StatusCode::OK, &described));
            }
            (Some("good"), false) => {
                return AccessOutcome::Refused(self.refuse(body, presented).await);
            }
            _ => echo::drain(body).await,
        }
        let status = query::first(uri, "status")
            .map_or(Some(StatusCode::UNAUTHORIZED), |code| status_code(&code));
        let Some(status) = status else {
            return AccessOutcome::Accepted(bad_request("not a status between 200 and 999"));
        };
        let mut response = response::json(status, &json!({"error": "challenged"}));
        for value in query::all(uri, "value") {
            match HeaderValue::try_from(value) {
                Ok(value) => response.headers_mut().append(WWW_AUTHENTICATE, value),
                Err(_) => {
                    return AccessOutcome::Accepted(bad_request(
                        "value does not fit into a header",
                    ));
                }
            };
        }
        AccessOutcome::Refused(response)
    }
}

/// Returns the name of the header that `/header/{name}/echo` reads the token from.
fn header_route(path: &str) -> Option<HeaderName> {
    path.strip_prefix("/header/")?
        .strip_suffix("/echo")?
        .parse()
        .ok()
}

async fn upload(body: Incoming) -> HttpResponse {
    match BodyDigest::read(body).await {
        Some(digest) => digest.response(),
        None => incomplete_body(),
    }
}

fn download(length: &str) -> HttpResponse {
    match length.parse() {
        Ok(length) => {
            let mut response = response::with_body(StatusCode::OK, PatternBody::of(length).boxed());
            let octets = HeaderValue::from_static("application/octet-stream");
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, octets);
            response
        }
        Err(_) => bad_request("not a length"),
    }
}

async fn with_status(code: &str, body: Incoming) -> HttpResponse {
    echo::drain(body).await;
    match status_code(code) {
        Some(
            status
            @ (StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED),
        ) => response::empty(status),
        Some(status) => response::json(status, &json!({"status": status.as_u16()})),
        None => bad_request("not a status between 200 and 999"),
    }
}

fn redirect(uri: &Uri, kind: &str) -> HttpResponse {
    let status = query::first(uri, "status").map_or(Some(StatusCode::TEMPORARY_REDIRECT), |code| {
        status_code(&code)
    });
    let Some(status) = status.filter(StatusCode::is_redirection) else {
        return bad_request("not a redirect status");
    };
    let target = match kind {
        "same" => Some(query::first(uri, "to").unwrap_or_else(|| "/echo".to_owned())),
        _ => query::first(uri, "url"),
    };
    match target {
        Some(target) => response::redirect(status, &target),
        None => bad_request("url is missing"),
    }
}

async fn grpc_ok(body: Incoming) -> HttpResponse {
    match body.collect().await {
        Ok(message) => grpc::ok(message.to_bytes()),
        Err(_) => incomplete_body(),
    }
}

fn status_code(code: &str) -> Option<StatusCode> {
    code.parse()
        .ok()
        .filter(|status: &StatusCode| status.as_u16() >= 200)
}

fn bad_request(reason: &str) -> HttpResponse {
    response::json(StatusCode::BAD_REQUEST, &json!({"error": reason}))
}

/// The client has closed the connection and cannot read this response. The request record shows its status.
fn incomplete_body() -> HttpResponse {
    bad_request("the body broke off")
}
