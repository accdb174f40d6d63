//! `exec`: the command replaces the program.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use crate::user::{SERVICE, SERVICE_SECRET, User};

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_in_the_environment_or_in_a_descriptor() {
    let user = User::signed_in().await;
    let token = user.token();
    let print = ["sh", "-c", "printf %s \"$ACCESS_TOKEN$API\"; exit 7"];
    for flags in [&["exec", "--"][..], &["exec", "--env", "API", "--"]] {
        let output = user.run(&[flags, &print].concat());
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (7, token.as_str()),
            "{output:?}"
        );
    }
    let read = "cat <&5; printf %s \"$ACCESS_TOKEN\"";
    let output = user.run(&["exec", "--fd", "5", "--", "sh", "-c", read]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, token.as_str()),
        "{output:?}"
    );
}

/// A signal to the process reaches the command. The exit code is that of the command.
#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_command() {
    let user = User::signed_in().await;
    let mut command = user.command(&["exec", "--", "sh", "-c"]);
    command
        .arg("trap 'echo signalled; exit 42' TERM; echo ready; while :; do read -r _ || :; done");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut out = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
    // The shell handles signals between two lines.
    drop(child.stdin.take());
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), status.signal()), (Some(42), None));
}

/// "`exec`'s child inherits the client secret and the sealing key from the environment".
#[tokio::test(flavor = "multi_thread")]
async fn the_command_inherits_no_secret() {
    let user = User::new().await;
    let url = user.issuer.token_url();
    user.configure(&format!(
        "[proxy]\nlocal_bearer_env = \"BEARER\"\n\
         [sessions.default]\nclient_id = \"{SERVICE}\"\ngrant = \"client-credentials\"\n\
         token_endpoint = \"{url}\"\n\
         [sessions.other]\nclient_id = \"{SERVICE}\"\nclient_secret_env = \"OTHER_SECRET\"\n"
    ));
    let key = "ab".repeat(32);
    let secret_file = user.home().join("secret").display().to_string();
    let secrets = [
        ("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET),
        ("TOKEN_ROTATOR_CLIENT_SECRET_FILE", &secret_file),
        ("TOKEN_ROTATOR_KEY", "env:SEALING"),
        ("SEALING", &key),
        ("OTHER_SECRET", "canary of another session"),
        ("BEARER", "canary of the proxy"),
    ];
    std::fs::write(&secret_file, SERVICE_SECRET).expect("a file");
    let exec = |flags: &[&str], store: Option<&str>| {
        let mut command = user.command(&[&["exec"], flags, &["--", "env"]].concat());
        command.envs(secrets).env("KEPT", "an ordinary value");
        command.envs(store.map(|store| ("TOKEN_ROTATOR_STORE", store)));
        let output = user.output_of(command);
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    };
    let directory = user.home().join("store").display().to_string();
    let environment = exec(&[], Some(&directory));
    for (name, value) in secrets {
        let inherited = environment.contains(&format!("{name}=")) || environment.contains(value);
        assert!(!inherited, "{name}: {environment}");
    }
    assert!(
        environment.contains("KEPT=an ordinary value\n"),
        "{environment}"
    );
    assert!(environment.contains("ACCESS_TOKEN="), "{environment}");
    // A directory is no secret, and a script needs it to find the session.
    assert!(
        environment.contains("TOKEN_ROTATOR_STORE="),
        "{environment}"
    );
    // The address of a server may have a password. The flag has the directory that is used.
    let server = "redis://:canary@redis.example";
    let environment = exec(&["--store", &directory], Some(server));
    assert!(!environment.contains("canary"), "{environment}");
    // A script that calls token-rotator keeps them all.
    let environment = exec(&["--keep-secrets"], Some(&directory));
    for (name, value) in secrets {
        let line = format!("{name}={value}\n");
        assert!(environment.contains(&line), "{name}: {environment}");
    }
}

/// "Core dumps hold the key and tokens": the command of `exec` keeps the limits of its caller.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_has_the_core_limit_of_its_caller() {
    let user = User::signed_in().await;
    let script =
        "ulimit -S -c 40; cat /proc/self/limits; exec \"$0\" exec -- cat /proc/self/limits";
    let mut command = user.program("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_token-rotator")]);
    let output = user.output_of(command);
    assert_eq!(output.code, 0, "{output:?}");
    let limits = output.stdout.lines();
    let limits: Vec<_> = limits.filter(|line| line.contains("core file")).collect();
    assert_eq!(limits.len(), 2, "{output:?}");
    assert_eq!(limits[0], limits[1]);
    assert!(!limits[0].contains(" 0 "), "{limits:?}");
}
