//! Every route of the upstream: its response to a valid token, to an invalid token and to no token.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{ReceivedResponse, TestResult, client, get, refresh, start_servers};
use token_rotator_testkit::{Issuer, StartError, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a string");
    }
    text
}

#[tokio::test]
async fn refusals_follow_rfc_6750() -> TestResult {
    let issuer = Issuer::builder().start().await?;
    let upstream = Upstream::builder(&issuer)
        .realm("the house")
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    let url = format!("{}/echo", upstream.url());

    let bare = ReceivedResponse::from(client().get(&url).send().await?).await?;
    assert_eq!(
        (bare.status, bare.header("www-authenticate")),
        (401, "Bearer realm=\"the house\"")
    );
    let basic =
        ReceivedResponse::from(client().get(&url).basic_auth("a", Some("b")).send().await?).await?;
    assert_eq!(
        (basic.status, basic.header("www-authenticate")),
        (401, "Bearer realm=\"the house\"")
    );
    issuer.expire_access_tokens();
    let invalid = "Bearer realm=\"the house\", error=\"invalid_token\"";
    for token in [grant.access_token.as_str(), "rubbish"] {
        let response = get(&upstream, "/echo", token).await?;
        assert_eq!(
            (response.status, response.header("www-authenticate")),
            (401, invalid)
        );
        assert_eq!(response.string("error"), "invalid_token");
    }
    let two_headers = client()
        .get(&url)
        .bearer_auth("a")
        .header("authorization", "Bearer b")
        .send()
        .await?;
    assert_eq!(two_headers.status().as_u16(), 400);
    assert_eq!(
        (upstream.counters().served, upstream.counters().refused),
        (0, 5)
    );
    assert!(matches!(
        Upstream::builder(&issuer).realm("a\"b").start().await,
        Err(StartError::Realm)
    ));
    Ok(())
}

#[tokio::test]
async fn the_echo_shows_the_request_but_no_token() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder().secret_prefix("CANARY-")).await;
    let grant = issuer.sign_in("alice");
    let newer = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("access_token");
    let body = b"\x00some bytes\xff".repeat(10_000);
    let request = client()
        .request(
            reqwest::Method::PATCH,
            format!("{}/echo?a=1&b=%20", upstream.url()),
        )
        .bearer_auth(&newer)
        .header("x-token", &grant.access_token)
        .header("x-many", "one")
        .header("x-many", "two")
        .header(
            "cookie",
            format!("theme=dark; refresh_token={}", grant.refresh_token),
        )
        .body(body.clone());
    let response = ReceivedResponse::from(request.send().await?).await?;
    assert_eq!(response.status, 200);
    assert!(!response.text.contains("CANARY") && !response.text.contains(&newer));
    let echoed = response.json();
    assert_eq!(
        (&echoed["method"], &echoed["path"]),
        (&json!("PATCH"), &json!("/echo"))
    );
    assert_eq!(
        (&echoed["query"], &echoed["subject"]),
        (&json!("a=1&b=%20"), &json!("alice"))
    );
    assert_eq!(
        (&echoed["generation"], &echoed["body_length"]),
        (&json!(2), &json!(body.len()))
    );
    assert_eq!(echoed["body_sha256"], sha256(&body));
    let headers = &echoed["headers"];
    assert_eq!(
        (&headers["authorization"], &headers["x-token"]),
        (&json!(["Bearer 2"]), &json!(["1"]))
    );
    assert_eq!(headers["x-many"], json!(["one", "two"]));
    assert_eq!(
        headers["cookie"],
        json!(["theme=dark; refresh_token=[redacted]"])
    );
    Ok(())
}

#[tokio::test]
async fn the_open_echo_accepts_every_request() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let bare = client()
        .get(format!("{}/open/echo", upstream.url()))
        .send()
        .await?;
    let echoed: Value = bare.json().await?;
    assert_eq!(
        (&echoed["generation"], &echoed["headers"]["authorization"]),
        (&Value::Null, &Value::Null)
    );
    let revoked = issuer.sign_in("alice");
    issuer.revoke_family(revoked.family);
    let echoed = get(&upstream, "/open/echo", &revoked.access_token)
        .await?
        .json();
    assert_eq!(
        (&echoed["generation"], &echoed["subject"]),
        (&json!(1), &Value::Null)
    );
    let foreign = get(&upstream, "/open/echo", "rubbish").await?.json();
    assert_eq!(
        foreign["headers"]["authorization"],
        json!(["Bearer unknown"])
    );
    assert_eq!(upstream.counters().served, 3);
    Ok(())
}

