//! Tests the request protocol: runs each file of `scenarios/requests` against the tower layer, the
//! reqwest client and the proxy over real sockets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use reqwest::Body;
use serde_json::Value;
use token_rotator::middleware::{BodyRule, RefusalRules};
use token_rotator::tower::NoReplay;
use token_rotator::{Clock, Rotator, TokenSet};
use token_rotator_oauth2::refresh_token;
use token_rotator_proxy::{Config, Handle, Listen, Listener, Route};
use token_rotator_reqwest::{HttpService, ReqwestTransport};
use token_rotator_testkit::{Issuer, Upstream};
use tower::{Layer as _, ServiceExt as _};

/// A clock that counts seconds since the start of the scenario.
#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl Clock for ManualClock {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.steady()
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A client that follows the request protocol.
enum ProtocolClient {
    Layer(token_rotator::tower::RotationLayer),
    LayerWithBodies(
        token_rotator::tower::RotationLayer<
            token_rotator::tower::CloneBody,
            token_rotator::tower::Bodies,
        >,
    ),
    Client(token_rotator_reqwest::Client),
    Proxy(Handle),
}

struct ProtocolFixture {
    issuer: Issuer,
    upstream: Upstream,
    clock: ManualClock,
    client: ProtocolClient,
    plain: reqwest::Client,
}

fn statuses(rules: &Value, name: &str) -> Option<Vec<u16>> {
    let listed = rules[name].as_array()?;
    let number = |status: &Value| u16::try_from(status.as_u64().expect("a number"));
    Some(
        listed
            .iter()
            .map(|status| number(status).expect("a status"))
            .collect(),
    )
}

fn typed(statuses: Vec<u16>) -> Vec<StatusCode> {
    let typed = |status| StatusCode::from_u16(status).expect("a status");
    statuses.into_iter().map(typed).collect()
}

fn body_rule(rules: &Value) -> Option<BodyRule> {
    let rule = rules.get("refused_when_body")?;
    let kind = rule["content_type"].as_str().expect("a content type");
    let methods: Vec<Method> = rule["methods"].as_array().map_or_else(Vec::new, |methods| {
        let method = |name: &Value| name.as_str().and_then(|name| name.parse().ok());
        methods
            .iter()
            .map(|name| method(name).expect("a method"))
            .collect()
    });
    let wanted = rule.clone();
    let refused = move |_: StatusCode, body: &[u8]| {
        if let Some(text) = wanted["contains"].as_str() {
            let text = text.as_bytes();
            return body.windows(text.len()).any(|window| window == text);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let fields = wanted["json"].as_object().expect("`contains` or `json`");
        fields.iter().all(|(name, value)| body[name] == *value)
    };
    Some(BodyRule::new(kind, refused).also_methods(methods))
}

fn refusal_rules(rules: &Value) -> RefusalRules {
    let mut all = RefusalRules::new();
    if let Some(only) = statuses(rules, "status_codes") {
        all = all.status_codes(typed(only));
    }
    if let Some(also) = statuses(rules, "also_status_codes") {
        all = all.also_status_codes(typed(also));
    }
    if let Some(status) = rules["refused_when_status"].as_u64() {
        all = all.refused_when(move |head| u64::from(head.status.as_u16()) == status);
    }
    if let Some(rule) = body_rule(rules) {
        all = all.refused_when_body(rule);
    }
    match rules["probe"].as_str() {
        Some(path) => all.probe(path.parse().expect("a path")),
        None => all,
    }
}

fn plain_client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    let client = client.redirect(reqwest::redirect::Policy::none());
    let client = client.timeout(Duration::from_secs(20));
    client.build().expect("a client")
}

