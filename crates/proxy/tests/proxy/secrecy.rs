//! Tests rule 12: logs, metrics, problems and `Debug` output contain no token.

use std::io::Write;
use std::sync::{Arc, Mutex};

use token_rotator::SecretString;
use token_rotator::middleware::RotatorExt as _;
use token_rotator_testkit::Fault;
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

#[tokio::test]
async fn no_output_contains_a_token() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .init();
    let fixture = ProxyFixture::with(|config| {
        config.local_bearer = Some(SecretString::from("the-local-bearer"));
        config.limits.header_bytes = 4000;
    })
    .await;
    let mut output = String::new();
    let mut secrets = vec![
        "the-local-bearer".to_owned(),
        "in-the-query".to_owned(),
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
    output += &fixture.proxy.metrics();
    let logged = log.0.lock().expect("no panic").clone();
    output += &String::from_utf8_lossy(&logged);
    assert!(
        output.contains("the caller gets the refusal"),
        "the log is there"
    );
    for secret in secrets {
        assert!(!output.contains(&secret), "the output contains {secret}");
    }
}
