//! `exec`: the command replaces the program.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use crate::user::User;

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
