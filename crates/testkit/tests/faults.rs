//! Every fault: what the client receives, and whether the issuer consumed the refresh token.

mod support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{ReceivedResponse, TestResult, post, refresh, with_timeout};
use token_rotator_testkit::{Counters, Fault, Grant, Issuer, IssuerEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct FaultTest {
    issuer: Issuer,
    grant: Grant,
}

impl FaultTest {
    async fn start(fault: Fault) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let grant = issuer.sign_in("alice");
        issuer.faults().push(fault);
        Self { issuer, grant }
    }

    async fn response(&self) -> ReceivedResponse {
        with_timeout(refresh(&self.issuer, &self.grant.refresh_token))
            .await
            .expect("a response")
    }

    /// Sends the refresh over a plain socket, and reads until the issuer ends the connection.
    async fn bytes_until_the_end(&self) -> std::io::Result<usize> {
        let address = self.issuer.url().trim_start_matches("http://");
        let body = format!(
            "grant_type=refresh_token&client_id=demo&refresh_token={}",
            self.grant.refresh_token
        );
        let head = format!(
            "POST /token HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        with_timeout(stream.read_to_end(&mut Vec::new())).await
    }

    /// Asserts that the refresh token still works, so the fault consumed nothing.
    async fn assert_not_consumed(&self) {
        assert_eq!(self.issuer.counters().refreshes, 0);
        assert_eq!(self.response().await.status, 200);
        assert!(self.issuer.session_alive(&self.grant));
    }

    /// Asserts that presenting the refresh token again is detected as reuse, so the fault consumed the token.
    async fn assert_consumed(&self) {
        assert_eq!(self.issuer.counters().refreshes, 1);
        assert!(self.issuer.session_alive(&self.grant));
        assert_eq!(self.response().await.string("error"), "invalid_grant");
        let Counters {
            reuses,
            revocations,
            ..
        } = self.issuer.counters();
        assert_eq!((reuses, revocations), (1, 1));
        assert!(!self.issuer.session_alive(&self.grant));
    }
}

#[tokio::test]
async fn a_delay_is_followed_by_the_usual_response() {
    let delay = Duration::from_millis(30);
    let test = FaultTest::start(Fault::Delay(delay)).await;
    let start_time = Instant::now();
    assert_eq!(test.response().await.status, 200);
    assert!(start_time.elapsed() >= delay);
    test.assert_consumed().await;
}

#[tokio::test]
async fn a_status_has_retry_after_and_consumes_nothing() {
    for (status, retry_after) in [
        (503, Some("7")),
        (429, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
        (500, None),
    ] {
        let retry_after_sent = retry_after.map(str::to_owned);
        let test = FaultTest::start(Fault::Status {
            status,
            retry_after: retry_after_sent,
        })
        .await;
        let response = test.response().await;
        assert_eq!((response.status, response.text.as_str()), (status, ""));
        assert_eq!(
            response.header("retry-after"),
            retry_after.unwrap_or_default()
        );
        test.assert_not_consumed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_lasts_until_the_client_disconnects() {
    let test = Arc::new(FaultTest::start(Fault::Hang).await);
    let hanging = {
        let test = Arc::clone(&test);
        tokio::spawn(async move {
            refresh(&test.issuer, &test.grant.refresh_token)
                .await
                .map(|_| ())
        })
    };
    with_timeout(async {
        while !test.issuer.faults().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    test.assert_not_consumed().await;
    assert!(!hanging.is_finished());
    hanging.abort();
    with_timeout(async {
        while {
            test.issuer.reset_counters();
            test.issuer.counters().refresh_in_flight_max > 0
        } {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reset_before_redemption_consumes_nothing() {
    let test = FaultTest::start(Fault::ResetBefore).await;
    let end = test.bytes_until_the_end().await;
    assert_eq!(
        end.map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    test.assert_not_consumed().await;
}

#[tokio::test]
async fn a_reset_after_redemption_consumes() {
    let test = FaultTest::start(Fault::ResetAfter).await;
    let end = test.bytes_until_the_end().await;
    assert_eq!(
        end.map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    test.assert_consumed().await;
}

#[tokio::test]
async fn a_lost_response_consumes_and_closes_the_connection() {
    let test = FaultTest::start(Fault::AnswerLost).await;
    assert_eq!(
        test.bytes_until_the_end()
            .await
            .map_err(|error| error.kind()),
        Ok(0)
    );
    test.assert_consumed().await;
}

#[tokio::test]
async fn faults_apply_to_http2_requests() -> TestResult {
    for fault in [Fault::AnswerLost, Fault::ResetBefore, Fault::ResetAfter] {
        let test = FaultTest::start(fault).await;
        let refresh_token = test.grant.refresh_token.as_str();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "demo"),
            ("refresh_token", refresh_token),
        ];
        let client = support::h2_client();
        let sent = client.post(test.issuer.token_url()).form(&form).send();
        assert!(with_timeout(sent).await.is_err());
    }
    Ok(())
}

#[tokio::test]
async fn malformed_json_consumes() {
    let test = FaultTest::start(Fault::MalformedJson).await;
    let response = test.response().await;
    assert_eq!(response.status, 200);
    assert!(response.text.starts_with('{'));
    assert!(serde_json::from_str::<serde_json::Value>(&response.text).is_err());
    test.assert_consumed().await;
}

#[tokio::test]
async fn an_empty_body_consumes() {
    let test = FaultTest::start(Fault::EmptyBody).await;
    let response = test.response().await;
    assert_eq!((response.status, response.text.as_str()), (200, ""));
    test.assert_consumed().await;
}

#[tokio::test]
async fn an_error_inside_200_consumes_nothing() {
    let test = FaultTest::start(Fault::ErrorInside200).await;
    let response = test.response().await;
    assert_eq!(
        (response.status, response.json()),
        (200, json!({"error": "invalid_grant"}))
    );
    test.assert_not_consumed().await;
}

#[tokio::test]
async fn a_wrong_expiry_is_sent_unchanged() {
    for wrong in [
        json!("3600"),
        json!(-1),
        json!(null),
        json!(1e300),
        json!({}),
    ] {
        let test = FaultTest::start(Fault::WrongExpiry(wrong.clone())).await;
        let response = test.response().await;
        assert_eq!(response.json()["expires_in"], wrong);
        assert!(test.issuer.accepts(&response.string("access_token")));
        test.assert_consumed().await;
    }
}

#[tokio::test]
async fn another_token_type_is_sent() {
    let test = FaultTest::start(Fault::TokenType("DPoP".to_owned())).await;
    assert_eq!(test.response().await.string("token_type"), "DPoP");
    test.assert_consumed().await;
}

#[tokio::test]
async fn a_redirect_consumes_nothing() {
    let test = FaultTest::start(Fault::Redirect("http://127.0.0.1:9/elsewhere".to_owned())).await;
    let response = test.response().await;
    assert_eq!(
        (response.status, response.header("location")),
        (307, "http://127.0.0.1:9/elsewhere")
    );
    test.assert_not_consumed().await;
}

#[tokio::test]
async fn a_firewall_page_consumes_nothing() {
    let test = FaultTest::start(Fault::HtmlForbidden).await;
    let response = test.response().await;
    assert_eq!(response.status, 403);
    assert!(response.header("content-type").starts_with("text/html"));
    assert!(response.text.contains("<h1>"));
    test.assert_not_consumed().await;
}

#[tokio::test]
async fn an_oauth_error_consumes_nothing() {
    let test = FaultTest::start(Fault::OAuthError {
        status: 400,
        error: "temporarily_unavailable".to_owned(),
    })
    .await;
    let response = test.response().await;
    assert_eq!(
        (response.status, response.string("error").as_str()),
        (400, "temporarily_unavailable")
    );
    test.assert_not_consumed().await;
}

#[tokio::test]
async fn a_disconnecting_client_does_not_stop_the_issuer() -> TestResult {
    let issuer = Arc::new(Issuer::builder().start().await?);
    let grant = issuer.sign_in("alice");
    let mut events = issuer.events();
    let gate = issuer.gate();
    gate.close();
    let disconnecting = {
        let (issuer, token) = (Arc::clone(&issuer), grant.refresh_token.clone());
        tokio::spawn(async move { refresh(&issuer, &token).await.map(|_| ()) })
    };
    with_timeout(gate.arrived(1)).await;
    disconnecting.abort();
    assert!(disconnecting.await.is_err_and(|error| error.is_cancelled()));
    gate.open();
    let refreshed = IssuerEvent::Refreshed {
        family: grant.family,
        generation: 2,
    };
    assert_eq!(with_timeout(events.recv()).await?, refreshed);
    Ok(())
}

#[tokio::test]
async fn a_response_is_held_after_the_token_was_consumed() -> TestResult {
    let issuer = Arc::new(Issuer::builder().start().await?);
    let grant = issuer.sign_in("alice");
    let response_gate = issuer.answer_gate();
    response_gate.close();
    let waiting = {
        let (issuer, token) = (Arc::clone(&issuer), grant.refresh_token.clone());
        tokio::spawn(async move {
            refresh(&issuer, &token)
                .await
                .map(|response| response.status)
        })
    };
    with_timeout(response_gate.arrived(1)).await;
    assert_eq!(issuer.counters().refreshes, 1);
    assert!(!waiting.is_finished());
    response_gate.let_through(1);
    assert_eq!(with_timeout(waiting).await??, 200);
    Ok(())
}

#[tokio::test]
async fn client_credentials_draw_faults_and_sign_ins_do_not() -> TestResult {
    let issuer = Issuer::builder()
        .client("service", Some("secret"))
        .start()
        .await?;
    issuer.faults().push(
        Fault::Status {
            status: 503,
            retry_after: None,
        }
        .once(),
    );
    let client_parameters = [("client_id", "service"), ("client_secret", "secret")];
    let sign_in = [
        &client_parameters[..],
        &[
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "x"),
        ],
    ]
    .concat();
    assert_eq!(post(issuer.token_url(), &sign_in).await?.status, 200);
    let credentials = [
        &client_parameters[..],
        &[("grant_type", "client_credentials")],
    ]
    .concat();
    assert_eq!(post(issuer.token_url(), &credentials).await?.status, 503);
    assert_eq!(post(issuer.token_url(), &credentials).await?.status, 200);
    Ok(())
}
