//! The flags for tokens, clients and time, and the counters.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::running::{RunningIssuer, TokenPair};

/// The result of using a refresh token twice.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SecondUse {
    Refused,
    /// Tokens with a new refresh token.
    New,
    /// Tokens with the refresh token of the first answer.
    Successor,
    /// Tokens without a refresh token, like the first answer.
    Kept,
}

/// Uses a refresh token a second time, before and after its successor was used. Each profile answers
/// differently and counts its own number of alarms.
#[test]
fn each_profile_treats_used_refresh_tokens_differently() {
    use SecondUse::{Kept, New, Refused, Successor};
    let cases: [(&[&str], SecondUse, SecondUse, u64); 9] = [
        (&[], Refused, Refused, 2),
        (&["--profile", "strict"], Refused, Refused, 2),
        (&["--profile", "leeway"], New, Refused, 1),
        (&["--leeway", "1h"], New, Refused, 1),
        (&["--leeway", "0s"], Refused, Refused, 2),
        (&["--profile=leeway", "--leeway=0s"], Refused, Refused, 2),
        (&["--profile", "parent-always"], Successor, Refused, 1),
        (&["--profile", "multi-use"], Kept, Kept, 0),
        (&["--profile", "rotating"], New, New, 0),
    ];
    for (flags, at_once, later, alarms) in cases {
        let issuer = RunningIssuer::with(flags);
        let first = issuer.sign_in();
        let second = refreshed(&issuer, &first);
        let second_use = use_again(&issuer, &first, &second);
        assert_eq!(second_use, at_once, "{flags:?}");

        let first = issuer.sign_in();
        let second = refreshed(&issuer, &first);
        let third = refreshed(&issuer, &second);
        let second_use = use_again(&issuer, &first, &third);
        assert_eq!(second_use, later, "{flags:?}, late");

        let counters = &issuer.counters()["issuer"];
        assert_eq!(counters["reuses"], alarms, "{flags:?}");
        assert_eq!(counters["revocations"], alarms, "{flags:?}");
    }
}

/// Refreshes successfully. An answer without a refresh token keeps the old one.
fn refreshed(issuer: &RunningIssuer, tokens: &TokenPair) -> TokenPair {
    let mut next = TokenPair::from(&issuer.refresh(tokens).expect("an answer"));
    let kept = tokens.refresh.clone();
    next.refresh = next.refresh.or(kept);
    next
}

/// Uses a refresh token again. `newest` has the session's current tokens.
fn use_again(issuer: &RunningIssuer, used: &TokenPair, newest: &TokenPair) -> SecondUse {
    let answer = issuer.refresh(used).expect("an answer");
    if answer.status == 400 {
        assert_eq!(answer.json()["error"], "invalid_grant");
        assert_eq!(issuer.echo(&newest.access), 401, "the family is revoked");
        return SecondUse::Refused;
    }
    match TokenPair::from(&answer).refresh {
        None => SecondUse::Kept,
        next if next == newest.refresh => SecondUse::Successor,
        Some(_) => SecondUse::New,
    }
}

/// `--leeway` with another profile is refused before the issuer starts.
#[test]
fn a_leeway_contradicts_other_profiles() {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_token-rotator"))
        .args(["issuer", "--profile", "strict", "--leeway", "3s"])
        .output()
        .expect("the program runs");
    assert_eq!(program.status.code(), Some(2));
    let stderr = String::from_utf8(program.stderr).expect("text");
    assert!(
        stderr.contains("`--leeway` is for `--profile leeway`"),
        "{stderr}"
    );
}

/// `--opaque` makes access tokens random strings instead of JWTs. The API accepts both.
#[test]
fn opaque_tokens_are_no_jwts() {
    for (flags, dots) in [(&[][..], 2), (&["--opaque"], 0)] {
        let issuer = RunningIssuer::with(flags);
        let access = issuer.sign_in().access;
        assert_eq!(access.matches('.').count(), dots, "{flags:?}");
        assert_eq!(issuer.echo(&access), 200);
    }
}

/// `--skew` shifts the issuer's clock in both directions. No token lives shorter because of it.
#[test]
fn the_clock_is_off_by_the_skew() {
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(now.expect("after 1970").as_millis()).expect("before the year 292278994")
    };
    for skew in [0, 3_600_000, -3_600_000] {
        let issuer = RunningIssuer::with(&["--lifetime", "10m", "--skew", &skew.to_string()]);
        let before = now();
        let access = issuer.sign_in().access;
        let after = now();
        let form = format!("client_id=demo&token={access}");
        let described = issuer.post("introspection", &form).expect("an answer");
        let expires = described.json()["exp"].as_i64().expect("seconds") * 1000;
        let (earliest, latest) = (before + skew + 600_000 - 1000, after + skew + 600_000);
        assert!(
            (earliest..=latest).contains(&expires),
            "skew {skew}: {expires}"
        );
        assert_eq!(issuer.echo(&access), 200);
    }
}

/// `--client` adds clients, with and without a secret, to the client `demo`.
#[test]
fn clients_are_added() {
    let issuer = RunningIssuer::with(&["--client", "robot:s3cret", "--client", "app"]);
    let cases = [
        (
            "grant_type=client_credentials&client_id=robot&client_secret=s3cret",
            200,
        ),
        (
            "grant_type=client_credentials&client_id=robot&client_secret=wrong",
            401,
        ),
        ("grant_type=client_credentials&client_id=robot", 401),
        ("grant_type=client_credentials&client_id=app", 400),
        (
            "grant_type=password&username=a&password=a&client_id=app",
            200,
        ),
        (
            "grant_type=password&username=a&password=a&client_id=demo",
            200,
        ),
        (
            "grant_type=password&username=a&password=a&client_id=other",
            401,
        ),
    ];
    for (form, status) in cases {
        let answer = issuer.post("token", form).expect("an answer");
        assert_eq!(answer.status, status, "{form}: {}", answer.body);
    }
    let secret = RunningIssuer::with(&["--client", "demo:s3cret"]);
    let form = "grant_type=password&username=a&password=a&client_id=demo";
    let answer = secret.post("token", form).expect("an answer");
    assert_eq!(answer.status, 401, "`demo` itself can be given a secret");
}

