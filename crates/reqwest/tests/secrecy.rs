//! Tests that no output contains a token or a part of a token (rule 12).

mod common;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use common::{ClientFixture, EventLog, TestResult, login, start_server};
use reqwest::cookie::Jar;
use reqwest::redirect::Policy;
use token_rotator_reqwest::{AccessToken, Client, TokenError};
use token_rotator_testkit::{Fault, Issuer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

const CANARY: &str = "CANARY-";

/// All log lines, at any level.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records every field of every event and span.
struct Logger;

impl Subscriber for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut LogLine);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut LogLine);
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut LogLine);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Keeps every record of the `log` facade. reqwest and its dependencies log through the facade.
impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("facade: {}: {}", record.target(), record.args());
        LOGGED.lock().expect("unpoisoned").push(line);
    }

    fn flush(&self) {}
}

struct LogLine;

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let line = format!("log: {}: {value:?}", field.name());
        LOGGED.lock().expect("unpoisoned").push(line);
    }
}

/// Property: neither `Debug` nor `Display` of any type shows a token, a cookie or a socket token,
/// through success and every failure.
#[tokio::test]
async fn no_output_shows_a_token() -> TestResult {
    tracing::subscriber::set_global_default(Logger)?;
    log::set_logger(&Logger).expect("the only logger of the process");
    log::set_max_level(log::LevelFilter::Trace);
    let fixture = ClientFixture::of(Issuer::builder().secret_prefix(CANARY)).await;
    let log = EventLog::new();
    let answers = log.clone();
    let builder = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .on_after_refresh(move |data| {
            answers.push(format!("{}", data.ws_token.starts_with(CANARY)));
        })
        .token_header_with("x-auth-token", |token| format!("Token {token}"));
    let mut shown = vec![format!("{builder:?}")];
    let api = builder.build()?;
    login(&api, "alice").await;
    let (split, session) = fixture.builder_with_parser().build_split()?;
    shown.push(format!(
        "{api:?} {split:?} {session:?} {:?}",
        api.access_token()
    ));
    shown.push(format!("{:?}", AccessToken::new(format!("{CANARY}x"))));
    shown.push(format!(
        "{:?}",
        api.get("/echo?key=CANARY-x").bearer_auth("CANARY-x")
    ));
    shown.push(format!("{:?}", api.refresh_now().await?));
    let faults = [
        Fault::MalformedJson,
        Fault::EmptyBody,
        Fault::AnswerLost,
        Fault::ErrorInside200,
        Fault::HtmlForbidden,
        Fault::ResetAfter,
        Fault::Status {
            status: 500,
            retry_after: None,
        },
        Fault::OAuthError {
            status: 401,
            error: "invalid_grant".to_owned(),
        },
    ];
    for fault in faults {
        fixture.issuer.faults().push(fault.clone().times(2));
        login(&api, "alice").await;
        match api.refresh_now().await {
            Ok(token) => shown.push(format!("{token:?}")),
            Err(error) => shown.push(full_text(&error)),
        }
        fixture.issuer.faults().clear();
    }
    // The error about an answer of the wrong type quotes no part of the answer.
    let mistyped = fixture
        .builder()
        .on_refresh_success_with(|data: &Vec<String>| data[0].clone())
        .build()?;
    login(&mistyped, "alice").await;
    if let Err(error) = mistyped.refresh_now().await {
        shown.push(full_text(&error));
        assert!(error.to_string().contains("expected a sequence"), "{error}");
    }
    fixture.upstream.shutdown().await;
    if let Err(error) = api.get("/echo?key=CANARY-x").send().await {
        shown.push(format!("{error} {error:?}"));
    }
    shown.extend(log.lines());
    shown.extend(LOGGED.lock().expect("unpoisoned").clone());
    for listener in ["log: ", "facade: "] {
        assert!(
            shown.iter().any(|line| line.starts_with(listener)),
            "nothing was logged: {listener}"
        );
    }
    assert!(log.count("true") > 0, "the listener received no token");
    for line in shown {
        assert!(!line.contains("CANARY"), "{line}");
    }
    Ok(())
}

/// Returns the text of an error and of its sources.
fn full_text(error: &TokenError) -> String {
    let mut texts = vec![format!("{error:?}")];
    let mut at: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = at {
        texts.push(error.to_string());
        at = error.source();
    }
    texts.join(" ")
}

/// Property: if an endpoint repeats a cookie of the request, no error or event contains it,
/// wherever the cookies are kept. Text that may be another token is redacted too.
#[tokio::test]
async fn an_error_about_an_answer_shows_no_cookie() -> TestResult {
    const SHORT: &str = "ab12cd34";
    const LONG: &str = "0123456789abcdefghij0123456789";
    let endpoint = start_server(|request| {
        let lines = request.lines();
        let sent = lines.filter(|line| line.starts_with("cookie: "));
        let sent: String = sent.collect();
        assert!(sent.contains(SHORT), "the cookie was not sent");
        let body = format!(
            r#"{{"error": "{SHORT}", "message": "no session for {sent}, but for {LONG}"}}"#
        );
        format!(
            "HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    })
    .await;
    let jar = || {
        let jar = Arc::new(Jar::default());
        let url = endpoint.parse().expect("a URL");
        jar.add_cookie_str(&format!("sid={SHORT}; Path=/"), &url);
        jar
    };
    let client = |jar| reqwest::Client::builder().no_proxy().cookie_provider(jar);
    let base = || Client::builder().base_url(&*endpoint);
    let provided = Arc::new(token_rotator_reqwest::Jar::default());
    let url = endpoint.parse()?;
    provided.add_cookie_str(&format!("sid={SHORT}; Path=/"), &url);
    let configured = jar();
    let elsewhere = client(jar()).redirect(Policy::none()).build()?;
    for (storage, builder) in [
        ("provided", base().cookie_provider(provided)),
        (
            "configured",
            base().configure(move |builder| builder.cookie_provider(Arc::clone(&configured))),
        ),
        ("brought", base().client(client(jar()).build()?)),
        ("for refreshes", base().refresh_client(elsewhere)),
    ] {
        let log = EventLog::new();
        let api = builder
            .bearer_field("accessToken")
            .on_event(log.listener())
            .build()?;
        let error = api.refresh_now().await.unwrap_err();
        let shown = full_text(&error) + &log.lines().join(" ");
        assert!(shown.contains("HTTP 401"), "{storage}: {shown}");
        assert!(
            !shown.contains("ab12") && !shown.contains("cd34"),
            "{storage}: {shown}"
        );
        assert!(!shown.contains("0123"), "{storage}: {shown}");
    }
    Ok(())
}

/// Property: a stored token is visible only on explicit request.
#[test]
fn debug_of_a_client_shows_no_token() -> TestResult {
    let api = Client::builder()
        .base_url("https://api.example.com")
        .bearer_field("accessToken")
        .build()?;
    api.set_access_token("CANARY-x")?;
    let shown = format!("{api:?}");
    assert!(
        shown.contains("api.example.com") && !shown.contains("CANARY"),
        "{shown}"
    );
    Ok(())
}