#[tokio::test]
async fn a_configured_header_carries_the_token_without_a_scheme() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let grant = issuer.sign_in("alice");
    let url = format!("{}/header/X-Access/echo", upstream.url());
    let good = client()
        .get(&url)
        .header("x-access", &grant.access_token)
        .send()
        .await?;
    let echoed: Value = good.json().await?;
    assert_eq!(
        (&echoed["generation"], &echoed["headers"]["x-access"]),
        (&json!(1), &json!(["1"]))
    );
    let in_authorization_header = client()
        .get(&url)
        .bearer_auth(&grant.access_token)
        .send()
        .await?;
    assert_eq!(in_authorization_header.status().as_u16(), 401);
    Ok(())
}

#[tokio::test]
async fn request_and_response_bodies_are_streamed() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let body = vec![7; 3_000_000];
    for http_client in [client(), support::h2_client()] {
        let url = format!("{}/upload", upstream.url());
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> = body
            .chunks(10_000)
            .map(|chunk| Ok(chunk.to_vec()))
            .collect();
        let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        let uploaded: Value = http_client
            .post(&url)
            .bearer_auth(&token)
            .body(stream)
            .send()
            .await?
            .json()
            .await?;
        assert_eq!(
            uploaded,
            json!({"bytes": body.len(), "sha256": sha256(&body)})
        );
        let refused = http_client.post(&url).body(body.clone()).send().await?;
        assert_eq!(
            refused.status().as_u16(),
            401,
            "the refusal reaches a client that is still writing"
        );

        let url = format!("{}/download/200001", upstream.url());
        let downloaded = http_client.get(&url).bearer_auth(&token).send().await?;
        assert_eq!(downloaded.content_length(), Some(200_001));
        let expected: Vec<u8> = (0..=250).cycle().take(200_001).collect();
        assert!(downloaded.bytes().await? == expected);
    }
    assert_eq!(get(&upstream, "/download/many", &token).await?.status, 400);
    Ok(())
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_read_so_that_the_connection_can_be_reused() -> TestResult
{
    const LENGTH: usize = 1_000_000;
    let (_issuer, upstream) = start_servers(Issuer::builder()).await;
    let address = upstream.url().trim_start_matches("http://").to_owned();
    let head =
        format!("POST /upload HTTP/1.1\r\nhost: {address}\r\ncontent-length: {LENGTH}\r\n\r\n");
    let request = [head.as_bytes(), &vec![0; LENGTH]].concat();
    let mut stream = TcpStream::connect(address).await?;
    for _ in 0..2 {
        stream.write_all(&request).await?;
        let mut response = Vec::new();
        while !response.ends_with(b"}") {
            assert!(
                stream.read_buf(&mut response).await? > 0,
                "the connection was closed"
            );
        }
        assert!(response.starts_with(b"HTTP/1.1 401"));
    }
    Ok(())
}

#[tokio::test]
async fn redirects_lead_to_the_requested_location() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let same = get(&upstream, "/redirect/same", &token).await?;
    assert_eq!((same.status, same.header("location")), (307, "/echo"));
    let same = get(
        &upstream,
        "/redirect/same?status=303&to=/open/echo%3Fa=1",
        &token,
    )
    .await?;
    assert_eq!(
        (same.status, same.header("location")),
        (303, "/open/echo?a=1")
    );
    let foreign = get(
        &upstream,
        "/redirect/to?url=http://127.0.0.1:9/x&status=308",
        &token,
    )
    .await?;
    assert_eq!(
        (foreign.status, foreign.header("location")),
        (308, "http://127.0.0.1:9/x")
    );
    for wrong in [
        "/redirect/to",
        "/redirect/same?status=200",
        "/redirect/same?status=x",
    ] {
        assert_eq!(get(&upstream, wrong, &token).await?.status, 400, "{wrong}");
    }
    assert_eq!(
        get(&upstream, "/redirect/same", "rubbish").await?.status,
        401
    );
    Ok(())
}

