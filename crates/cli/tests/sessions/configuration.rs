//! Errors of configurations that cannot be read, written or used.

use std::fs;

use insta::assert_snapshot;

use crate::user::User;

#[tokio::test(flavor = "multi_thread")]
async fn toml_is_broken() {
    let user = User::new().await;
    user.configure("[sessions.work]\nclient_id = \"desk\nscope = \"api\"\n");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: line 2 of ~/.config/token-rotator/config.toml cannot be used
      because invalid basic string, expected `"`
    hint: correct the line; docs/program.md has all keys
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn toml_key_is_unknown() {
    let user = User::new().await;
    user.configure("[store]\nkey = \"file\"\n\n[sessions.work]\nclient = \"desk\"\n");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 5 of ~/.config/token-rotator/config.toml cannot be used
      because `sessions.work.client`: unknown field `client`, expected one of `issuer`, `client_id`, `client_secret_env`, `client_secret_file`, `client_auth`, `grant`, `scope`, `scope_at_refresh`, `resource`, `audience`, `profile`, `origins`, `refresh_before`, `lifetime`, `ca_file`, `redirect_uri`, `redirect_port`, `token_endpoint`, `authorization_endpoint`, `device_authorization_endpoint`, `revocation_endpoint`, `params`, `dynamic_client`, `username`, `token_type`, `fields`
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn toml_value_is_wrong() {
    let user = User::new().await;
    user.configure("[sessions.work]\nclient_id = \"desk\"\nrefresh_before = \"a minute\"\n");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `sessions.work.refresh_before`: write it as 500ms, 2s or 5m
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn toml_has_the_secret() {
    let user = User::new().await;
    user.configure("[sessions.work]\nclient_id = \"desk\"\nclient_secret = \"between us\"\n");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `sessions.work.client_secret`: unknown field `client_secret`, expected one of `issuer`, `client_id`, `client_secret_env`, `client_secret_file`, `client_auth`, `grant`, `scope`, `scope_at_refresh`, `resource`, `audience`, `profile`, `origins`, `refresh_before`, `lifetime`, `ca_file`, `redirect_uri`, `redirect_port`, `token_endpoint`, `authorization_endpoint`, `device_authorization_endpoint`, `revocation_endpoint`, `params`, `dynamic_client`, `username`, `token_type`, `fields`
    hint: do not write the secret into this file: name its location with `client_secret_env` or `client_secret_file`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_is_not_there() {
    let user = User::new().await;
    let file = user.home().join("nowhere.toml");
    let output = user.run(&["status", "--config", file.to_str().expect("text")]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no ~/nowhere.toml
      because `--config` or TOKEN_ROTATOR_CONFIG names it
    hint: write the file, or leave out `--config` to use the default file
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_is_a_directory() {
    let user = User::new().await;
    let directory = user.home().to_str().expect("text");
    let output = user.run(&["status", "--config", directory]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~ cannot be read
      because Is a directory (os error 21)
    hint: write it as a TOML file in UTF-8
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_is_no_text() {
    let user = User::new().await;
    user.configure("");
    let file = user.home().join(".config/token-rotator/config.toml");
    fs::write(file, b"client_id = \"\xff\"\n").expect("a file");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~/.config/token-rotator/config.toml cannot be read
      because stream did not contain valid UTF-8
    hint: write it as a TOML file in UTF-8
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_cannot_be_listed() {
    let user = User::new().await;
    user.configure("");
    fs::write(user.home().join(".config/token-rotator/sessions"), "").expect("a file");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~/.config/token-rotator/sessions cannot be listed
      because Not a directory (os error 20)
    hint: check that it is a directory, and who owns it
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_cannot_be_saved() {
    let user = User::new().await;
    user.configure("");
    let sessions = user.home().join(".config/token-rotator/sessions");
    std::os::unix::fs::symlink("/nowhere/sessions", sessions).expect("a link");
    let output = user.login("work", &user.refresh_token());
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~/.config/token-rotator/sessions/work.toml cannot be written
      because File exists (os error 17)
    hint: make its directory writable and sign in again, or write [sessions.work] into ~/.config/token-rotator/config.toml: without one of them other commands do not find this session
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_not_there() {
    let user = User::new().await;
    user.configure("[sessions.default]\nca_file = \"/nowhere/ca.pem\"\n");
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the certificates in /nowhere/ca.pem cannot be used
      because I/O error: No such file or directory (os error 2)
    hint: name a file of PEM certificates with `ca_file` (`--ca-file`)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_cut_short() {
    let user = User::new().await;
    let file = user.home().join("ca.pem");
    fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n").expect("a file");
    user.configure(&format!(
        "[sessions.default]\nca_file = \"{}\"\n",
        file.display()
    ));
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the certificates in ~/ca.pem cannot be used
      because missing section end marker: [67, 69, 82, 84, 73, 70, 73, 67, 65, 84, 69]
    hint: name a file of PEM certificates with `ca_file` (`--ca-file`)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_rubbish() {
    let user = User::new().await;
    let file = user.home().join("ca.pem");
    let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&file, rubbish).expect("a file");
    user.configure(&format!(
        "[sessions.default]\nca_file = \"{}\"\n",
        file.display()
    ));
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: requests to the issuer cannot be made
      because the HTTP client cannot be built: builder error
      because invalid peer certificate: BadEncoding
    hint: check the certificates in `ca_file` (`--ca-file`), and those of the system
    ");
}
