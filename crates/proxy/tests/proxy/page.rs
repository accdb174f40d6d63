//! The page: its files, what it is told of a storm, and who may look.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use token_rotator::ExposeSecret as _;
use token_rotator::middleware::RotatorExt as _;
use token_rotator_proxy::{Config, Recorder};
use token_rotator_testkit::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::Scene;

/// A proxy with an admin listener, its session's events told to the page.
async fn with_page() -> Scene {
    with_page_and(|_| {}).await
}

async fn with_page_and(change: impl FnOnce(&mut Config)) -> Scene {
    let recorder = Recorder::default();
    let told = recorder.named("work");
    let listen = move |event: &token_rotator::Event| told.record(event);
    Scene::listening(listen, |config| {
        config.admin = Some("127.0.0.1:0".parse().expect("an address"));
        config.recorder = recorder;
        config.routes[0].session = Some("work".to_owned());
        change(config);
    })
    .await
}

async fn ask(scene: &Scene, path: &str) -> Response {
    let admin = scene.proxy.admin().expect("an admin listener");
    let request = scene.client.get(format!("http://{admin}{path}"));
    request.send().await.expect("an answer")
}

/// Somebody who looks.
struct Looking {
    answer: Response,
    text: String,
    /// All that came.
    said: String,
    state: Value,
}

impl Looking {
    async fn at(scene: &Scene) -> Self {
        let answer = ask(scene, "/events").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut looking = Self {
            answer,
            text: String::new(),
            said: String::new(),
            state: json!({ "storm": null }),
        };
        assert_eq!(looking.next().await, "snapshot");
        looking
    }

