//! `--fault`: what goes wrong with refreshes, and how often.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::running::{Answered, Reply, Running};

/// Whether a refresh that met a fault used its refresh token up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Kept,
    Used,
}

type Fits = fn(&Answered) -> bool;

/// Each kind of fault, by what the client sees of it and by what it leaves of the refresh token.
#[test]
fn faults_happen_as_described() {
    use Token::{Kept, Used};
    fn fits(answer: &Answered, status: u16, fits: impl Fn(&Reply) -> bool) -> bool {
        matches!(answer, Ok(reply) if reply.status == status && fits(reply))
    }
    fn ends(answer: &Answered, ends: ErrorKind) -> bool {
        matches!(answer, Err(kind) if *kind == ends)
    }
    let cases: [(&str, Token, Fits); 20] = [
        ("delay=300ms", Used, |seen| {
            fits(seen, 200, |reply| reply.json().is_object())
        }),
        ("status=500", Kept, |seen| {
            fits(seen, 500, |reply| reply.header("retry-after").is_none())
        }),
        ("status=503", Kept, |seen| {
            fits(seen, 503, |reply| reply.header("retry-after").is_none())
        }),
        ("status=503,retry-after=5", Kept, |seen| {
            fits(seen, 503, |reply| reply.header("retry-after") == Some("5"))
        }),
        (
            "status=503,retry-after=Wed, 21 Oct 2026 07:28:00 GMT",
            Kept,
            |seen| {
                fits(seen, 503, |reply| {
                    reply.header("retry-after") == Some("Wed, 21 Oct 2026 07:28:00 GMT")
                })
            },
        ),
        ("retry-after=5", Kept, |seen| {
            fits(seen, 429, |reply| reply.header("retry-after") == Some("5"))
        }),
        ("hang", Kept, |seen| {
            // The one on Unix, the other on Windows.
            ends(seen, ErrorKind::WouldBlock) || ends(seen, ErrorKind::TimedOut)
        }),
        ("reset-before", Kept, |seen| {
            ends(seen, ErrorKind::ConnectionReset)
        }),
        ("reset-after", Used, |seen| {
            ends(seen, ErrorKind::ConnectionReset)
        }),
        ("answer-lost", Used, |seen| {
            ends(seen, ErrorKind::UnexpectedEof)
        }),
        ("malformed", Used, |seen| {
            let half = |body: &str| serde_json::from_str::<Value>(body).is_err();
            fits(seen, 200, |reply| {
                reply.body.starts_with('{') && half(&reply.body)
            })
        }),
        ("empty", Used, |seen| {
            fits(seen, 200, |reply| reply.body.is_empty())
        }),
        ("error-in-200", Kept, |seen| {
            fits(seen, 200, |reply| {
                reply.json() == json!({"error": "invalid_grant"})
            })
        }),
        ("expires-in=0", Used, |seen| {
            fits(seen, 200, |reply| reply.json()["expires_in"] == 0)
        }),
        ("expires-in=-1", Used, |seen| {
            fits(seen, 200, |reply| reply.json()["expires_in"] == -1)
        }),
        ("expires-in=soon", Used, |seen| {
            fits(seen, 200, |reply| reply.json()["expires_in"] == "soon")
        }),
        ("redirect=http://127.0.0.1:9/x", Kept, |seen| {
            fits(seen, 307, |reply| {
                reply.header("location") == Some("http://127.0.0.1:9/x")
            })
        }),
        ("html-403", Kept, |seen| {
            fits(seen, 403, |reply| {
                reply.header("content-type") == Some("text/html; charset=utf-8")
            })
        }),
        ("oauth=invalid_grant", Kept, |seen| {
            fits(seen, 400, |reply| {
                reply.json() == json!({"error": "invalid_grant"})
            })
        }),
        ("oauth=invalid_client", Kept, |seen| {
            fits(seen, 400, |reply| {
                reply.json() == json!({"error": "invalid_client"})
            })
        }),
    ];
    for (fault, left, fits) in cases {
        let mut issuer = Running::with(&["--fault", fault]);
        let tokens = issuer.sign_in();
        if fault == "hang" {
            issuer.patience(Duration::from_millis(300));
        }
        let began = Instant::now();
        let seen = issuer.refresh(&tokens);
        assert!(fits(&seen), "{fault}: {seen:?}");
        if fault.starts_with("delay") {
            assert!(began.elapsed() >= Duration::from_millis(300), "{fault}");
        }
        issuer.patience(Duration::from_secs(30));
        let after = issuer.refresh(&tokens).expect("a plain answer").status;
        let expected = if left == Used { 400 } else { 200 };
        assert_eq!(after, expected, "{fault}: the refresh token is {left:?}");
    }
}

/// Faults come in the order they are given, each as often as it says.
#[test]
fn faults_happen_in_order_and_as_often_as_told() {
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
    let issuer = Running::with(&flags);
    let tokens = issuer.sign_in();
    let seen: Vec<_> = (0..6)
        .map(|_| issuer.refresh(&tokens).expect("an answer").status)
        .collect();
    assert_eq!(seen, [500, 500, 503, 429, 429, 429]);
}

/// What goes with a status and what does not is said before anything starts.
#[test]
fn a_fault_that_cannot_be_read_is_explained() {
    for (fault, sentence) in [
        ("status=503,after=5", "`after=5` goes with no status"),
        ("status=99,retry-after=5", "`99` is no status"),
    ] {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_token-rotator"))
            .args(["issuer", "--fault", fault])
            .output()
            .expect("the program runs");
        assert_eq!(program.status.code(), Some(2), "{fault}");
        let said = String::from_utf8(program.stderr).expect("text");
        assert!(said.contains(sentence), "{fault}: {said}");
    }
}
