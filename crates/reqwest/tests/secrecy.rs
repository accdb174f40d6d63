//! No token, nor part of one, in anything that is shown: rule 12.

mod common;

use std::fmt::Debug;
use std::sync::Mutex;

use common::{Heard, Tested, World, login};
use token_rotator_reqwest::{Client, Fresh, TokenError};
use token_rotator_testkit::{Fault, Issuer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

const CANARY: &str = "CANARY-";

/// What was logged, at any level.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps every field of every event and span.
struct Logger;

impl Subscriber for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line);
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line;

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let line = format!("log: {}: {value:?}", field.name());
        LOGGED.lock().expect("unpoisoned").push(line);
    }
}

/// Property: neither `Debug` nor `Display` of anything shows a token, a cookie or a socket token,
/// through success and every failure.
#[tokio::test]
async fn nothing_shows_a_token() -> Tested {
    tracing::subscriber::set_global_default(Logger)?;
    let world = World::of(Issuer::builder().secret_prefix(CANARY)).await;
    let heard = Heard::new();
    let answers = heard.clone();
    let builder = world
        .reading()
        .on_event(heard.listener())
        .on_after_refresh(move |data| answers.say(format!("{}", data.ws_token.starts_with(CANARY))))
        .token_header_with("x-auth-token", |token| format!("Token {token}"));
    let mut shown = vec![format!("{builder:?}")];
    let api = builder.build()?;
    login(&api, "alice").await;
    let (split, session) = world.reading().build_split()?;
    shown.push(format!(
        "{api:?} {split:?} {session:?} {:?}",
        api.access_token()
    ));
    shown.push(format!("{:?}", Fresh::new(format!("{CANARY}x"))));
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
        world.issuer.faults().push(fault.clone().times(2));
        login(&api, "alice").await;
        match api.refresh_now().await {
            Ok(token) => shown.push(format!("{token:?}")),
            Err(error) => shown.push(every(&error)),
        }
        world.issuer.faults().clear();
    }
    // An answer that does not fit the parser's type quotes nothing of itself.
    let misfit = world
        .builder()
        .on_refresh_success_with(|data: &Vec<String>| data[0].clone())
        .build()?;
    login(&misfit, "alice").await;
    if let Err(error) = misfit.refresh_now().await {
        shown.push(every(&error));
        assert!(error.to_string().contains("expected a sequence"), "{error}");
    }
    world.upstream.shutdown().await;
    if let Err(error) = api.get("/echo?key=CANARY-x").send().await {
        shown.push(format!("{error} {error:?}"));
    }
    shown.extend(heard.lines());
    shown.extend(LOGGED.lock().expect("unpoisoned").clone());
    assert!(
        shown.iter().any(|line| line.starts_with("log: ")),
        "nothing was logged"
    );
    assert!(heard.count("true") > 0, "the canary sang nowhere");
    for line in shown {
        assert!(!line.contains("CANARY"), "{line}");
    }
    Ok(())
}

/// An error with all that is behind it.
fn every(error: &TokenError) -> String {
    let mut texts = vec![format!("{error:?}")];
    let mut at: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = at {
        texts.push(error.to_string());
        at = error.source();
    }
    texts.join(" ")
}

/// Property: a token is stored where it can be seen only on purpose.
#[test]
fn a_client_can_be_shown() -> Tested {
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
