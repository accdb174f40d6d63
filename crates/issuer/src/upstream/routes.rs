//! Which path gives what answer, and to whom.

use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use crate::answer::{self, Answer, Pattern};
use crate::server::Handler;
use crate::server::connection::Connection;
use crate::upstream::bearer::Presented;
use crate::upstream::echo::{self, Measured};
use crate::upstream::record::RequestRecord;
use crate::upstream::{UpstreamShared, grpc, query};

impl Handler for UpstreamShared {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, connection: Connection) -> Answer {
        let issuer = Arc::clone(&self.issuer);
        match request.uri().path() {
            "/login" if request.method() == Method::POST => issuer.login(request).await,
            "/api/auth/refresh" if request.method() == Method::POST => {
                issuer.cookie_refresh(request, &connection).await
            }
            "/logout" if request.method() == Method::POST => issuer.logout(&request),
            "/__counters" if matches!(*request.method(), Method::GET | Method::HEAD) => {
                let (issuer, upstream) = (issuer.counters(), self.ledger.counters());
                let counters = json!({"issuer": issuer, "upstream": upstream});
                answer::no_store(answer::json(StatusCode::OK, &counters))
            }
            _ => self.protected(request, connection.number()).await,
        }
    }
}

/// An answer, and whether the request was let in to get it.
enum Verdict {
    Served(Answer),
    Refused(Answer),
}

impl UpstreamShared {
    async fn protected(&self, request: Request<Incoming>, connection: u64) -> Answer {
        let arrived = self.started.elapsed();
        let _in_flight = self.ledger.begin();
        let (head, body) = request.into_parts();
        self.gate.pass().await;
        let presented = match header_route(head.uri.path()) {
            Some(name) => Presented::in_header(&head.headers, &name, &self.issuer),
            None => Presented::as_bearer(&head.headers, &self.issuer),
        };
        let request_id = head
            .headers
            .get("x-request-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let path = head.uri.path().to_owned();
        let verdict = self.route(head, body, &presented).await;
        let (let_in, answer) = match verdict {
            Verdict::Served(answer) => (true, answer),
            Verdict::Refused(answer) => (false, answer),
        };
        let answered = self.started.elapsed();
        let (generation, status) = (presented.generation(), answer.status().as_u16());
        self.ledger.answered(
            let_in,
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
        answer
    }

    async fn route(&self, head: Parts, body: Incoming, presented: &Presented) -> Verdict {
        let path = head.uri.path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        // Those that answer everybody, or refuse in a way of their own.
        match segments[..] {
            ["open", "echo"] => return Verdict::Served(self.echo(&head, body, presented).await),
            ["status", code, "open"] => return Verdict::Served(with_status(code, body).await),
            ["grpc", "ok"] => return Verdict::Served(grpc_ok(body).await),
            ["always-401"] => return Verdict::Refused(self.refuse(body, presented).await),
            ["challenge"] => return self.challenge(&head.uri, body, presented).await,
            ["long-401", length] if !presented.is_good() => {
                return self.long_refusal(length, body, presented).await;
            }
            ["slow-401"] if !presented.is_good() => {
                echo::drain(body).await;
                self.slow.pass().await;
                return Verdict::Refused(presented.refusal(&self.realm));
            }
            ["custom-419"] if !presented.is_good() => {
                echo::drain(body).await;
                let status = StatusCode::from_u16(419).unwrap_or(StatusCode::UNAUTHORIZED);
                return Verdict::Refused(answer::json(status, &json!({"error": "token_expired"})));
            }
            ["custom-body-code"] if !presented.is_good() => {
                echo::drain(body).await;
                return Verdict::Refused(answer::json(
                    StatusCode::OK,
                    &json!({"code": "TOKEN_EXPIRED"}),
                ));
            }
            ["grpc", "unauthenticated"] if !presented.is_good() => {
                echo::drain(body).await;
                return Verdict::Refused(grpc::unauthenticated());
            }
            ["grpc", "late-unauthenticated"] if !presented.is_good() => {
                echo::drain(body).await;
                return Verdict::Refused(grpc::late_unauthenticated());
            }
            _ if !presented.is_good() => {
                return Verdict::Refused(self.refuse(body, presented).await);
            }
            _ => {}
        }
        let get = matches!(head.method, Method::GET | Method::HEAD);
        Verdict::Served(match segments[..] {
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
                answer::json(StatusCode::OK, &json!({"code": "OK"}))
            }
            ["slow-401" | "custom-419"] | ["long-401", _] => {
                echo::drain(body).await;
                answer::json(
                    StatusCode::OK,
                    &json!({"generation": presented.generation()}),
                )
            }
            ["grpc", "unauthenticated" | "late-unauthenticated"] => grpc_ok(body).await,
            _ => {
                echo::drain(body).await;
                answer::json(StatusCode::NOT_FOUND, &json!({"error": "not_found"}))
            }
        })
    }

    async fn echo(&self, head: &Parts, body: Incoming, presented: &Presented) -> Answer {
        match Measured::read(body).await {
            Some(measured) => echo::describe(head, &measured, presented, &self.issuer),
            None => broken_off(),
        }
    }

    async fn refuse(&self, body: Incoming, presented: &Presented) -> Answer {
        echo::drain(body).await;
        presented.refusal(&self.realm)
    }

    async fn long_refusal(&self, length: &str, body: Incoming, presented: &Presented) -> Verdict {
        let pattern = match length.parse() {
            Ok(length) => Pattern::unannounced(length),
            Err(_) if length == "endless" => Pattern::unannounced(u64::MAX),
            Err(_) => return Verdict::Served(bad_request("not a length")),
        };
        let refusal = self.refuse(body, presented).await;
        Verdict::Refused(refusal.map(|_| pattern.boxed()))
    }

    async fn challenge(&self, uri: &Uri, body: Incoming, presented: &Presented) -> Verdict {
        let when = query::first(uri, "when");
        match (when.as_deref(), presented.is_good()) {
            (Some("bad"), true) => {
                echo::drain(body).await;
                let described = json!({"generation": presented.generation()});
                return Verdict::Served(answer::json(StatusCode::OK, &described));
            }
            (Some("good"), false) => return Verdict::Refused(self.refuse(body, presented).await),
            _ => echo::drain(body).await,
        }
        let status = query::first(uri, "status")
            .map_or(Some(StatusCode::UNAUTHORIZED), |code| status_code(&code));
        let Some(status) = status else {
            return Verdict::Served(bad_request("not a status between 200 and 999"));
        };
        let mut answer = answer::json(status, &json!({"error": "challenged"}));
        for value in query::all(uri, "value") {
            match HeaderValue::try_from(value) {
                Ok(value) => answer.headers_mut().append(WWW_AUTHENTICATE, value),
                Err(_) => return Verdict::Served(bad_request("value does not fit into a header")),
            };
        }
        Verdict::Refused(answer)
    }
}

/// The header that `/header/{name}/echo` reads its token from.
fn header_route(path: &str) -> Option<HeaderName> {
    path.strip_prefix("/header/")?
        .strip_suffix("/echo")?
        .parse()
        .ok()
}

async fn upload(body: Incoming) -> Answer {
    match Measured::read(body).await {
        Some(measured) => measured.answer(),
        None => broken_off(),
    }
}

fn download(length: &str) -> Answer {
    match length.parse() {
        Ok(length) => {
            let mut answer = answer::with_body(StatusCode::OK, Pattern::of(length).boxed());
            let octets = HeaderValue::from_static("application/octet-stream");
            answer
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, octets);
            answer
        }
        Err(_) => bad_request("not a length"),
    }
}