/// A browser is redirected with a code at once; a device waits until its code is entered.
#[test]
fn users_sign_in_at_the_addresses_that_are_printed() {
    let issuer = RunningIssuer::with(&[]);
    // The pair of RFC 7636 appendix B.
    let (verifier, challenge) = (
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    );
    let url = format!(
        "{}?response_type=code&client_id=demo&redirect_uri=http://127.0.0.1:1/callback\
         &code_challenge={challenge}&code_challenge_method=S256",
        issuer.url("authorization")
    );
    let answer = issuer.send("GET", &url, "", "").expect("an answer");
    assert_eq!(answer.status, 302, "{}", answer.body);
    let location = answer.header("location").expect("a redirect");
    let (_, query) = location.split_once("?code=").expect("a code");
    let code = query.split('&').next().expect("a code");
    let form = format!(
        "grant_type=authorization_code&client_id=demo&code={code}&code_verifier={verifier}\
         &redirect_uri=http://127.0.0.1:1/callback"
    );
    let tokens = TokenPair::from(&issuer.post("token", &form).expect("an answer"));
    assert_eq!(issuer.echo(&tokens.access), 200);

    let given = issuer.post("device_authorization", "client_id=demo");
    let given = given.expect("an answer").json();
    let page = given["verification_uri_complete"].as_str().expect("a page");
    let answer = issuer.send("GET", page, "", "").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=demo&device_code={}",
        given["device_code"].as_str().expect("a code")
    );
    let tokens = TokenPair::from(&issuer.post("token", &form).expect("an answer"));
    assert_eq!(issuer.echo(&tokens.access), 200);
}

/// `--lifetime` is announced and enforced. `--no-expires-in` only omits the announcement.
#[test]
fn lifetimes_are_announced_and_enforced() {
    let cases: [(&[&str], Option<u64>, u16); 5] = [
        (&[], Some(300), 200),
        (&["--lifetime", "7m"], Some(420), 200),
        (&["--lifetime", "0s"], Some(0), 401),
        (&["--no-expires-in"], None, 200),
        (&["--no-expires-in", "--lifetime", "0s"], None, 401),
    ];
    for (flags, announced, served) in cases {
        let issuer = RunningIssuer::with(flags);
        let answer = issuer.refresh(&issuer.sign_in()).expect("an answer");
        assert_eq!(answer.json()["expires_in"].as_u64(), announced, "{flags:?}");
        assert_eq!(
            issuer.echo(&TokenPair::from(&answer).access),
            served,
            "{flags:?}"
        );
        let body = r#"{"user":"alice","password":"a"}"#;
        let login = issuer.send("POST", issuer.url("login"), "", body);
        let login = login.expect("an answer").json();
        assert_eq!(login["expiresIn"].as_u64(), announced, "{flags:?}");
    }
}

/// `--delay` delays every refresh, but no sign-in.
#[test]
fn refreshes_are_delayed() {
    let delay = Duration::from_millis(300);
    let issuer = RunningIssuer::with(&["--delay", "300ms"]);
    let mut tokens = issuer.sign_in();
    for _ in 0..2 {
        let began = Instant::now();
        tokens = refreshed(&issuer, &tokens);
        assert!(began.elapsed() >= delay);
    }
}

/// `/__counters` returns the counters of both servers: requests per generation, refreshes, alarms,
/// and the grants ended by alarms and by clients.
#[test]
fn counters_are_served_while_the_issuer_runs() {
    let issuer = RunningIssuer::with(&[]);
    assert_eq!(issuer.counters()["issuer"]["refreshes"], 0);
    let first = issuer.sign_in();
    let second = refreshed(&issuer, &first);
    for (tokens, times) in [(&first, 2), (&second, 3)] {
        for _ in 0..times {
            assert_eq!(issuer.echo(&tokens.access), 200);
        }
    }
    assert_eq!(issuer.echo("rubbish"), 401);
    let counters = issuer.counters();
    assert_eq!(
        counters["upstream"]["by_generation"],
        json!({"1": 2, "2": 3})
    );
    assert_eq!(counters["upstream"]["served"], 5);
    assert_eq!(counters["upstream"]["refused"], 1);

    let logout = issuer.url("login").replace("/login", "/logout");
    let bearer = format!("authorization: Bearer {}\r\n", second.access);
    let out = issuer
        .send("POST", &logout, &bearer, "")
        .expect("an answer");
    assert_eq!(out.status, 204);
    let refresh = issuer.sign_in().refresh.expect("a refresh token");
    let form = format!("client_id=demo&token={refresh}");
    assert_eq!(
        issuer.post("revocation", &form).expect("an answer").status,
        200
    );
    let reused = issuer.sign_in();
    refreshed(&issuer, &reused);
    assert_eq!(issuer.refresh(&reused).expect("an answer").status, 400);
    let counters = &issuer.counters()["issuer"];
    for (name, count) in [
        ("refreshes", 2),
        ("reuses", 1),
        ("revocations", 1),
        ("ended_by_client", 2),
        ("revoke_calls", 1),
        ("logouts", 1),
    ] {
        assert_eq!(counters[name], count, "{name} of {counters}");
    }
}
