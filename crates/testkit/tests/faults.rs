//! Every fault: what the client sees, and whether the token was consumed.

mod support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Answered, Tested, post, refresh, within};
use token_rotator_testkit::{Counters, Fault, Grant, Issuer, IssuerEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Faulty {
    issuer: Issuer,
    grant: Grant,
}

impl Faulty {
    async fn with(fault: Fault) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let grant = issuer.sign_in("alice");
        issuer.faults().push(fault);
        Self { issuer, grant }
    }

    async fn answer(&self) -> Answered {
        within(refresh(&self.issuer, &self.grant.refresh_token))
            .await
            .expect("an answer")
    }

    /// Sends the refresh over a bare socket and reads until the far side ends the connection.
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
        within(stream.read_to_end(&mut Vec::new())).await
    }

    /// The token still works: the fault consumed nothing.
    async fn assert_not_consumed(&self) {
        assert_eq!(self.issuer.counters().refreshes, 0);
        assert_eq!(self.answer().await.status, 200);
        assert!(self.issuer.session_alive(&self.grant));
    }

    /// Presenting the token again trips the alarm: it was consumed.
    async fn assert_consumed(&self) {
        assert_eq!(self.issuer.counters().refreshes, 1);
        assert!(self.issuer.session_alive(&self.grant));
        assert_eq!(self.answer().await.string("error"), "invalid_grant");
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
async fn a_delay_goes_on_as_usual() {
    let delay = Duration::from_millis(30);
    let faulty = Faulty::with(Fault::Delay(delay)).await;
    let began = Instant::now();
    assert_eq!(faulty.answer().await.status, 200);
    assert!(began.elapsed() >= delay);
    faulty.assert_consumed().await;
}

#[tokio::test]
async fn a_status_comes_with_retry_after_and_consumes_nothing() {
    for (status, retry_after) in [
        (503, Some("7")),
        (429, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
        (500, None),
    ] {
        let retry_after_sent = retry_after.map(str::to_owned);
        let faulty = Faulty::with(Fault::Status {
            status,
            retry_after: retry_after_sent,
        })
        .await;
        let answer = faulty.answer().await;
        assert_eq!((answer.status, answer.text.as_str()), (status, ""));
        assert_eq!(
            answer.header("retry-after"),
            retry_after.unwrap_or_default()
        );
        faulty.assert_not_consumed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_lasts_until_the_client_goes() {
    let faulty = Arc::new(Faulty::with(Fault::Hang).await);
    let hanging = {
        let faulty = Arc::clone(&faulty);
        tokio::spawn(async move {
            refresh(&faulty.issuer, &faulty.grant.refresh_token)
                .await
                .map(|_| ())
        })
    };
    within(async {
        while !faulty.issuer.faults().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    faulty.assert_not_consumed().await;
    assert!(!hanging.is_finished());
    hanging.abort();
    within(async {
        while {
            faulty.issuer.reset_counters();
            faulty.issuer.counters().refresh_in_flight_max > 0
        } {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reset_before_consumes_nothing() {
    let faulty = Faulty::with(Fault::ResetBefore).await;
    let end = faulty.bytes_until_the_end().await;
    assert_eq!(
        end.map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    faulty.assert_not_consumed().await;
}

#[tokio::test]
async fn a_reset_after_has_consumed() {
    let faulty = Faulty::with(Fault::ResetAfter).await;
    let end = faulty.bytes_until_the_end().await;
    assert_eq!(
        end.map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    faulty.assert_consumed().await;
}

#[tokio::test]
async fn a_lost_answer_has_consumed_and_ends_in_peace() {
    let faulty = Faulty::with(Fault::AnswerLost).await;
    assert_eq!(
        faulty
            .bytes_until_the_end()
            .await
            .map_err(|error| error.kind()),
        Ok(0)
    );
    faulty.assert_consumed().await;
}

#[tokio::test]
async fn faults_break_http2_requests_too() -> Tested {
    for fault in [Fault::AnswerLost, Fault::ResetBefore, Fault::ResetAfter] {
        let faulty = Faulty::with(fault).await;
        let refresh_token = faulty.grant.refresh_token.as_str();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "demo"),
            ("refresh_token", refresh_token),
        ];
        let client = support::h2_client();
        let sent = client.post(faulty.issuer.token_url()).form(&form).send();
        assert!(within(sent).await.is_err());
    }
    Ok(())
}

#[tokio::test]
async fn malformed_json_has_consumed() {
    let faulty = Faulty::with(Fault::MalformedJson).await;
    let answer = faulty.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.starts_with('{'));
    assert!(serde_json::from_str::<serde_json::Value>(&answer.text).is_err());
    faulty.assert_consumed().await;
}

#[tokio::test]
async fn an_empty_body_has_consumed() {
    let faulty = Faulty::with(Fault::EmptyBody).await;
    let answer = faulty.answer().await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    faulty.assert_consumed().await;
}

#[tokio::test]
async fn an_error_inside_200_consumes_nothing() {
    let faulty = Faulty::with(Fault::ErrorInside200).await;
    let answer = faulty.answer().await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"error": "invalid_grant"}))
    );
    faulty.assert_not_consumed().await;
}

#[tokio::test]
async fn a_wrong_expiry_is_announced_as_it_stands() {
    for wrong in [
        json!("3600"),
        json!(-1),
        json!(null),
        json!(1e300),
        json!({}),
    ] {
        let faulty = Faulty::with(Fault::WrongExpiry(wrong.clone())).await;
        let answer = faulty.answer().await;
        assert_eq!(answer.json()["expires_in"], wrong);
        assert!(faulty.issuer.accepts(&answer.string("access_token")));
        faulty.assert_consumed().await;
    }
}

#[tokio::test]
async fn another_token_type_is_announced() {
    let faulty = Faulty::with(Fault::TokenType("DPoP".to_owned())).await;
    assert_eq!(faulty.answer().await.string("token_type"), "DPoP");
    faulty.assert_consumed().await;
}

#[tokio::test]
async fn a_redirect_consumes_nothing() {
    let faulty = Faulty::with(Fault::Redirect("http://127.0.0.1:9/elsewhere".to_owned())).await;
    let answer = faulty.answer().await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, "http://127.0.0.1:9/elsewhere")
    );
    faulty.assert_not_consumed().await;
}

#[tokio::test]
async fn a_firewall_page_consumes_nothing() {
    let faulty = Faulty::with(Fault::HtmlForbidden).await;
    let answer = faulty.answer().await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("content-type").starts_with("text/html"));
    assert!(answer.text.contains("<h1>"));
    faulty.assert_not_consumed().await;
}

#[tokio::test]
async fn an_oauth_error_consumes_nothing() {
    let faulty = Faulty::with(Fault::OAuthError {
        status: 400,
        error: "temporarily_unavailable".to_owned(),
    })
    .await;
    let answer = faulty.answer().await;
    assert_eq!(
        (answer.status, answer.string("error").as_str()),
        (400, "temporarily_unavailable")
    );
    faulty.assert_not_consumed().await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_issuer() -> Tested {
    let issuer = Arc::new(Issuer::builder().start().await?);
    let grant = issuer.sign_in("alice");
    let mut events = issuer.events();
    let gate = issuer.gate();
    gate.close();
    let leaving = {
        let (issuer, token) = (Arc::clone(&issuer), grant.refresh_token.clone());
        tokio::spawn(async move { refresh(&issuer, &token).await.map(|_| ()) })
    };
    within(gate.arrived(1)).await;
    leaving.abort();
    assert!(leaving.await.is_err_and(|error| error.is_cancelled()));
    gate.open();
    let refreshed = IssuerEvent::Refreshed {
        family: grant.family,
        generation: 2,
    };
    assert_eq!(within(events.recv()).await?, refreshed);
    Ok(())
}

#[tokio::test]
async fn an_answer_is_held_after_the_token_was_consumed() -> Tested {
    let issuer = Arc::new(Issuer::builder().start().await?);
    let grant = issuer.sign_in("alice");
    let answers = issuer.answer_gate();
    answers.close();
    let waiting = {
        let (issuer, token) = (Arc::clone(&issuer), grant.refresh_token.clone());
        tokio::spawn(async move { refresh(&issuer, &token).await.map(|answer| answer.status) })
    };
    within(answers.arrived(1)).await;
    assert_eq!(issuer.counters().refreshes, 1);
    assert!(!waiting.is_finished());
    answers.let_through(1);
    assert_eq!(within(waiting).await??, 200);
    Ok(())
}

#[tokio::test]
async fn client_credentials_meet_faults_and_sign_ins_do_not() -> Tested {
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
    let known = [("client_id", "service"), ("client_secret", "secret")];
    let sign_in = [
        &known[..],
        &[
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "x"),
        ],
    ]
    .concat();
    assert_eq!(post(issuer.token_url(), &sign_in).await?.status, 200);
    let credentials = [&known[..], &[("grant_type", "client_credentials")]].concat();
    assert_eq!(post(issuer.token_url(), &credentials).await?.status, 503);
    assert_eq!(post(issuer.token_url(), &credentials).await?.status, 200);
    Ok(())
}
