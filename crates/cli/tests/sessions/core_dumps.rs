//! No core dump of a process that holds tokens or the key.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::user::{CLIENT, User};

/// The key of the store, as bytes that no other part of the process contains.
const KEY: &str = "c0ffee5eedc0ffee5eedc0ffee5eedc0ffee5eedc0ffee5eedc0ffee5eed0123";

/// Runs a command until it waits for `server`, aborts it, and returns its end and its core dump.
fn abort(server: &TcpListener, mut command: Command, input: &str) -> (ExitStatus, Option<Vec<u8>>) {
    use std::io::Write as _;

    let directory = TempDir::new().expect("a directory");
    command.current_dir(directory.path()).env("SEALING", KEY);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    child
        .stdin
        .take()
        .expect("its input")
        .write_all(input.as_bytes())
        .expect("it reads");
    let connection = server.accept().expect("it connects");
    kill_process(Pid::from_child(&child), Signal::ABORT).expect("it runs");
    let status = child.wait().expect("it ends");
    drop(connection);
    (status, core_file(directory.path()))
}

fn core_file(directory: &Path) -> Option<Vec<u8>> {
    let mut entries = std::fs::read_dir(directory).expect("a directory");
    let file = entries.next()?.expect("an entry").path();
    Some(std::fs::read(file).expect("a file"))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// "Core dumps hold the key and tokens": an aborted `token`, `login`, `status` or `proxy` leaves none,
/// although its caller allows core dumps of any size. With `--allow-core-dumps` the dump has the key.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_process_leaves_no_core_dump() {
    let user = User::new().await;
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("an address");
    let (store, endpoint) = (
        format!("redis://{address}"),
        format!("http://{address}/token"),
    );
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{CLIENT}\"\ngrant = \"refresh-token\"\n\
         token_endpoint = \"{endpoint}\"\n"
    ));
    let command = |arguments: &[&str]| {
        let mut command = user.program("sh");
        command.args(["-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" \"$@\""]);
        command.arg(env!("CARGO_BIN_EXE_token-rotator"));
        command.args(["--key", "env:SEALING"]).args(arguments);
        command
    };
    let refresh_token = "canary-refresh-token";
    let at_server = ["--store", &*store];
    for arguments in [
        [&["token"][..], &at_server].concat(),
        [&["status"][..], &at_server].concat(),
        [&["exec"][..], &at_server, &["--", "true"]].concat(),
        [
            &[
                "proxy",
                "--listen",
                "127.0.0.1:0",
                "--upstream",
                "http://127.0.0.1:1",
            ][..],
            &at_server,
        ]
        .concat(),
        vec!["login", "--grant", "refresh-token"],
    ] {
        let (status, core) = abort(&server, command(&arguments), refresh_token);
        assert_eq!(status.signal(), Some(6), "{arguments:?}: {status:?}");
        assert!(!status.core_dumped(), "{arguments:?}: {status:?}");
        assert!(core.is_none(), "{arguments:?}");
    }
    // The same processes leave one if the user allows it and the system writes core dumps as files.
    let allowed = [&["token", "--allow-core-dumps"][..], &at_server].concat();
    let (status, core) = abort(&server, command(&allowed), "");
    assert_eq!(status.signal(), Some(6));
    if let Some(core) = core {
        assert!(status.core_dumped());
        assert!(contains(&core, KEY));
    }
}
