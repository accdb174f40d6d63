//! The locations of the key, and keys that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use insta::assert_snapshot;

use crate::user::{CLIENT, CommandOutput, User};

impl User {
    fn key(&self) -> PathBuf {
        self.home().join(".config/token-rotator/key")
    }
}

/// The key file is beside the configuration. Other users may read that directory, but not write it.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_other_users_can_write_is_refused() {
    let user = User::new().await;
    user.configure("");
    let directory = user.home().join(".config/token-rotator");
    let chmod = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&directory, permissions).expect("the test owns it");
    };
    chmod(0o777);
    let refused = user.login("default", &user.refresh_token());
    assert_eq!(refused.code, 1, "{refused:?}");
    let stderr = &refused.stderr;
    // The message starts with the error of the system's keyring, which differs between machines.
    assert!(
        stderr.contains("can be changed by others (mode 777)"),
        "{stderr}"
    );
    let hint = "chmod go-w '~/.config/token-rotator'\n";
    assert!(
        stderr.contains("\nhint: ") && stderr.ends_with(hint),
        "{stderr}"
    );
    chmod(0o755);
    user.sign_in("default");
    let key = std::fs::metadata(directory.join("key")).expect("the key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

/// A key in the environment, and an empty one.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_environment() {
    let user = User::new().await;
    let login = |key: &str, secret: &str| {
        let mut command = user.command(&["login", "--key", key, "--grant", "refresh-token"]);
        command.args(["--client-id", crate::user::CLIENT]);
        command.args(["--token-endpoint", user.issuer.token_url()]);
        command.env("TOKEN_ROTATOR_TEST_KEY", secret);
        user.with_input(command, &user.refresh_token())
    };
    let output = login("env:TOKEN_ROTATOR_TEST_KEY", "");
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(
        login("env:TOKEN_ROTATOR_TEST_KEY", &"ab".repeat(32)).code,
        0
    );
    // The session can be read only with the key.
    assert_eq!(user.run(&["token"]).code, 1);
    let mut command = user.command(&["token", "--key", "env:TOKEN_ROTATOR_TEST_KEY"]);
    command.env("TOKEN_ROTATOR_TEST_KEY", "ab".repeat(32));
    let output = user.output_of(command);
    assert!(user.issuer.accepts(output.stdout.trim()), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_open_to_others() {
    let user = User::signed_in().await;
    fs::set_permissions(user.key(), fs::Permissions::from_mode(0o644)).expect("the test owns it");
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the file ~/.config/token-rotator/key can be reached by others (mode 644), and is to hold secrets
    hint: chmod 600 '~/.config/token-rotator/key'
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_lost() {
    let user = User::signed_in().await;
    fs::remove_file(user.key()).expect("a key");
    let output = without_key_id(user.run(&["token"]));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: it was sealed with key KEY from a key file, where no key is now
    hint: bring the key back, or remove the sessions that it sealed from the store and sign in again
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_lost_at_the_next_login() {
    let user = User::signed_in().await;
    fs::remove_file(user.key()).expect("a key");
    let before = user.issuer.counters().refreshes;
    let output = user.login("other", &user.refresh_token());
    assert_eq!(user.issuer.counters().refreshes, before);
    let output = without_key_id(output);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot keep a session
      because session default is here already: it was sealed with key KEY from a key file, where no key is now
    hint: bring the key back, or remove the sessions that it sealed from the store and sign in again
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_another() {
    let user = User::signed_in().await;
    fs::write(user.key(), "07".repeat(32)).expect("a key");
    let output = without_key_id(user.run(&["token"]));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: it was sealed with key KEY from a key file, where another key (KEY) is now
    hint: bring the old key back, or sign in again under another session name
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_none() {
    let user = User::signed_in().await;
    fs::write(user.key(), "a key").expect("a file");
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the key file ~/.config/token-rotator/key holds no key
    hint: bring the key back; without it the sealed sessions cannot be read, and their users have to sign in again
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_elsewhere() {
    let user = User::signed_in().await;
    let output = user.run(&["token", "--key", "env:KEY"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: it was sealed with a key from a key file, and this store was opened without that source
    hint: open the store with the key source with which the session was saved
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_cannot_be_made() {
    let user = User::new().await;
    let mut command = user.command(&["login", "--key", "file:/dev/null/key"]);
    command.args(["--grant", "refresh-token", "--client-id", CLIENT]);
    command.args(["--token-endpoint", user.issuer.token_url()]);
    let output = user.with_input(command, &user.refresh_token());
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot keep a session
      because cannot open /dev/null: Not a directory (os error 20)
    hint: a part of the path is a file; choose another directory
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_shared_store_is_not_set() {
    let user = User::new().await;
    let output = user.run(&[
        "status",
        "--store",
        "redis://127.0.0.1:1",
        "--key",
        "env:NOT_SET",
    ]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because the environment variable NOT_SET, which is to hold the key, is not set
    hint: set it to 32 random bytes as 64 hexadecimal digits
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_shared_store_is_none() {
    let user = User::new().await;
    let mut command = user.command(&["status", "--store", "redis://127.0.0.1:1"]);
    command.args(["--key", "env:SHORT"]).env("SHORT", "abc");
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because the environment variable SHORT holds no key: a key is 32 bytes, written as 64 hexadecimal digits or in base64
    hint: generate a key with `openssl rand -hex 32`, unless the store has sessions that another key sealed
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_shared_store_is_not_there() {
    let user = User::new().await;
    let output = user.run(&[
        "status",
        "--store",
        "redis://127.0.0.1:1",
        "--key",
        "file:/nowhere/key",
    ]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store has no key
      because the location that was named has none
    hint: make one with `openssl rand -hex 32`, and name its location on every machine: `--key env:NAME` or `--key file:PATH` (mode 0600)
    ");
}

/// Replaces the ids of keys, which are random.
fn without_key_id(mut output: CommandOutput) -> CommandOutput {
    let parts = output.stderr.split(' ').map(|part| {
        let digits = part.trim_matches(['(', ')', ',']);
        let is_id = digits.len() == 16 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let name = if is_id { "KEY" } else { digits };
        part.replace(digits, name)
    });
    output.stderr = parts.collect::<Vec<_>>().join(" ");
    output
}
