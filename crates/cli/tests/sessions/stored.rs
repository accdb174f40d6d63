//! Stores and files that do not do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::user::{CLIENT, Came, User};

impl User {
    fn store(&self) -> PathBuf {
        self.home().join(".local/state/token-rotator")
    }

    fn key(&self) -> PathBuf {
        self.home().join(".config/token-rotator/key")
    }

    /// The file of session `default` with this ending.
    fn record(&self, ending: &str) -> PathBuf {
        let entries = fs::read_dir(self.store()).expect("a store");
        let mut paths = entries.map(|entry| entry.expect("an entry").path());
        let ours = |path: &PathBuf| path.extension().is_some_and(|found| found == ending);
        let name = |path: &PathBuf| path.to_string_lossy().contains("/default-");
        paths.find(|path| ours(path) && name(path)).expect("a file")
    }

    /// A directory where the program wants a file, which keeps even root out.
    fn obstruct(path: PathBuf) {
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).expect("a directory");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("it is ours");
    }

    /// The command under these limits of the shell's.
    fn limited(&self, limits: &str, arguments: &[&str]) -> Command {
        let mut command = self.any("sh");
        let line = format!("{limits} && exec \"$0\" \"$@\"");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_token-rotator")]);
        command.args(arguments);
        command
    }
}

mistake!(store_is_a_file, 1, |user| {
    fs::create_dir_all(user.home().join(".local/state")).expect("a directory");
    fs::write(user.store(), "").expect("a file");
    user.run(&["status"])
});
mistake!(store_cannot_be_made, 1, |user| {
    user.run(&["status", "--store", "/dev/null/sessions"])
});
mistake!(record_cannot_be_read, 4, |user| {
    user.sign_in("default");
    User::obstruct(user.record("session"));
    user.run(&["token"])
});
mistake!(record_is_of_a_newer_version, 1, |user| {
    user.sign_in("default");
    fs::write(user.record("session"), "token-rotator-session 9 {}\n").expect("a file");
    user.run(&["token"])
});
mistake!(record_is_of_a_newer_version_at_the_next_login, 1, |user| {
    user.sign_in("default");
    fs::write(user.record("session"), "token-rotator-session 9 {}\n").expect("a file");
    let before = user.issuer.counters().refreshes;
    let came = user.login("default", &user.refresh_token());
    // Nothing was spent for what could not be kept.
    assert_eq!(user.issuer.counters().refreshes, before);
    came
});
mistake!(record_is_damaged_for_status, 1, |user| {
    user.sign_in("default");
    fs::write(user.record("session"), "rubbish").expect("a file");
    user.run(&["status", "-s", "default"])
});
mistake!(lease_cannot_be_had, 4, |user| {
    user.sign_in("default");
    user.run(&["token", "--refresh"]);
    User::obstruct(user.record("lease"));
    user.run(&["token", "--refresh"])
});
mistake!(session_cannot_be_ended, 4, |user| {
    user.sign_in("default");
    User::obstruct(user.record("lock"));
    user.run(&["logout"])
});

/// The lock that is obstructed is taken when the tokens are there already: the session is tried to be
/// written until it can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_written_down_late() {
    let user = User::signed_in().await;
    let lock = user.record("lock");
    User::obstruct(lock.clone());
    let mut login = user.command(&["login"]);
    login.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut login = login.spawn().expect("it runs");
    let mut input = login.stdin.take().expect("its input");
    std::io::Write::write_all(&mut input, user.refresh_token().as_bytes()).expect("it reads");
    drop(input);
    // It warns once it has failed; then the way is cleared.
    let mut said = std::io::BufReader::new(login.stderr.take().expect("its stderr"));
    let mut warned = String::new();
    while !warned.contains("hint:") {
        let read = std::io::BufRead::read_line(&mut said, &mut warned).expect("text");
        assert!(read > 0, "it ended with {warned}");
    }
    fs::remove_dir(lock).expect("it is there");
    std::io::Read::read_to_string(&mut said, &mut warned).expect("text");
    let mut output = login.wait_with_output().expect("its end");
    output.stderr = warned.into_bytes();
    let came = user.came(output);
    assert_eq!(came.code, 0, "{came:?}");
    assert_snapshot!("login_is_written_down_late", came.told());
    assert!(user.issuer.accepts(&user.token()));
}

