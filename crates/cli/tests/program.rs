//! The program from outside: output, errors and exit codes of `demo` and `issuer`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The variable that makes the testkit log everything and begin every secret with a canary.
const WATCHED: &str = "TOKEN_ROTATOR_TEST_LOG";
const CANARY: &str = "CANARY-7f3a";

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-rotator"));
    command
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("RUST_LOG")
        .env_remove(WATCHED);
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs the demo with 60 requests. Returns its JSON; fails if its exit code is not zero.
fn demo(arguments: &[&str]) -> Value {
    demo_with("60", arguments)
}

/// Runs the demo with this number of requests. Returns its JSON; fails if its exit code is not zero.
fn demo_with(requests: &str, arguments: &[&str]) -> Value {
    let first = ["demo", "--json", "--lifetime", "200ms", "--requests"];
    let arguments = [&first[..], &[requests], arguments].concat();
    perfect(program(&arguments))
}

/// Runs a demo command. Returns its JSON; fails if its exit code is not zero.
fn perfect(mut demo: Command) -> Value {
    let output = demo.output().expect("the program runs");
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// With token-rotator one refresh answers every caller and the session lives. Naive clients lose it.
#[test]
fn the_demo_is_perfect() {
    let runs = demo(&[]);
    let rotator = &runs["rotator"];
    assert_eq!(rotator["requests"], 60);
    assert_eq!(rotator["answered"], 60);
    assert_eq!(rotator["refreshes"], 1);
    assert_eq!(rotator["ideal_refreshes"], 1);
    assert_eq!(rotator["reuse_alarms"], 0);
    assert_eq!(rotator["session_alive"], true);
    assert!(rotator["p50_ms"].as_f64() <= rotator["p99_ms"].as_f64());
    let naive = &runs["naive"];
    assert_eq!(naive["session_alive"], false);
    assert!(naive["reuse_alarms"].as_u64() > Some(0));
}

/// With full logging, no token is in the timeline, the table or the log.
#[test]
fn the_demo_prints_no_token() {
    let arguments = ["demo", "--requests", "20", "--lifetime", "200ms"];
    let output = program(&arguments).env(WATCHED, "1").output();
    let output = output.expect("the program runs");
    assert!(output.status.success());
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(printed.contains("session alive") && printed.contains("DEBUG"));
    assert!(!printed.contains(CANARY));
}

/// The caller that started the refresh is cancelled; every other caller is served.
#[test]
fn a_cancelled_leader_leaves_the_refresh() {
    let rotator = &demo(&["--cancel-leader"])["rotator"];
    assert_eq!(
        (&rotator["answered"], &rotator["refreshes"]),
        (&60.into(), &1.into())
    );
}

/// More than a thousand requests share connections (HTTP/2), with the same result as few requests.
#[test]
fn thousands_are_served_by_one_refresh() {
    for arguments in [&[][..], &["--cancel-leader"]] {
        let rotator = &demo_with("2000", arguments)["rotator"];
        assert_eq!(
            (&rotator["answered"], &rotator["refreshes"]),
            (&2_000.into(), &1.into())
        );
        assert_eq!(rotator["session_alive"], true);
    }
}

/// Requests share connections if there are too few file descriptors. Most Linux systems allow a
/// program 1,024, macOS 256.
#[cfg(unix)]
#[test]
fn the_demo_needs_no_raised_limits() {
    for (descriptors, requests) in [("256", "200"), ("1024", "500")] {
        let mut shell = Command::new("sh");
        let line = "ulimit -n \"$0\" && exec \"$@\"";
        shell.args(["-c", line, descriptors, env!("CARGO_BIN_EXE_token-rotator")]);
        shell.args(["demo", "--json", "--lifetime", "200ms"]);
        shell.args(["--requests", requests]).env_remove(WATCHED);
        perfect(shell);
    }
}

/// A proxy from the environment is not used for loopback.
#[test]
fn the_demo_goes_through_no_proxy() {
    let mut demo = program(&["demo", "--json", "--requests", "20", "--lifetime", "200ms"]);
    demo.env("HTTP_PROXY", "http://127.0.0.1:9");
    perfect(demo);
}

/// After a lost answer the refresh is repeated if the issuer allows it. Otherwise callers get a typed
/// error and do not hang.
#[test]
fn a_lost_answer_is_decided_by_the_profile() {
    let rotator = &demo(&["--lost-answer"])["rotator"];
    assert_eq!(
        (&rotator["answered"], &rotator["refreshes"]),
        (&60.into(), &2.into())
    );
    let rotator = &demo(&["--lost-answer", "--profile", "strict"])["rotator"];
    assert_eq!(
        (&rotator["answered"], &rotator["refreshes"]),
        (&0.into(), &1.into())
    );
    assert_eq!(
        (&rotator["reuse_alarms"], &rotator["session_alive"]),
        (&0.into(), &true.into())
    );
}

/// Timeline, table and messages fit into 80 columns. They have no colour without a terminal, and only
/// ASCII without a UTF-8 locale.
#[test]
fn the_output_fits_and_is_plain_without_a_terminal() {
    let output = run(&["demo", "--requests", "30", "--lifetime", "100ms"]);
    assert!(output.status.success());
    let shown = text(&output.stdout);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("An access token expires under 30 requests at once."));
    assert!(
        stderr.contains("One refresh served every caller."),
        "{stderr}"
    );
    for line in shown.lines().chain(stderr.lines()) {
        assert!(!line.contains('\u{1b}'), "no colour without a terminal");
        assert!(line.chars().count() <= 80, "{line}");
    }
    for part in [
        "each client refreshes on its own",
        "401",
        "●200",
        "refresh  ",
        "session alive",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let output = program(&["demo", "--requests", "30", "--lifetime", "100ms"])
        .env("LC_ALL", "C")
        .output()
        .expect("the program runs");
    assert!(text(&output.stdout).is_ascii(), "ASCII symbols only");
}

/// A wrong argument is answered with the right form.
#[test]
fn wrong_arguments_are_explained() {
    let cases: [(&[&str], &str); 7] = [
        (&["demo", "--requests", "0"], "0 is not in 1..=100000"),
        (
            &["demo", "--lifetime", "soon"],
            "write it as 500ms, 2s or 5m",
        ),
        (&["demo", "--lifetime=-1s"], "must not be negative"),
        (
            &["demo", "--profile", "lax"],
            "possible values: strict, leeway, parent-always, multi-use",
        ),
        (
            &["issuer", "--fault", "flood"],
            "there is no fault `flood`; see `issuer --help`",
        ),
        (
            &["issuer", "--fault", "delay"],
            "`delay` needs a value: delay=VALUE",
        ),
        (
            &["issuer", "--fault", "hang*often"],
            "write a number or `always`",
        ),
    ];
    for (arguments, sentence) in cases {
        let output = run(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(sentence), "{arguments:?}: {stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

/// The issuer prints its addresses, answers there with its faults, and ends at SIGTERM.
#[cfg(unix)]
#[test]
fn the_issuer_serves_until_sigterm() {
    let mut child = program(&["issuer", "--json", "--fault", "status=503"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let endpoints: Value = serde_json::from_str(&line).expect("JSON");
    let refresh = endpoints["cookie_refresh"].as_str().expect("an address");
    assert!(post(refresh).starts_with("HTTP/1.1 503 "));
    assert!(
        post(refresh).starts_with("HTTP/1.1 401 "),
        "no cookie, no refresh"
    );
    terminate(&child);
    assert!(child.wait().expect("its end").success());
}

fn post(url: &str) -> String {
    let (authority, path) = url
        .trim_start_matches("http://")
        .split_once('/')
        .expect("a path");
    let mut stream = TcpStream::connect(authority).expect("a connection");
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[cfg(unix)]
fn terminate(child: &Child) {
    let status = Command::new("kill").arg(child.id().to_string()).status();
    assert!(status.expect("kill runs").success());
}