#[tokio::test]
async fn the_response_has_the_requested_status() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let forbidden = get(&upstream, "/status/403", &token).await?;
    assert_eq!(
        (forbidden.status, forbidden.json()),
        (403, json!({"status": 403}))
    );
    assert_eq!(get(&upstream, "/status/403", "rubbish").await?.status, 401);
    assert_eq!(get(&upstream, "/status/204", &token).await?.text, "");
    assert_eq!(
        get(&upstream, "/status/500/open", "rubbish").await?.status,
        500
    );
    assert_eq!(get(&upstream, "/status/100", &token).await?.status, 400);
    assert_eq!(get(&upstream, "/nowhere", &token).await?.status, 404);
    assert_eq!(get(&upstream, "/always-401", &token).await?.status, 401);
    Ok(())
}

#[tokio::test]
async fn challenges_are_sent_unchanged() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let path = "/challenge?value=Bearer%20error%3D%22insufficient_scope%22&value=Basic";
    let response = get(&upstream, path, &token).await?;
    assert_eq!(response.status, 401);
    let values: Vec<_> = response
        .headers
        .get_all("www-authenticate")
        .iter()
        .collect();
    assert_eq!(values, ["Bearer error=\"insufficient_scope\"", "Basic"]);
    let when_bad = "/challenge?when=bad&value=Bearer";
    assert_eq!(get(&upstream, when_bad, &token).await?.status, 200);
    assert_eq!(
        get(&upstream, when_bad, "rubbish")
            .await?
            .header("www-authenticate"),
        "Bearer"
    );
    Ok(())
}

#[tokio::test]
async fn custom_refusals_have_their_own_status_or_code() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    assert_eq!(get(&upstream, "/custom-419", &token).await?.status, 200);
    assert_eq!(get(&upstream, "/custom-419", "rubbish").await?.status, 419);
    let code = |response: &ReceivedResponse| (response.status, response.string("code"));
    assert_eq!(
        code(&get(&upstream, "/custom-body-code", &token).await?),
        (200, "OK".to_owned())
    );
    let bad = get(&upstream, "/custom-body-code", "rubbish").await?;
    assert_eq!(code(&bad), (200, "TOKEN_EXPIRED".to_owned()));
    assert_eq!(
        (upstream.counters().served, upstream.counters().refused),
        (2, 2)
    );
    Ok(())
}

#[tokio::test]
async fn counters_and_records_contain_the_generations() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let grant = issuer.sign_in("alice");
    get(&upstream, "/echo", &grant.access_token).await?;
    issuer.expire_access_tokens();
    get(&upstream, "/echo?again", &grant.access_token).await?;
    let newer = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("access_token");
    let url = format!("{}/status/403", upstream.url());
    client()
        .get(url)
        .bearer_auth(&newer)
        .header("x-request-id", "third")
        .send()
        .await?;
    let counters = upstream.counters();
    assert_eq!(
        (counters.served, counters.refused, counters.in_flight_max),
        (2, 1, 1)
    );
    assert_eq!(
        counters.by_generation.into_iter().collect::<Vec<_>>(),
        [(1, 2), (2, 1)]
    );

    let records = upstream.record();
    let seen: Vec<_> = records
        .iter()
        .map(|record| (record.path.as_str(), record.generation, record.status))
        .collect();
    assert_eq!(
        seen,
        [
            ("/echo", Some(1), 200),
            ("/echo", Some(1), 401),
            ("/status/403", Some(2), 403)
        ]
    );
    assert_eq!(records[2].request_id.as_deref(), Some("third"));
    assert!(
        records
            .iter()
            .all(|record| record.arrived <= record.answered)
    );
    assert!(
        records
            .windows(2)
            .all(|pair| pair[0].answered <= pair[1].arrived)
    );
    assert!(Duration::from_millis(records[2].when_ms()) <= records[2].arrived);
    upstream.reset_counters();
    assert_eq!(
        upstream.counters(),
        token_rotator_testkit::UpstreamCounters::default()
    );
    assert!(upstream.record().is_empty());
    Ok(())
}
