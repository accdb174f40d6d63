//! Tests the status page: its files, its report of a storm, and its access control.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use token_rotator::ExposeSecret as _;
use token_rotator::middleware::RotatorExt as _;
use token_rotator_proxy::{Config, Recorder};
use token_rotator_testkit::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::ProxyFixture;

/// Starts a proxy with an admin listener; the page gets the session's events.
async fn with_page() -> ProxyFixture {
    with_page_and(|_| {}).await
}

async fn with_page_and(change: impl FnOnce(&mut Config)) -> ProxyFixture {
    let recorder = Recorder::default();
    let session_recorder = recorder.named("work");
    let listen = move |event: &token_rotator::Event| session_recorder.record(event);
    ProxyFixture::with_listener(listen, |config| {
        config.admin = Some("127.0.0.1:0".parse().expect("an address"));
        config.recorder = recorder;
        config.routes[0].session = Some("work".to_owned());
        change(config);
    })
    .await
}

async fn get_admin(fixture: &ProxyFixture, path: &str) -> Response {
    let admin = fixture.proxy.admin().expect("an admin listener");
    let request = fixture.client.get(format!("http://{admin}{path}"));
    request.send().await.expect("an answer")
}

/// A reader of the page's events.
struct PageReader {
    answer: Response,
    text: String,
    /// All received text.
    received: String,
    state: Value,
}

impl PageReader {
    async fn open(fixture: &ProxyFixture) -> Self {
        let answer = get_admin(fixture, "/events").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut reader = Self {
            answer,
            text: String::new(),
            received: String::new(),
            state: json!({ "storm": null }),
        };
        assert_eq!(reader.next().await, "snapshot");
        reader
    }

    /// Applies the next message and returns its kind.
    async fn next(&mut self) -> String {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let (message, rest) = (message.to_owned(), rest.to_owned());
                self.text = rest;
                let Some(message) = message.strip_prefix("event: ") else {
                    continue;
                };
                let (kind, data) = message.split_once("\ndata: ").expect("data");
                self.apply(&serde_json::from_str(data).expect("JSON"));
                return kind.to_owned();
            }
            let chunk = self.answer.chunk().await.expect("no break");
            let chunk = chunk.expect("an open stream");
            let chunk = String::from_utf8(chunk.to_vec()).expect("text");
            self.text += &chunk;
            self.received += &chunk;
        }
    }

    fn apply(&mut self, update: &Value) {
        if update["sessions"].is_array() {
            self.state["sessions"] = update["sessions"].clone();
        }
        let storm = &update["storm"];
        if storm.is_null() {
            return;
        }
        let mut lanes = match &self.state["storm"] {
            old if old["number"] == storm["number"] => old["lanes"].as_array().cloned(),
            _ => None,
        }
        .unwrap_or_default();
        for lane in storm["lanes"].as_array().expect("lanes") {
            match lanes.iter_mut().find(|known| known["id"] == lane["id"]) {
                Some(known) => known.clone_from(lane),
                None => lanes.push(lane.clone()),
            }
        }
        self.state["storm"] = storm.clone();
        self.state["storm"]["lanes"] = Value::Array(lanes);
    }

    async fn wait_until(&mut self, holds: impl Fn(&Value) -> bool) {
        let reached = async {
            while !holds(&self.state) {
                self.next().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(15), reached).await;
        assert!(reached.is_ok(), "{:#}", self.state);
    }
}