    /// Takes the next message in; its kind.
    async fn next(&mut self) -> String {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let (message, rest) = (message.to_owned(), rest.to_owned());
                self.text = rest;
                let Some(message) = message.strip_prefix("event: ") else {
                    continue;
                };
                let (kind, data) = message.split_once("\ndata: ").expect("data");
                self.take(&serde_json::from_str(data).expect("JSON"));
                return kind.to_owned();
            }
            let chunk = self.answer.chunk().await.expect("no break");
            let chunk = chunk.expect("it goes on");
            let chunk = String::from_utf8(chunk.to_vec()).expect("text");
            self.text += &chunk;
            self.said += &chunk;
        }
    }

    fn take(&mut self, news: &Value) {
        if news["sessions"].is_array() {
            self.state["sessions"] = news["sessions"].clone();
        }
        let storm = &news["storm"];
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

    async fn until(&mut self, holds: impl Fn(&Value) -> bool) {
        let seen = async {
            while !holds(&self.state) {
                self.next().await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(15), seen).await;
        assert!(seen.is_ok(), "{:#}", self.state);
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
async fn the_page_is_of_this_proxy_alone() {
    let scene = with_page().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/timeline.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = ask(&scene, path).await;
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
        // The policy would keep them from working.
        assert!(!text.contains("style=") && !text.contains(" onclick"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_told_as_it_happens() {
    const CALLERS: usize = 20;
    let scene = with_page().await;
    let mut looking = Looking::at(&scene).await;
    let session = &looking.state["sessions"][0];
    assert_eq!(session["name"], "work");
    assert_eq!(session["routes"], json!(["api"]));
    assert_eq!(
        (&session["state"], &session["generation"]),
        (&json!("signed in"), &json!(1))
    );
    let left = session["expires"].as_u64().expect("a time");
    assert!(left > 1_000_000_000_000, "{session}");
    assert_eq!(looking.state["storm"], Value::Null);
    // What is answered without a wait is nobody's business.
    scene.echo().await;
    scene.issuer.expire_access_tokens();
    scene.issuer.gate().close();
    let url = scene.url("/echo");
    let asked: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(scene.client.get(&url).send()))
        .collect();
    looking
        .until(|state| state["storm"]["waited"] == CALLERS)
        .await;
    looking
        .until(|state| state["sessions"][0]["state"] == "refreshing")
        .await;
    assert_eq!(looking.state["storm"]["ended"], Value::Null);
    assert_eq!(looking.state["storm"]["answered"], 0);
    scene.issuer.gate().open();
    for answer in asked {
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    looking
        .until(|state| state["storm"]["ended"].is_f64())
        .await;
    looking
        .until(|state| state["sessions"][0]["generation"] == 2)
        .await;
    assert_eq!(looking.state["sessions"][0]["state"], "signed in");
    assert!(looking.state["sessions"][0]["refresh"]["took"].is_u64());
    let storm = &looking.state["storm"];
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
    // Whoever comes later sees the same, and so does who asks for JSON.
    let later = Looking::at(&scene).await;
    assert_eq!(later.state, looking.state);
    let state: Value = ask(&scene, "/state").await.json().await.expect("JSON");
    assert_eq!(state["storm"], looking.state["storm"]);
    assert_eq!(state["sessions"], looking.state["sessions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_and_a_refresh_that_fails_are_told() {
    let scene = with_page().await;
    let mut looking = Looking::at(&scene).await;
    scene.issuer.expire_access_tokens();
    scene.issuer.gate().close();
    let gone = tokio::spawn(scene.client.get(scene.url("/echo")).send());
    looking.until(|state| state["storm"]["waited"] == 1).await;
    gone.abort();
    looking.until(|state| state["storm"]["left"] == 1).await;
    assert_eq!(
        looking.state["storm"]["ended"],
        Value::Null,
        "the refresh goes on"
    );
    scene.issuer.faults().push(Fault::MalformedJson.always());
    scene.issuer.gate().open();
    looking
        .until(|state| state["storm"]["ended"].is_f64())
        .await;
    looking
        .until(|state| state["sessions"][0]["failure"].is_object())
        .await;
    let session = &looking.state["sessions"][0];
    let words = session["failure"]["words"].as_str().expect("words");
    assert!(words.contains("could not be refreshed"), "{words}");
    scene.rotator.sign_out().await.expect("signed out");
    looking
        .until(|state| state["sessions"][0]["state"] == "signed out")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_path_or_query_reaches_the_page() {
    let scene = with_page().await;
    let mut looking = Looking::at(&scene).await;
    scene.issuer.expire_access_tokens();
    let path = "/status/200/in-the-path?q=in-the-query";
    scene.get(path).await;
    looking
        .until(|state| state["storm"]["ended"].is_f64())
        .await;
    let token = scene.rotator.access_token().expect("a token");
    let token = token.secret().expose_secret().to_owned();
    scene.issuer.faults().push(Fault::MalformedJson.always());
    let refreshed = scene.rotator.refresh_now().await;
    assert!(refreshed.is_err(), "{refreshed:?}");
    looking
        .until(|state| state["sessions"][0]["failure"].is_object())
        .await;
    let mut said = looking.said.clone();
    for path in ["/", "/state", "/page.js", "/metrics"] {
        said += &ask(&scene, path).await.text().await.expect("text");
    }
    assert!(said.contains("\"lanes\":[{"), "the storm is there");
    for secret in [
        "in-the-path",
        "in-the-query",
        &token,
        &scene.grant.access_token,
        &scene.grant.refresh_token,
        scene.issuer.url(),
    ] {
        assert!(!said.contains(secret), "{secret} was said");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_holds_nobody_up() {
    let scene = with_page().await;
    let admin = scene.proxy.admin().expect("an admin listener");
    let mut still = TcpStream::connect(admin).await.expect("a connection");
    let asked = format!("GET /events HTTP/1.1\r\nhost: {admin}\r\n\r\n");
    still.write_all(asked.as_bytes()).await.expect("sent");
    let mut first = [0; 16];
    still.read_exact(&mut first).await.expect("an answer");
    let mut looking = Looking::at(&scene).await;
    for number in 1..=20 {
        scene.issuer.expire_access_tokens();
        let asked = (0..10).map(|_| scene.get("/echo"));
        for answer in futures_util::future::join_all(asked).await {
            assert!(answer.status() == 200 || answer.status() == 401, "{number}");
        }
    }
    looking
        .until(|state| state["storm"]["ended"].is_f64())
        .await;
    drop(still);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_look_and_no_more() {
    let scene = with_page().await;
    let mut looking = Vec::new();
    for _ in 0..8 {
        looking.push(Looking::at(&scene).await);
    }
    let answer = ask(&scene, "/events").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().await.expect("text").contains("hint:"));
    // Whoever goes makes room.
    drop(looking.pop());
    let room = async {
        while ask(&scene, "/events").await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    let room = tokio::time::timeout(Duration::from_secs(20), room).await;
    room.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_look() {
    let scene = with_page().await;
    let admin = scene.proxy.admin().expect("an admin listener");
    for path in ["/", "/events", "/state", "/page.js"] {
        let url = format!("http://{admin}{path}");
        let request = scene.client.get(&url).header("host", "attacker.test");
        assert_eq!(
            request.send().await.expect("an answer").status(),
            421,
            "{path}"
        );
        let answer = scene.client.post(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 405, "{path}");
        let answer = scene.client.head(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
}
