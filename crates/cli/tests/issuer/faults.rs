//! `--fault`: each kind of fault, and how often it happens.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::running::{AnswerResult, Reply, RunningIssuer};

/// Whether a refresh with a fault consumed its refresh token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RefreshToken {
    Kept,
    Used,
}

type Matches = fn(&AnswerResult) -> bool;

/// Each kind of fault: what the client receives, and whether the refresh token is consumed.
#[test]
fn faults_happen_as_described() {
    use RefreshToken::{Kept, Used};
    fn matches(answer: &AnswerResult, status: u16, matches: impl Fn(&Reply) -> bool) -> bool {
        matches!(answer, Ok(reply) if reply.status == status && matches(reply))
    }
    fn ends(answer: &AnswerResult, ends: ErrorKind) -> bool {
        matches!(answer, Err(kind) if *kind == ends)
    }
    let cases: [(&str, RefreshToken, Matches); 20] = [
        ("delay=300ms", Used, |answer| {
            matches(answer, 200, |reply| reply.json().is_object())
        }),
        ("status=500", Kept, |answer| {
            matches(answer, 500, |reply| reply.header("retry-after").is_none())
        }),
        ("status=503", Kept, |answer| {
            matches(answer, 503, |reply| reply.header("retry-after").is_none())
        }),
        ("status=503,retry-after=5", Kept, |answer| {
            matches(answer, 503, |reply| {
                reply.header("retry-after") == Some("5")
            })
        }),
        (
            "status=503,retry-after=Wed, 21 Oct 2026 07:28:00 GMT",
            Kept,
            |answer| {
                matches(answer, 503, |reply| {
                    reply.header("retry-after") == Some("Wed, 21 Oct 2026 07:28:00 GMT")
                })
            },
        ),
        ("retry-after=5", Kept, |answer| {
            matches(answer, 429, |reply| {
                reply.header("retry-after") == Some("5")
            })
        }),
        ("hang", Kept, |answer| {
            // Unix reports `WouldBlock`, Windows `TimedOut`.
            ends(answer, ErrorKind::WouldBlock) || ends(answer, ErrorKind::TimedOut)
        }),
        ("reset-before", Kept, |answer| {
            ends(answer, ErrorKind::ConnectionReset)
        }),
        ("reset-after", Used, |answer| {
            ends(answer, ErrorKind::ConnectionReset)
        }),
        ("answer-lost", Used, |answer| {
            ends(answer, ErrorKind::UnexpectedEof)
        }),
        ("malformed", Used, |answer| {
            let half = |body: &str| serde_json::from_str::<Value>(body).is_err();
            matches(answer, 200, |reply| {
                reply.body.starts_with('{') && half(&reply.body)
            })
        }),
        ("empty", Used, |answer| {
            matches(answer, 200, |reply| reply.body.is_empty())
        }),
        ("error-in-200", Kept, |answer| {
            matches(answer, 200, |reply| {
                reply.json() == json!({"error": "invalid_grant"})
            })
        }),
        ("expires-in=0", Used, |answer| {
            matches(answer, 200, |reply| reply.json()["expires_in"] == 0)
        }),
        ("expires-in=-1", Used, |answer| {
            matches(answer, 200, |reply| reply.json()["expires_in"] == -1)
        }),
        ("expires-in=soon", Used, |answer| {
            matches(answer, 200, |reply| reply.json()["expires_in"] == "soon")
        }),
        ("redirect=http://127.0.0.1:9/x", Kept, |answer| {
            matches(answer, 307, |reply| {
                reply.header("location") == Some("http://127.0.0.1:9/x")
            })
        }),
        ("html-403", Kept, |answer| {
            matches(answer, 403, |reply| {
                reply.header("content-type") == Some("text/html; charset=utf-8")
            })
        }),
        ("oauth=invalid_grant", Kept, |answer| {
            matches(answer, 400, |reply| {
                reply.json() == json!({"error": "invalid_grant"})
            })
        }),
        ("oauth=invalid_client", Kept, |answer| {
            matches(answer, 400, |reply| {
                reply.json() == json!({"error": "invalid_client"})
            })
        }),
    ];
    for (fault, expected_state, matches) in cases {
        let mut issuer = RunningIssuer::with(&["--fault", fault]);
        let tokens = issuer.sign_in();
        if fault == "hang" {
            issuer.set_timeout(Duration::from_millis(300));
        }
        let began = Instant::now();
        let answer = issuer.refresh(&tokens);
        assert!(matches(&answer), "{fault}: {answer:?}");
        if fault.starts_with("delay") {
            assert!(began.elapsed() >= Duration::from_millis(300), "{fault}");
        }
        issuer.set_timeout(Duration::from_secs(30));
        let after = issuer.refresh(&tokens).expect("a plain answer").status;
        let expected = if expected_state == Used { 400 } else { 200 };
        assert_eq!(
            after, expected,
            "{fault}: the refresh token is {expected_state:?}"
        );
    }
}

/// Faults happen in the given order, each as often as its `*TIMES` says.
#[test]
fn faults_happen_in_order_and_as_often_as_given() {
    let faults = [
        "status=500*2",
        "status=503,retry-after=1",
        "oauth=x*0",
        "retry-after=9*always",
    ];
    let flags: Vec<_> = faults
        .iter()
        .flat_map(|fault| ["--fault", *fault])
        .collect();
    let issuer = RunningIssuer::with(&flags);
    let tokens = issuer.sign_in();
    let statuses: Vec<_> = (0..6)
        .map(|_| issuer.refresh(&tokens).expect("an answer").status)
        .collect();
    assert_eq!(statuses, [500, 500, 503, 429, 429, 429]);
}

/// An invalid fault is reported before the issuer starts.
#[test]
fn a_fault_that_cannot_be_read_is_explained() {
    for (fault, sentence) in [
        (
            "status=503,after=5",
            "`after=5` is not an option of a status",
        ),
        ("status=99,retry-after=5", "`99` is not a status"),
    ] {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_token-rotator"))
            .args(["issuer", "--fault", fault])
            .output()
            .expect("the program runs");
        assert_eq!(program.status.code(), Some(2), "{fault}");
        let stderr = String::from_utf8(program.stderr).expect("text");
        assert!(stderr.contains(sentence), "{fault}: {stderr}");
    }
}