impl ProtocolClient {
    fn layer(rotator: &Rotator, rules: &Value) -> Self {
        let mut layer = rotator.layer().expect("an origin");
        if let Some(only) = statuses(rules, "status_codes") {
            layer = layer.status_codes(typed(only));
        }
        if let Some(also) = statuses(rules, "also_status_codes") {
            layer = layer.also_status_codes(typed(also));
        }
        if let Some(status) = rules["refused_when_status"].as_u64() {
            layer = layer.refused_when(move |head| u64::from(head.status.as_u16()) == status);
        }
        let layer = layer.copy_body(token_rotator::tower::CloneBody);
        match (body_rule(rules), rules["probe"].as_str()) {
            (Some(rule), Some(path)) => {
                let layer = layer.refused_when_body(rule).probe(path);
                Self::LayerWithBodies(layer.expect("a path"))
            }
            (Some(rule), None) => Self::LayerWithBodies(layer.refused_when_body(rule)),
            (None, _) => Self::Layer(layer),
        }
    }

    fn client(rotator: Rotator, url: &str, rules: &Value) -> Self {
        let mut client = token_rotator_reqwest::Client::builder()
            .base_url(url)
            .configure(reqwest::ClientBuilder::no_proxy)
            .rotator(rotator);
        if let Some(only) = statuses(rules, "status_codes") {
            client = client.status_codes(only);
        }
        if let Some(also) = statuses(rules, "also_status_codes") {
            client = client.also_status_codes(also);
        }
        if let Some(status) = rules["refused_when_status"].as_u64() {
            client = client.refused_when(move |head| u64::from(head.status().as_u16()) == status);
        }
        if let Some(rule) = body_rule(rules) {
            client = client.body_rule(rule);
        }
        if let Some(path) = rules["probe"].as_str() {
            client = client.probe(path);
        }
        Self::Client(client.build().expect("a client"))
    }

    fn proxy(rotator: Rotator, url: &str, rules: &Value) -> Self {
        let mut route = Route::new("api", url, rotator);
        route.refusals = refusal_rules(rules);
        route.replay_bytes = Some(1);
        let listener = Listener {
            listen: Listen::Tcp("127.0.0.1:0".parse().expect("an address")),
            public: false,
        };
        let mut config = Config::new(vec![listener], vec![route]);
        config.workers = 1;
        Self::Proxy(Handle::start(&config).expect("a proxy"))
    }

    /// Sends a request and returns status and body of the answer.
    ///
    /// `plain` sends the requests of the layer, and those to the proxy.
    async fn send(
        &self,
        plain: &reqwest::Client,
        url: &str,
        method: &Method,
        path: &str,
        once: bool,
    ) -> (u16, Vec<u8>) {
        let layered = || {
            let request = Request::builder()
                .method(method)
                .uri(format!("{url}{path}"))
                .body(http_body_util::Full::<bytes::Bytes>::default());
            let mut request = request.expect("a request");
            if once {
                request.extensions_mut().insert(NoReplay);
            }
            request
        };
        match self {
            Self::Layer(layer) => {
                let service = layer.layer(HttpService(plain.clone()));
                let answer = service.oneshot(layered()).await.expect("an answer");
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.expect("a body");
                (status, body.to_bytes().into())
            }
            Self::LayerWithBodies(layer) => {
                let service = layer.layer(HttpService(plain.clone()));
                let answer = service.oneshot(layered()).await.expect("an answer");
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.expect("a body");
                (status, body.to_bytes().into())
            }
            Self::Client(client) => {
                let mut request = client.request(method.clone(), path);
                if once {
                    request = request.no_replay();
                }
                let answer = request.send().await.expect("an answer");
                let status = answer.status().as_u16();
                (status, answer.bytes().await.expect("a body").into())
            }
            Self::Proxy(proxy) => {
                let listening = proxy.listening();
                let Listen::Tcp(address) = &listening[0] else {
                    panic!("no address");
                };
                let url = format!("http://{address}{path}");
                let mut request = plain.request(method.clone(), url);
                if once {
                    request = request.body(Body::from("more than one byte"));
                }
                let answer = request.send().await.expect("an answer");
                let status = answer.status().as_u16();
                (status, answer.bytes().await.expect("a body").into())
            }
        }
    }
}