async fn with_status(code: &str, body: Incoming) -> Answer {
    echo::drain(body).await;
    match status_code(code) {
        Some(
            status
            @ (StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED),
        ) => answer::empty(status),
        Some(status) => answer::json(status, &json!({"status": status.as_u16()})),
        None => bad_request("not a status between 200 and 999"),
    }
}

fn redirect(uri: &Uri, kind: &str) -> Answer {
    let status = query::first(uri, "status").map_or(Some(StatusCode::TEMPORARY_REDIRECT), |code| {
        status_code(&code)
    });
    let Some(status) = status.filter(StatusCode::is_redirection) else {
        return bad_request("not a redirect status");
    };
    let to = match kind {
        "same" => Some(query::first(uri, "to").unwrap_or_else(|| "/echo".to_owned())),
        _ => query::first(uri, "url"),
    };
    match to {
        Some(to) => answer::redirect(status, &to),
        None => bad_request("url is missing"),
    }
}

async fn grpc_ok(body: Incoming) -> Answer {
    match body.collect().await {
        Ok(message) => grpc::ok(message.to_bytes()),
        Err(_) => broken_off(),
    }
}

fn status_code(code: &str) -> Option<StatusCode> {
    code.parse()
        .ok()
        .filter(|status: &StatusCode| status.as_u16() >= 200)
}

fn bad_request(reason: &str) -> Answer {
    answer::json(StatusCode::BAD_REQUEST, &json!({"error": reason}))
}

/// Nobody is left to read this; the record shows it.
fn broken_off() -> Answer {
    bad_request("the body broke off")
}