/// A disk that takes no more: files may have no length at all.
#[tokio::test(flavor = "multi_thread")]
async fn disk_is_full() {
    let user = User::signed_in().await;
    let full = |arguments: &[&str]| {
        let mut command = user.limited("trap '' XFSZ && ulimit -f 0", arguments);
        // Its output goes through pipes, which are no files.
        user.came(command.output().expect("it runs"))
    };
    let before = user.issuer.counters().refreshes;
    let login = full(&["login"]);
    assert_eq!(user.issuer.counters().refreshes, before);
    assert_snapshot!("disk_is_full_for_login", login.told());
    assert_snapshot!(
        "disk_is_full_for_a_refresh",
        full(&["token", "--refresh"]).told()
    );
    assert_snapshot!("disk_is_full_for_logout", full(&["logout"]).told());
    // It is there still.
    assert!(user.issuer.accepts(&user.token()));
}

mistake!(key_is_open_to_others, 1, |user| {
    user.sign_in("default");
    fs::set_permissions(user.key(), fs::Permissions::from_mode(0o644)).expect("it is ours");
    user.run(&["token"])
});
mistake!(key_is_lost, 1, |user| {
    user.sign_in("default");
    fs::remove_file(user.key()).expect("a key");
    without_key_id(user.run(&["token"]))
});
mistake!(key_is_lost_at_the_next_login, 1, |user| {
    user.sign_in("default");
    fs::remove_file(user.key()).expect("a key");
    let before = user.issuer.counters().refreshes;
    let came = user.login("other", &user.refresh_token());
    assert_eq!(user.issuer.counters().refreshes, before);
    without_key_id(came)
});
mistake!(key_is_another, 1, |user| {
    user.sign_in("default");
    fs::write(user.key(), "07".repeat(32)).expect("a key");
    without_key_id(user.run(&["token"]))
});
mistake!(key_is_none, 1, |user| {
    user.sign_in("default");
    fs::write(user.key(), "a key").expect("a file");
    user.run(&["token"])
});
mistake!(key_is_elsewhere, 1, |user| {
    user.sign_in("default");
    user.run(&["token", "--key", "env:KEY"])
});
mistake!(key_cannot_be_made, 1, |user| {
    let mut command = user.command(&["login", "--key", "file:/dev/null/key"]);
    command.args(["--grant", "refresh-token", "--client-id", CLIENT]);
    command.args(["--token-endpoint", user.issuer.token_url()]);
    user.with_input(command, &user.refresh_token())
});
mistake!(key_of_a_shared_store_is_not_set, 1, |user| {
    user.run(&[
        "status",
        "--store",
        "redis://127.0.0.1:1",
        "--key",
        "env:NOT_SET",
    ])
});
mistake!(key_of_a_shared_store_is_none, 1, |user| {
    let mut command = user.command(&["status", "--store", "redis://127.0.0.1:1"]);
    command.args(["--key", "env:SHORT"]).env("SHORT", "abc");
    user.came(command.output().expect("it runs"))
});
mistake!(key_of_a_shared_store_is_not_there, 1, |user| {
    user.run(&[
        "status",
        "--store",
        "redis://127.0.0.1:1",
        "--key",
        "file:/nowhere/key",
    ])
});
mistake!(redis_is_away, 4, |user| {
    shared(&user, "redis://127.0.0.1:1", &["login"])
});
mistake!(redis_is_away_for_a_token, 4, |user| {
    shared(&user, "redis://127.0.0.1:1", &["token"])
});
mistake!(postgres_is_away, 4, |user| {
    shared(&user, "postgres://me:hunter2@127.0.0.1:1/db", &["login"])
});
mistake!(redis_address_is_wrong, 1, |user| {
    shared(&user, "redis://:hunter2@ho st", &["status"])
});
mistake!(postgres_address_is_wrong, 1, |user| {
    shared(&user, "postgres://me:hunter2@host:port/db", &["status"])
});