fn kinds(lane: &Value) -> Vec<&str> {
    let steps = lane["steps"].as_array().expect("steps");
    let kind = |step: &Value| step[0].as_str().expect("a kind").len();
    assert!(steps.iter().all(|step| kind(step) > 0));
    assert!(
        steps
            .windows(2)
            .all(|two| two[0][1].as_f64() <= two[1][1].as_f64()),
        "{lane}"
    );
    let steps = steps.iter();
    steps
        .map(|step| step[0].as_str().expect("a kind"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_nothing_from_other_origins() {
    let fixture = with_page().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/timeline.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = get_admin(&fixture, path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], kind);
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let policy = answer.headers()["content-security-policy"].to_str();
        let policy = policy.expect("text").to_owned();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = answer.text().await.expect("text");
        let foreign = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("//www.") && !foreign.contains("https:"));
        // The content security policy would block inline styles and handlers.
        assert!(!text.contains("style=") && !text.contains(" onclick"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_reported_as_it_happens() {
    const CALLERS: usize = 20;
    let fixture = with_page().await;
    let mut reader = PageReader::open(&fixture).await;
    let session = &reader.state["sessions"][0];
    assert_eq!(session["name"], "work");
    assert_eq!(session["routes"], json!(["api"]));
    assert_eq!(
        (&session["state"], &session["generation"]),
        (&json!("signed in"), &json!(1))
    );
    let left = session["expires"].as_u64().expect("a time");
    assert!(left > 1_000_000_000_000, "{session}");
    assert_eq!(reader.state["storm"], Value::Null);
    // A request that is answered without a wait does not appear.
    fixture.echo().await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let url = fixture.url("/echo");
    let requests: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(fixture.client.get(&url).send()))
        .collect();
    reader
        .wait_until(|state| state["storm"]["waited"] == CALLERS)
        .await;
    reader
        .wait_until(|state| state["sessions"][0]["state"] == "refreshing")
        .await;
    assert_eq!(reader.state["storm"]["ended"], Value::Null);
    assert_eq!(reader.state["storm"]["answered"], 0);
    fixture.issuer.gate().open();
    for answer in requests {
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    reader
        .wait_until(|state| state["storm"]["ended"].is_f64())
        .await;
    reader
        .wait_until(|state| state["sessions"][0]["generation"] == 2)
        .await;
    assert_eq!(reader.state["sessions"][0]["state"], "signed in");
    assert!(reader.state["sessions"][0]["refresh"]["took"].is_u64());
    let storm = &reader.state["storm"];
    for what in ["requests", "waited", "answered"] {
        assert_eq!(storm[what], CALLERS, "{what}");
    }
    assert_eq!(storm["refused"], storm["replayed"]);
    assert_eq!(
        (&storm["failed"], &storm["left"], &storm["more"]),
        (&json!(0), &json!(0), &json!(0))
    );
    let refreshes = storm["refreshes"].as_array().expect("refreshes");
    assert_eq!(refreshes.len(), 1);
    assert_eq!(refreshes[0]["outcome"], "refreshed");
    let lanes = storm["lanes"].as_array().expect("lanes");
    assert_eq!(lanes.len(), CALLERS);
    let refused = [
        "arrived", "sent", "refused", "waiting", "replayed", "answered",
    ];
    let waited = ["arrived", "waiting", "sent", "answered"];
    for lane in lanes {
        let kinds = kinds(lane);
        assert!(kinds == refused || kinds == waited, "{kinds:?}");
        assert_eq!(
            (&lane["route"], &lane["method"]),
            (&json!("api"), &json!("GET"))
        );
    }
    // A later reader and a reader of the JSON state see the same storm.
    let later = PageReader::open(&fixture).await;
    assert_eq!(later.state, reader.state);
    let state: Value = get_admin(&fixture, "/state")
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(state["storm"], reader.state["storm"]);
    assert_eq!(state["sessions"], reader.state["sessions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_caller_and_a_failed_refresh_are_reported() {
    let fixture = with_page().await;
    let mut reader = PageReader::open(&fixture).await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let gone = tokio::spawn(fixture.client.get(fixture.url("/echo")).send());
    reader
        .wait_until(|state| state["storm"]["waited"] == 1)
        .await;
    gone.abort();
    reader.wait_until(|state| state["storm"]["left"] == 1).await;
    assert_eq!(
        reader.state["storm"]["ended"],
        Value::Null,
        "the refresh goes on"
    );
    fixture.issuer.faults().push(Fault::MalformedJson.always());
    fixture.issuer.gate().open();
    reader
        .wait_until(|state| state["storm"]["ended"].is_f64())
        .await;
    reader
        .wait_until(|state| state["sessions"][0]["failure"].is_object())
        .await;
    let session = &reader.state["sessions"][0];
    let text = session["failure"]["message"].as_str().expect("a message");
    assert!(text.contains("could not be refreshed"), "{text}");
    fixture.rotator.sign_out().await.expect("signed out");
    reader
        .wait_until(|state| state["sessions"][0]["state"] == "signed out")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_path_or_query_reaches_the_page() {
    let fixture = with_page().await;
    let mut reader = PageReader::open(&fixture).await;
    fixture.issuer.expire_access_tokens();
    let path = "/status/200/in-the-path?q=in-the-query";
    fixture.get(path).await;
    reader
        .wait_until(|state| state["storm"]["ended"].is_f64())
        .await;
    let token = fixture.rotator.access_token().expect("a token");
    let token = token.secret().expose_secret().to_owned();
    fixture.issuer.faults().push(Fault::MalformedJson.always());
    let refreshed = fixture.rotator.refresh_now().await;
    assert!(refreshed.is_err(), "{refreshed:?}");
    reader
        .wait_until(|state| state["sessions"][0]["failure"].is_object())
        .await;
    let mut received = reader.received.clone();
    for path in ["/", "/state", "/page.js", "/metrics"] {
        received += &get_admin(&fixture, path).await.text().await.expect("text");
    }
    assert!(
        received.contains("\"lanes\":[{"),
        "the page shows the storm"
    );
    for secret in [
        "in-the-path",
        "in-the-query",
        &token,
        &fixture.grant.access_token,
        &fixture.grant.refresh_token,
        fixture.issuer.url(),
    ] {
        assert!(!received.contains(secret), "the page contains {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_delays_no_caller() {
    let fixture = with_page().await;
    let admin = fixture.proxy.admin().expect("an admin listener");
    let mut stalled_reader = TcpStream::connect(admin).await.expect("a connection");
    let requests = format!("GET /events HTTP/1.1\r\nhost: {admin}\r\n\r\n");
    stalled_reader
        .write_all(requests.as_bytes())
        .await
        .expect("sent");
    let mut first = [0; 16];
    stalled_reader
        .read_exact(&mut first)
        .await
        .expect("an answer");
    let mut reader = PageReader::open(&fixture).await;
    for number in 1..=20 {
        fixture.issuer.expire_access_tokens();
        let requests = (0..10).map(|_| fixture.get("/echo"));
        for answer in futures_util::future::join_all(requests).await {
            assert!(answer.status() == 200 || answer.status() == 401, "{number}");
        }
    }
    reader
        .wait_until(|state| state["storm"]["ended"].is_f64())
        .await;
    drop(stalled_reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_readers_is_limited() {
    let fixture = with_page().await;
    let mut reader = Vec::new();
    for _ in 0..8 {
        reader.push(PageReader::open(&fixture).await);
    }
    let answer = get_admin(&fixture, "/events").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().await.expect("text").contains("hint:"));
    // A closed connection frees its slot.
    drop(reader.pop());
    let free_slot = async {
        while get_admin(&fixture, "/events").await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    let free_slot = tokio::time::timeout(Duration::from_secs(20), free_slot).await;
    free_slot.expect("a free slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_and_methods_are_refused() {
    let fixture = with_page().await;
    let admin = fixture.proxy.admin().expect("an admin listener");
    for path in ["/", "/events", "/state", "/page.js"] {
        let url = format!("http://{admin}{path}");
        let request = fixture.client.get(&url).header("host", "attacker.test");
        assert_eq!(
            request.send().await.expect("an answer").status(),
            421,
            "{path}"
        );
        for (name, value, status) in [
            ("sec-fetch-site", "cross-site", 403),
            ("origin", "http://attacker.test", 403),
            ("sec-fetch-site", "same-origin", 200),
        ] {
            let request = fixture.client.head(&url).header(name, value);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{path} {value}");
        }
        let answer = fixture.client.post(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 405, "{path}");
        let answer = fixture.client.head(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
}
