//! Challenges and long refusals that a test selects, counters, and connection numbers of the upstream.

mod support;

use serde_json::Value;
use support::{ReceivedResponse, TestResult, client, get, refresh, start_servers, with_timeout};
use token_rotator_testkit::{Issuer, TokenFormat};

#[tokio::test]
async fn a_challenge_has_the_requested_status_and_applies_to_the_requested_tokens() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let path = "/challenge?value=Bearer%20error%3Dx&status=403&when=good";
    let good = get(&upstream, path, &token).await?;
    assert_eq!(
        (good.status, good.header("www-authenticate")),
        (403, "Bearer error=x")
    );
    let bad = get(&upstream, path, "rubbish").await?;
    assert_eq!(bad.status, 401);
    assert!(bad.header("www-authenticate").contains("invalid_token"));
    assert_eq!(
        get(&upstream, "/challenge?status=x", &token).await?.status,
        400
    );
    Ok(())
}

#[tokio::test]
async fn a_long_refusal_has_the_requested_length() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    assert_eq!(get(&upstream, "/long-401/9", &token).await?.status, 200);
    let url = format!("{}/long-401/100000", upstream.url());
    let refused = client().get(url).bearer_auth("rubbish").send().await?;
    assert_eq!(refused.status().as_u16(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(refused.bytes().await?.len(), 100_000);
    assert_eq!(get(&upstream, "/long-401/x", "rubbish").await?.status, 400);

    let url = format!("{}/long-401/endless", upstream.url());
    let mut endless = client().get(url).bearer_auth("rubbish").send().await?;
    assert_eq!(endless.content_length(), None);
    let mut read = 0;
    while read < 1_000_000 {
        read += with_timeout(endless.chunk()).await?.ok_or("an end")?.len();
    }
    Ok(())
}

#[tokio::test]
async fn one_response_contains_the_counters_of_issuer_and_upstream() -> TestResult {
    let (issuer, upstream) =
        start_servers(Issuer::builder().token_format(TokenFormat::Opaque)).await;
    let grant = issuer.sign_in("alice");
    get(&upstream, "/echo", &grant.access_token).await?;
    refresh(&issuer, &grant.refresh_token).await?;
    let url = format!("{}/__counters", upstream.url());
    let counters: Value = ReceivedResponse::from(client().get(url).send().await?)
        .await?
        .json();
    assert_eq!(counters["upstream"]["by_generation"]["1"], 1);
    assert_eq!(counters["issuer"]["refreshes"], 1);
    assert_eq!(
        counters["upstream"],
        serde_json::to_value(upstream.counters())?,
        "reading the counters is not counted"
    );
    assert_eq!(counters["issuer"], serde_json::to_value(issuer.counters())?);
    Ok(())
}

#[tokio::test]
async fn records_contain_the_connection_number() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let reused_client = client();
    for _ in 0..2 {
        let url = format!("{}/echo", upstream.url());
        let response = reused_client.get(url).bearer_auth(&token).send().await?;
        ReceivedResponse::from(response).await?;
    }
    get(&upstream, "/echo", &token).await?;
    let records = upstream.record();
    let connections: Vec<_> = records.iter().map(|record| record.connection).collect();
    assert_eq!(connections, [1, 1, 2]);
    Ok(())
}
