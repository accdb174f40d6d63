//! Errors of stores and files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::user::User;

impl User {
    fn store(&self) -> PathBuf {
        self.home().join(".local/state/token-rotator")
    }

    /// Returns the file of session `default` with this extension.
    fn record(&self, ending: &str) -> PathBuf {
        let entries = fs::read_dir(self.store()).expect("a store");
        let mut paths = entries.map(|entry| entry.expect("an entry").path());
        let matches = |path: &PathBuf| path.extension().is_some_and(|found| found == ending);
        let name = |path: &PathBuf| path.to_string_lossy().contains("/default-");
        paths
            .find(|path| matches(path) && name(path))
            .expect("a file")
    }

    /// Replaces a file by a directory, which not even root can read as a file.
    fn obstruct(path: PathBuf) {
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).expect("a directory");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("the test owns it");
    }

    /// Returns the command under these limits of the shell.
    fn limited(&self, limits: &str, arguments: &[&str]) -> Command {
        let mut command = self.program("sh");
        let line = format!("{limits} && exec \"$0\" \"$@\"");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_token-rotator")]);
        command.args(arguments);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_is_a_file() {
    let user = User::new().await;
    fs::create_dir_all(user.home().join(".local/state")).expect("a directory");
    fs::write(user.store(), "").expect("a file");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because cannot make ~/.local/state/token-rotator: File exists (os error 17)
    hint: remove the file that stands there, or choose another place
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn store_cannot_be_made() {
    let user = User::new().await;
    let output = user.run(&["status", "--store", "/dev/null/sessions"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because cannot make /dev/null/sessions: Not a directory (os error 20)
    hint: a part of the path is a file; choose another directory
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn store_is_open_to_others() {
    let user = User::signed_in().await;
    fs::set_permissions(user.store(), fs::Permissions::from_mode(0o755)).expect("the test owns it");
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because the directory ~/.local/state/token-rotator can be reached by others (mode 755), and is to hold secrets
    hint: chmod 700 '~/.local/state/token-rotator'
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_cannot_be_read() {
    let user = User::signed_in().await;
    User::obstruct(user.record("session"));
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the session could not be read from its store: cannot read ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: Is a directory (os error 21)
    hint: remove the directory that stands in place of the file
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_is_of_a_newer_version() {
    let user = User::signed_in().await;
    fs::write(user.record("session"), "token-rotator-session 9 {}\n").expect("a file");
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the record of session default was written by a newer version (format 9, this one reads 1); upgrade this program
    hint: use the newer version of this program
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_is_of_a_newer_version_at_the_next_login() {
    let user = User::signed_in().await;
    fs::write(user.record("session"), "token-rotator-session 9 {}\n").expect("a file");
    let before = user.issuer.counters().refreshes;
    let output = user.login("default", &user.refresh_token());
    // The refresh token is not spent if the session cannot be stored.
    assert_eq!(user.issuer.counters().refreshes, before);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot keep the session
      because ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the record of session default was written by a newer version (format 9, this one reads 1); upgrade this program
    hint: use the newer version of this program
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_is_damaged() {
    let user = User::signed_in().await;
    let path = user.record("session");
    let bytes = fs::read(&path).expect("a file");
    fs::write(path, &bytes[..bytes.len() - 7]).expect("a file");
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the record of session default cannot be read: it was damaged, or belongs to another session
    hint: move the file away, then sign in again
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_is_damaged_for_status() {
    let user = User::signed_in().await;
    fs::write(user.record("session"), "rubbish").expect("a file");
    let output = user.run(&["status", "-s", "default"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: session `default` cannot be read
      because ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the record of session default cannot be read: its first line does not end
    hint: move the file away, then sign in again
    ");
}

/// A damaged record does not hide the other sessions.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_among_others() {
    let user = User::signed_in().await;
    user.sign_in("work");
    fs::write(user.record("session"), "rubbish").expect("a file");
    let output = user.run(&["status"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_snapshot!(output.stderr, @"
    warning: session `default` cannot be read
      because ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the record of session default cannot be read: its first line does not end
    hint: move the file away, then sign in again
    ");
    let rows: Vec<_> = output.stdout.lines().skip(1).collect();
    assert!(
        matches!(rows[..], [row] if row.starts_with("work     good")),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_cannot_be_acquired() {
    let user = User::signed_in().await;
    user.run(&["token", "--refresh"]);
    User::obstruct(user.record("lease"));
    let output = user.run(&["token", "--refresh"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the refresh got no lease: the coordinator cannot be reached: cannot open ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.lease: Is a directory (os error 21)
    hint: remove the directory that stands in place of the file
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_cannot_be_ended() {
    let user = User::signed_in().await;
    User::obstruct(user.record("lock"));
    let output = user.run(&["logout"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the session could not be ended
      because cannot open ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.lock: Is a directory (os error 21)
    hint: remove the directory that stands in place of the file
    ");
}

/// The store fails after the tokens have arrived: saving is tried again until it succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_saved_late() {
    let user = User::signed_in().await;
    let lock = user.record("lock");
    User::obstruct(lock.clone());
    let mut login = user.command(&["login"]);
    login.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut login = login.spawn().expect("it runs");
    let mut input = login.stdin.take().expect("its input");
    std::io::Write::write_all(&mut input, user.refresh_token().as_bytes()).expect("it reads");
    drop(input);
    // The first attempt has failed once the warning is printed; then the test removes the obstacle.
    let mut stderr = std::io::BufReader::new(login.stderr.take().expect("its stderr"));
    let mut warned = String::new();
    while !warned.contains("hint:") {
        let read = std::io::BufRead::read_line(&mut stderr, &mut warned).expect("text");
        assert!(read > 0, "it ended with {warned}");
    }
    fs::remove_dir(lock).expect("it is there");
    std::io::Read::read_to_string(&mut stderr, &mut warned).expect("text");
    let mut output = login.wait_with_output().expect("its end");
    output.stderr = warned.into_bytes();
    let output = user.capture(output);
    assert_snapshot!(output.report(), @"
    exit code 0
    warning: the session is not saved yet; saving is tried again for a while
      because cannot open ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.lock: Is a directory (os error 21)
    hint: remove the directory that stands in place of the file
    Signed in: session `default`.
    ");
    assert!(user.issuer.accepts(&user.token()));
}

/// A full disk, simulated by a file size limit of 0.
#[tokio::test(flavor = "multi_thread")]
async fn disk_is_full() {
    let user = User::signed_in().await;
    let full = |arguments: &[&str]| {
        // The limit does not apply to the pipes of the output.
        user.output_of(user.limited("trap '' XFSZ && ulimit -f 0", arguments))
    };
    let before = user.issuer.counters().refreshes;
    let login = full(&["login"]);
    assert_eq!(user.issuer.counters().refreshes, before);
    assert_snapshot!(login.report(), @"
    exit code 4
    error: the store cannot keep a session
      because cannot write into ~/.local/state/token-rotator: File too large (os error 27)
    hint: raise the limit of file sizes (`ulimit -f`)
    ");
    assert_snapshot!(full(&["token", "--refresh"]).report(), @"
    exit code 4
    error: there is no token for session `default`
      because the refresh got no lease: the coordinator cannot be reached: cannot write ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.lease: File too large (os error 27)
    hint: raise the limit of file sizes (`ulimit -f`)
    ");
    assert_snapshot!(full(&["logout"]).report(), @"
    exit code 4
    error: the session could not be ended
      because cannot write ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: File too large (os error 27)
    hint: raise the limit of file sizes (`ulimit -f`)
    ");
    // The session still works.
    assert!(user.issuer.accepts(&user.token()));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_cannot_be_read() {
    let user = User::signed_in().await;
    User::obstruct(user.store().join("history/default.jsonl"));
    let output = user.run(&["history"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~/.local/state/token-rotator/history/default.jsonl cannot be read
      because Is a directory (os error 21)
    hint: check who owns it, or remove it: sessions work without their history
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_cannot_be_read_for_status() {
    let user = User::signed_in().await;
    User::obstruct(user.store().join("history/default.jsonl"));
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    warning: ~/.local/state/token-rotator/history/default.jsonl cannot be read
      because Is a directory (os error 21)
    hint: check who owns it, or remove it: sessions work without their history
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptor_is_too_high() {
    let user = User::signed_in().await;
    let command = user.limited("ulimit -n 64", &["exec", "--fd", "64", "--", "true"]);
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the token cannot be passed in descriptor 64
      because this process may have no descriptor above 63 (`ulimit -n`)
    hint: choose a lower number, or leave `--fd` out to pass the token in an environment variable
    ");
}

/// Each command with data fails if stdout cannot be written.
#[tokio::test(flavor = "multi_thread")]
async fn stdout_cannot_be_written() {
    let user = User::signed_in().await;
    let commands: [&[&str]; 9] = [
        &["token"],
        &["token", "-f", "json"],
        &["status"],
        &["status", "--json"],
        &["history"],
        &["history", "--json"],
        &["doctor"],
        &["completions", "bash"],
        &["issuer"],
    ];
    for arguments in commands {
        let run_into = |stdout: Stdio| {
            let mut command = user.command(arguments);
            let output = command.stdout(stdout).stderr(Stdio::piped()).output();
            let output = user.capture(output.expect("it runs"));
            assert_eq!(output.code, 1, "{arguments:?}: {output:?}");
            output
        };
        let device = fs::OpenOptions::new().write(true).open("/dev/full");
        let full = run_into(device.expect("a device").into());
        let (_, writer) = std::io::pipe().expect("a pipe");
        let closed = run_into(writer.into());
        // All nine commands print the same error.
        insta::allow_duplicates! {
            assert_snapshot!(full.report(), @"
            exit code 1
            error: the output cannot be written to stdout
              because No space left on device (os error 28)
            hint: check the file or device that stdout leads to, then run the command again
            ");
            assert_snapshot!(closed.report(), @"
            exit code 1
            error: the output cannot be written to stdout
              because Broken pipe (os error 32)
            hint: the reading process closed the pipe; run the command without it
            ");
        }
    }
}