/// Keys are random, and so are their names.
fn without_key_id(mut came: Came) -> Came {
    let words = came.said.split(' ').map(|word| {
        let digits = word.trim_matches(['(', ')', ',']);
        let is_id = digits.len() == 16 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let name = if is_id { "KEY" } else { digits };
        word.replace(digits, name)
    });
    came.said = words.collect::<Vec<_>>().join(" ");
    came
}

/// A command of somebody whose sessions are at this server.
fn shared(user: &User, store: &str, arguments: &[&str]) -> Came {
    let token_endpoint = user.issuer.token_url();
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{CLIENT}\"\ntoken_endpoint = \"{token_endpoint}\"\n"
    ));
    let mut command = user.command(&["--store", store, "--key", "env:KEY"]);
    command.args(arguments).env("KEY", "07".repeat(32));
    let came = user.with_input(command, &user.refresh_token());
    assert!(!came.said.contains("hunter2"), "{came:?}");
    came
}

mistake!(config_is_a_directory, 1, |user| {
    let directory = user.home().to_str().expect("text");
    user.run(&["status", "--config", directory])
});
mistake!(config_is_no_text, 1, |user| {
    user.configure("");
    let file = user.home().join(".config/token-rotator/config.toml");
    fs::write(file, b"client_id = \"\xff\"\n").expect("a file");
    user.run(&["status"])
});
mistake!(sessions_cannot_be_listed, 1, |user| {
    user.configure("");
    fs::write(user.home().join(".config/token-rotator/sessions"), "").expect("a file");
    user.run(&["status"])
});
mistake!(settings_cannot_be_written_down, 1, |user| {
    user.configure("");
    let sessions = user.home().join(".config/token-rotator/sessions");
    std::os::unix::fs::symlink("/nowhere/sessions", sessions).expect("a link");
    user.login("work", &user.refresh_token())
});
mistake!(history_cannot_be_read, 1, |user| {
    user.sign_in("default");
    User::obstruct(user.store().join("history/default.jsonl"));
    user.run(&["history"])
});
mistake!(history_cannot_be_read_for_status, 1, |user| {
    user.sign_in("default");
    User::obstruct(user.store().join("history/default.jsonl"));
    user.run(&["status"])
});
mistake!(certificates_are_not_there, 1, |user| {
    user.configure("[sessions.default]\nca_file = \"/nowhere/ca.pem\"\n");
    user.run(&["token"])
});
mistake!(certificates_are_cut_short, 1, |user| {
    let file = user.home().join("ca.pem");
    fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n").expect("a file");
    user.configure(&format!(
        "[sessions.default]\nca_file = \"{}\"\n",
        file.display()
    ));
    user.run(&["token"])
});
mistake!(certificates_are_rubbish, 1, |user| {
    let file = user.home().join("ca.pem");
    let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&file, rubbish).expect("a file");
    user.configure(&format!(
        "[sessions.default]\nca_file = \"{}\"\n",
        file.display()
    ));
    user.run(&["token"])
});
mistake!(descriptor_is_too_high, 1, |user| {
    user.sign_in("default");
    let mut command = user.limited("ulimit -n 64", &["exec", "--fd", "64", "--", "true"]);
    user.came(command.output().expect("it runs"))
});

/// Each command that has data says so where nobody takes it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_output() {
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
        for (full, name) in [(true, "stdout_is_full"), (false, "stdout_is_closed")] {
            let out = if full {
                let device = fs::OpenOptions::new().write(true).open("/dev/full");
                Stdio::from(device.expect("a device"))
            } else {
                let (_, writer) = std::io::pipe().expect("a pipe");
                Stdio::from(writer)
            };
            let mut command = user.command(arguments);
            let output = command.stdout(out).stderr(Stdio::piped()).output();
            let came = user.came(output.expect("it runs"));
            assert_eq!(came.code, 1, "{arguments:?}: {came:?}");
            assert_snapshot!(name, came.told());
        }
    }
}
