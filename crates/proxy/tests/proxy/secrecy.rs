//! No token, nor part of one, in anything the proxy says (rule 12).

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use token_rotator_proxy::{Observed, Observer, RequestId};

use crate::world::World;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("bytes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Observer for Kept {
    fn observe(&self, request: RequestId, at: Instant, observed: Observed<'_>) {
        let mut kept = self.clone();
        writeln!(kept, "{request} {at:?} {observed:?}").expect("kept");
    }
}

#[tokio::test]
async fn nothing_shows_a_token() {
    let kept = Kept::default();
    let writer = kept.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let world = World::with(|config| config.observer = Some(Arc::new(kept.clone()))).await;
    let mut said = String::new();
    world.issuer.expire_access_tokens();
    assert_eq!(world.get("/echo?secret-query=1").await.status(), 200);
    let newer = world.rotator.access_token().expect("a token");
    let newer = token_rotator::ExposeSecret::expose_secret(newer.secret()).to_owned();
    world.issuer.revoke_family(&world.grant);
    assert_eq!(world.get("/echo").await.status(), 401);
    said.push_str(&world.get("/echo").await.text().await.expect("text"));
    said.push_str(&world.proxy.metrics());
    let logged = String::from_utf8_lossy(&kept.0.lock().expect("bytes")).into_owned();
    for wanted in ["Replayed", "Refused", "Answered", "Waiting", "Arrived"] {
        assert!(logged.contains(wanted), "{wanted} is not observed");
    }
    said.push_str(&logged);
    for secret in [
        &world.grant.access_token,
        &world.grant.refresh_token,
        &newer,
    ] {
        let part = &secret[secret.len() - 12..];
        let found = said.lines().find(|line| line.contains(part));
        assert!(found.is_none(), "{found:?}");
    }
}