impl ProtocolFixture {
    async fn new(client_name: &str, plain: &reqwest::Client, rules: &Value) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        let grant = issuer.sign_in("alice");
        let clock = ManualClock::default();
        let source = refresh_token(issuer.token_url(), "demo")
            .transport(ReqwestTransport::new().expect("a transport"))
            .build()
            .expect("a source");
        let rotator = Rotator::builder(source)
            .origin(upstream.url())
            .clock(clock.clone())
            .build()
            .expect("a rotator");
        let tokens = TokenSet::bearer(grant.access_token.as_str())
            .with_refresh_token(grant.refresh_token.as_str())
            .expires_in(grant.expires_in);
        let stored = rotator.sign_in(tokens).expect("usable tokens");
        stored.await.expect("kept in memory");
        let client = match client_name {
            "layer" => ProtocolClient::layer(&rotator, rules),
            "client" => ProtocolClient::client(rotator, upstream.url(), rules),
            _ => ProtocolClient::proxy(rotator, upstream.url(), rules),
        };
        Self {
            issuer,
            upstream,
            clock,
            client,
            plain: plain.clone(),
        }
    }

    /// Runs one step of the scenario; `what` names the step in failures.
    async fn run_step(&self, step: &Value, what: &str) {
        if step["expire"] == true {
            self.issuer.expire_access_tokens();
            return;
        }
        if let Some(seconds) = step["advance"].as_u64() {
            self.clock.0.fetch_add(seconds, Ordering::SeqCst);
            return;
        }
        let path = step["send"].as_str().expect("a path");
        let method = step["method"].as_str().unwrap_or("GET");
        let method = method.parse().expect("a method");
        let once = step["once"] == true;
        let before = self.upstream.record().len();
        let send = || {
            self.client
                .send(&self.plain, self.upstream.url(), &method, path, once)
        };
        let mut answers = Vec::new();
        if let Some(count) = step["at_once"].as_u64() {
            // All requests are sent before the first answer.
            self.upstream.gate().close();
            let open = async {
                self.upstream.gate().arrived(count as usize).await;
                self.upstream.gate().open();
            };
            let all = futures_util::future::join_all((0..count).map(|_| send()));
            answers = futures_util::future::join(all, open).await.0;
        } else {
            for _ in 0..step["times"].as_u64().unwrap_or(1) {
                answers.push(send().await);
            }
        }
        for (status, body) in answers {
            assert_eq!(Value::from(status), step["status"], "{what}: status");
            if let Some(length) = step["length"].as_u64() {
                assert_eq!(body.len() as u64, length, "{what}: length of the body");
            }
        }
        let bare = path.split('?').next().unwrap_or(path);
        let record = self.upstream.record();
        let reached = record[before..].iter().filter(|record| record.path == bare);
        let mut reached: Vec<Option<u64>> = reached.map(|record| record.generation).collect();
        if step.get("at_once").is_some() {
            reached.sort_unstable();
        }
        assert_eq!(reached, generations(&step["sent"]), "{what}: sent");
        if let Some(refreshes) = step["refreshes"].as_u64() {
            assert_eq!(
                self.issuer.counters().refreshes,
                refreshes,
                "{what}: refreshes"
            );
        }
    }
}

fn generations(sent: &Value) -> Vec<Option<u64>> {
    let runs = sent.as_array().expect("a list").iter();
    let run = |run: &Value| match run.as_array() {
        None => vec![run.as_u64()],
        Some(run) => vec![run[0].as_u64(); run[1].as_u64().expect("a number") as usize],
    };
    runs.flat_map(run).collect()
}

/// Property: every rule means the same in the layer, the client and the proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layer_follows_every_rule() {
    follow_every_rule("layer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_follows_every_rule() {
    follow_every_rule("client").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_follows_every_rule() {
    follow_every_rule("proxy").await;
}

async fn follow_every_rule(client_name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/requests");
    let plain = plain_client();
    let mut played = 0;
    for entry in std::fs::read_dir(folder).expect("the scenarios") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let scenario: Value = serde_json::from_str(&text).expect("JSON");
        let fixture = ProtocolFixture::new(client_name, &plain, &scenario["rules"]).await;
        let steps = scenario["steps"].as_array().expect("steps").iter();
        for (number, step) in steps.enumerate() {
            let what = format!("{} with the {client_name}, step {number}", scenario["name"]);
            fixture.run_step(step, &what).await;
        }
        played += 1;
    }
    assert!(played >= 22, "only {played} scenarios ran");
}
