//! What the proxy serves with which configuration.

use insta::assert_snapshot;
use token_rotator_testkit::Upstream;

use crate::sidecar::{Sidecar, client};
use crate::user::{CommandOutput, User};

/// Replaces the process id, which differs in each run.
fn without_pid(output: &CommandOutput) -> String {
    let parts = output.stderr.split(' ').map(|part| {
        let digits = part.trim_end_matches(')');
        let is_pid = part.ends_with(')') && digits.parse::<u32>().is_ok();
        if is_pid { "PID)" } else { part }
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flag_and_a_session_are_enough() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let url = format!("{}/echo", proxy.url);
    let answer = client().get(&url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    user.issuer.expire_access_tokens();
    let before = user.issuer.counters().refreshes;
    let client = client();
    let requests: Vec<_> = (0..50)
        .map(|_| tokio::spawn(client.get(&url).send()))
        .collect();
    for answer in requests {
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(user.issuer.counters().refreshes - before, 1);
    // All other commands use the token that the proxy has refreshed.
    assert!(user.issuer.accepts(&user.token()));
    let output = user.run(&["history"]);
    assert!(output.stdout.contains("proxy"), "{output:?}");
    let (code, log) = proxy.end();
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_on_one_session_refresh_once_for_both() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxies = [
        Sidecar::start(&user, &upstream),
        Sidecar::start(&user, &upstream),
    ];
    let client = client();
    for proxy in &proxies {
        let answer = client.get(format!("{}/echo", proxy.url)).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    user.issuer.expire_access_tokens();
    let before = user.issuer.counters().refreshes;
    let requests: Vec<_> = (0..40)
        .map(|number| {
            let url = format!("{}/echo", proxies[number % 2].url);
            tokio::spawn(client.get(url).send())
        })
        .collect();
    for answer in requests {
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    let counters = user.issuer.counters();
    assert_eq!((counters.refreshes - before, counters.reuses), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_come_from_the_file_and_are_read_again() {
    let user = User::signed_in().await;
    user.sign_in("work");
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let url = upstream.url();
    let first = format!(
        "[proxy]\nadmin = \"127.0.0.1:0\"\n\n[[proxy.routes]]\nname = \"one\"\nprefix = \"/one\"\n\
         strip_prefix = true\nupstream = \"{url}\"\n"
    );
    user.configure(&first);
    let proxy = Sidecar::start_with(&user, &[]);
    let ask = async |path: &str| {
        let answer = client().get(format!("{}{path}", proxy.url)).send().await;
        answer.expect("an answer").status().as_u16()
    };
    assert_eq!(ask("/one/echo").await, 200);
    assert_eq!(ask("/two/echo").await, 404);
    let admin = proxy.admin.clone().expect("an admin listener");
    let metrics = client().get(format!("{admin}/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    assert!(metrics.contains("route=\"one\""), "{metrics}");

    let second = format!(
        "{first}\n[[proxy.routes]]\nprefix = \"/two\"\nstrip_prefix = true\nsession = \"work\"\n\
         upstream = \"{url}\"\n"
    );
    user.configure(&second);
    let output = user.run(&["reload"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stderr.starts_with("Reloaded: process "),
        "{output:?}"
    );
    assert_eq!((ask("/one/echo").await, ask("/two/echo").await), (200, 200));

    // An error in the configuration changes nothing and is reported with its line.
    user.configure(&second.replace("prefix = \"/two\"", "prefix = \"/one\""));
    let output = user.run(&["reload"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_snapshot!(without_pid(&output), @"
    error: the proxy (process PID) keeps its old configuration
      because line 10 of ~/.config/token-rotator/config.toml cannot be used: `proxy.routes`: the routes `one` and `/one` match the same requests
    hint: give one of the routes another host or path prefix
    ");
    assert_eq!(ask("/two/echo").await, 200);

    // Another store changes nothing either.
    user.configure(&format!("{second}\n[store]\nurl = \"/elsewhere\"\n"));
    let output = user.run(&["reload"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_snapshot!(without_pid(&output), @"
    error: the proxy (process PID) keeps its old configuration
      because a running proxy cannot change its store: `[store]` has changed
    hint: restart the proxy, or put `[store]` back
    ");
    assert_eq!(ask("/two/echo").await, 200);
    drop(proxy);
    user.configure(&second);
    let output = user.run(&["reload"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("no proxy runs"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_credentials_session_needs_no_login() {
    let user = User::new().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    user.configure(&format!(
        "[sessions.default]\ngrant = \"client-credentials\"\nclient_id = \"{}\"\n\
         client_secret_file = \"{}\"\ntoken_endpoint = \"{}\"\n",
        crate::user::SERVICE,
        user.home().join("secret").display(),
        user.issuer.token_url()
    ));
    std::fs::write(user.home().join("secret"), crate::user::SERVICE_SECRET).expect("written");
    let proxy = Sidecar::start(&user, &upstream);
    let url = format!("{}/echo", proxy.url);
    let answer = client().get(&url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    user.issuer.expire_access_tokens();
    let answer = client().get(&url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(user.issuer.counters().client_credentials, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_sign_in_is_served_without_a_restart() {
    let user = User::new().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{}\"\ntoken_endpoint = \"{}\"\n",
        crate::user::CLIENT,
        user.issuer.token_url()
    ));
    let proxy = Sidecar::start(&user, &upstream);
    let url = format!("{}/echo", proxy.url);
    let answer = client().get(&url).send().await.expect("an answer");
    assert_eq!(answer.status(), 503);
    let problem = answer.text().await.expect("text");
    assert!(problem.contains("token-rotator login"), "{problem}");
    user.sign_in("default");
    // The proxy reads the store again at intervals.
    let answer = loop {
        let answer = client().get(&url).send().await.expect("an answer");
        if answer.status() != 503 {
            break answer;
        }
    };
    assert_eq!(answer.status(), 200);
    let (_, log) = proxy.end();
    let begin = log.find("warning: ").expect("a warning");
    let lines = log[begin..].lines().take(3).map(|line| format!("{line}\n"));
    assert_snapshot!(lines.collect::<String>(), @"
    warning: session `default` is not signed in
      because its store has no token; until it has one, requests are answered 503
    hint: sign in with `token-rotator login --session default`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_json_is_json_and_holds_no_token() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let flags = [
        "--upstream",
        upstream.url(),
        "--log",
        "trace",
        "--log-format",
        "json",
    ];
    let proxy = Sidecar::start_with(&user, &flags);
    let client = client();
    user.issuer.expire_access_tokens();
    for path in ["/echo", "/always-401", "/status/500"] {
        let answer = client.get(format!("{}{path}", proxy.url)).send().await;
        answer.expect("an answer");
    }
    let token = user.token();
    let (code, log) = proxy.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().count() > 3, "{log}");
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(
            entry["level"].is_string() && entry["target"].is_string(),
            "{line}"
        );
    }
    assert!(!log.contains(&token), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_names_of_sessions() {
    let user = User::signed_in().await;
    user.sign_in("work");
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let route = |name: &str, session: &str| {
        let url = upstream.url();
        format!(
            "[[proxy.routes]]\nname = \"{name}\"\nprefix = \"/{name}\"\nstrip_prefix = true\n\
             upstream = \"{url}\"\nsession = \"{session}\"\n"
        )
    };
    let routes = [
        route("a", "work"),
        route("b", "default"),
        route("c", "work"),
    ];
    user.configure(&format!(
        "[proxy]\nadmin = \"127.0.0.1:0\"\n\n{}",
        routes.concat()
    ));
    let proxy = Sidecar::start_with(&user, &[]);
    user.issuer.expire_access_tokens();
    let answer = client().get(format!("{}/a/echo", proxy.url)).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let state = format!(
        "{}/state",
        proxy.admin.as_deref().expect("an admin listener")
    );
    let state = client().get(state).send().await.expect("an answer");
    let state: serde_json::Value = state.json().await.expect("JSON");
    let [work, default] = state["sessions"].as_array().expect("sessions").as_slice() else {
        panic!("two sessions, not {state}");
    };
    assert_eq!(
        (&work["name"], &default["name"]),
        (&"work".into(), &"default".into())
    );
    assert_eq!(work["routes"], serde_json::json!(["a", "c"]));
    assert_eq!(work["state"], "signed in");
    assert!(work["refresh"]["took"].is_u64(), "{work}");
    assert!(default["refresh"].is_null(), "{default}");
}
