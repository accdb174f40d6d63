//! Tests rule 12: logs, metrics, problems and `Debug` output contain no token.

use std::io::Write;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use token_rotator::SecretString;
use token_rotator::middleware::RotatorExt as _;
use token_rotator_proxy::UpstreamProxy;
use token_rotator_testkit::{Fault, HttpProxy};
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::ProxyFixture;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// `me:the-proxy-password`
const PROXY_CREDENTIALS: &str = "Basic bWU6dGhlLXByb3h5LXBhc3N3b3Jk";

#[tokio::test]
async fn no_output_contains_a_token() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .init();
    let network = HttpProxy::start(Some(PROXY_CREDENTIALS))
        .await
        .expect("a proxy");
    let through = format!("http://me:the-proxy-password@{}", network.address());
    let fixture = ProxyFixture::with(|config| {
        config.local_bearer = Some(SecretString::from("the-local-bearer"));
        config.limits.header_bytes = 4000;
        let address = through.parse().expect("an address");
        config.routes[0].proxy = UpstreamProxy::Address(address);
    })
    .await;
    let mut output = String::new();
    let mut secrets = vec![
        "the-local-bearer".to_owned(),
        "in-the-query".to_owned(),
        "the-proxy-password".to_owned(),
        PROXY_CREDENTIALS.replace("Basic ", ""),
        fixture.grant.access_token.clone(),
        fixture.grant.refresh_token.clone(),
    ];
    let request = |path: &str| {
        let request = fixture.client.get(fixture.url(path));
        request
            .header("authorization", "Bearer the-local-bearer")
            .send()
    };
    for path in [
        "/echo?q=in-the-query",
        "/always-401?q=in-the-query",
        "/a/../in-the-query",
    ] {
        let answer = request(path).await.expect("an answer");
        if answer.status() != 200 {
            output += &answer.text().await.expect("text");
        }
    }
    let token = fixture.rotator.access_token().expect("a token");
    secrets.push(token_rotator::ExposeSecret::expose_secret(token.secret()).to_owned());
    fixture.issuer.faults().push(Fault::MalformedJson.always());
    fixture.issuer.expire_access_tokens();
    for _ in 0..3 {
        let answer = request("/echo").await.expect("an answer");
        output += &answer.text().await.expect("text");
    }
    let origin = HeaderValue::from_bytes(b"http://page\x9b31m.test").expect("a value");
    let page = fixture
        .client
        .get(fixture.url("/"))
        .header("origin", origin);
    let refused = page.send().await.expect("an answer");
    assert_eq!(refused.status(), 403);
    output += &refused.text().await.expect("text");
    let metrics = fixture.proxy.metrics();
    assert!(
        !metrics.contains("31m.test"),
        "no label has the text of a caller"
    );
    output += &metrics;
    let logged = log.0.lock().expect("no panic").clone();
    output += &String::from_utf8_lossy(&logged);
    // A page must not write control characters into a terminal that shows the log.
    let shown = br"http://page\\x9b31m.test";
    assert!(
        logged.windows(shown.len()).any(|part| part == shown),
        "the log names the origin"
    );
    assert!(!logged.contains(&0x9b));
    assert_eq!(network.record().len(), fixture.upstream.record().len());
    assert!(
        output.contains("the caller gets the refusal"),
        "the log is there"
    );
    for secret in secrets {
        assert!(!output.contains(&secret), "the output contains {secret}");
    }
}
