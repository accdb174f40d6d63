//! Where the key is.

use std::os::unix::fs::PermissionsExt as _;

use crate::user::User;

/// The key file lies beside the configuration, whose directory others may look into; not if they may
/// change what is in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_may_be_seen_and_not_changed_by_others() {
    let user = User::new().await;
    user.configure("");
    let directory = user.home().join(".config/token-rotator");
    let chmod = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&directory, permissions).expect("it is ours");
    };
    chmod(0o777);
    let refused = user.login("default", &user.refresh_token());
    assert_eq!(refused.code, 1, "{refused:?}");
    let said = &refused.said;
    // What the system's keyring says stands before it, and is another on every machine.
    assert!(
        said.contains("can be changed by others (mode 777)"),
        "{said}"
    );
    let hint = "chmod go-w '~/.config/token-rotator'\n";
    assert!(said.contains("\nhint: ") && said.ends_with(hint), "{said}");
    chmod(0o755);
    user.sign_in("default");
    let key = std::fs::metadata(directory.join("key")).expect("the key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

/// A key in the environment, and none at all.
#[tokio::test(flavor = "multi_thread")]
async fn keys_from_elsewhere_and_none() {
    let user = User::new().await;
    let login = |key: &str, secret: &str| {
        let mut command = user.command(&["login", "--key", key, "--grant", "refresh-token"]);
        command.args(["--client-id", crate::user::CLIENT]);
        command.args(["--token-endpoint", user.issuer.token_url()]);
        command.env("TOKEN_ROTATOR_TEST_KEY", secret);
        user.with_input(command, &user.refresh_token())
    };
    let came = login("env:TOKEN_ROTATOR_TEST_KEY", "");
    assert_eq!(came.code, 1, "{came:?}");
    assert_eq!(
        login("env:TOKEN_ROTATOR_TEST_KEY", &"ab".repeat(32)).code,
        0
    );
    // Without the key it is no session, and with it it is.
    assert_eq!(user.run(&["token"]).code, 1);
    let mut command = user.command(&["token", "--key", "env:TOKEN_ROTATOR_TEST_KEY"]);
    command.env("TOKEN_ROTATOR_TEST_KEY", "ab".repeat(32));
    let came = user.came(command.output().expect("it runs"));
    assert!(user.issuer.accepts(came.out.trim()), "{came:?}");
}
