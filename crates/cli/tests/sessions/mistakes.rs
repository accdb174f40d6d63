//! What a new user gets wrong: each ends in a sentence that says what to do.

use serde_json::json;

use crate::attended::Login;
use crate::metadata;
use crate::user::{CLIENT, SERVICE};

mistake!(no_login_yet, 3, |user| user.run(&["token"]));
mistake!(another_session, 3, |user| {
    user.sign_in("work");
    user.run(&["token", "-s", "wrok"])
});
mistake!(signed_out, 3, |user| {
    user.sign_in("default");
    user.run(&["logout"]);
    user.run(&["exec", "--", "true"])
});
mistake!(issuer_is_gone, 4, |user| {
    user.issuer
        .set_access_lifetime(std::time::Duration::from_secs(1));
    user.sign_in("default");
    user.until_expired().await;
    user.issuer.shutdown().await;
    user.run(&["token"])
});
mistake!(no_client_id, 1, |user| {
    let url = user.issuer.token_url().to_owned();
    let command = user.command(&[
        "login",
        "--grant",
        "refresh-token",
        "--token-endpoint",
        &url,
    ]);
    user.with_input(command, "a-refresh-token")
});
mistake!(no_issuer, 1, |user| user.run(&[
    "login",
    "--client-id",
    CLIENT
]));
mistake!(no_device_endpoint, 1, |user| {
    let url = user.issuer.token_url().to_owned();
    user.run(&[
        "login",
        "--grant",
        "device",
        "--client-id",
        CLIENT,
        "--token-endpoint",
        &url,
    ])
});
mistake!(issuer_has_another_name, 1, |user| {
    let nearly = format!("{}/", user.issuer.url());
    user.run(&["login", "--client-id", CLIENT, "--issuer", &nearly])
});
mistake!(issuer_has_no_metadata, 1, |user| {
    let elsewhere = format!("{}/realms/none", user.issuer.url());
    user.run(&["login", "--client-id", CLIENT, "--issuer", &elsewhere])
});
mistake!(issuer_is_not_there, 4, |user| {
    user.issuer.shutdown().await;
    user.run(&[
        "login",
        "--client-id",
        CLIENT,
        "--issuer",
        user.issuer.url(),
    ])
});
mistake!(issuer_is_gone_before_its_endpoints_are_known, 4, |user| {
    user.issuer
        .set_access_lifetime(std::time::Duration::from_secs(1));
    crate::browser::sign_in(&user, &[]).await;
    user.until_expired().await;
    user.issuer.shutdown().await;
    user.run(&["token"])
});
mistake!(device_endpoint_alone, 1, |user| {
    let url = user.issuer.device_authorization_url().to_owned();
    user.run(&[
        "login",
        "--client-id",
        CLIENT,
        "--device-authorization-endpoint",
        &url,
    ])
});
mistake!(no_device_sign_in_at_this_issuer, 1, |user| {
    let issuer = metadata::serve(&json!({}));
    user.run(&[
        "login",
        "--grant",
        "device",
        "--client-id",
        CLIENT,
        "--issuer",
        &issuer,
    ])
});
mistake!(no_pkce_at_this_issuer, 1, |user| {
    let issuer = metadata::serve(&json!({"code_challenge_methods_supported": ["plain"]}));
    user.run(&["login", "--client-id", CLIENT, "--issuer", &issuer])
});
mistake!(issuer_names_an_endpoint_in_the_clear, 1, |user| {
    let issuer = metadata::serve(&json!({"token_endpoint": "http://issuer.example/token"}));
    let mut came = user.run(&["login", "--client-id", CLIENT, "--issuer", &issuer]);
    came.said = came.said.replace(&issuer, "http://OTHER");
    came
});
mistake!(issuer_does_not_answer, 4, |user| {
    // It listens, and that is all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("its address"));
    let mut came = user.run(&["login", "--client-id", CLIENT, "--issuer", &url]);
    came.said = came.said.replace(&url, "http://SILENT");
    came
});
mistake!(configured_otherwise, 1, |user| {
    user.configure("[sessions.work]\nissuer = \"https://issuer.example\"\n");
    Login::begin(&user, &["--session", "work", "--no-browser"]).end(&user)
});
mistake!(endpoint_configured_otherwise, 1, |user| {
    user.configure("[sessions.default]\ntoken_endpoint = \"https://issuer.example/token\"\n");
    Login::begin(&user, &["--no-browser"]).end(&user)
});
mistake!(nobody_comes, 1, |user| {
    Login::begin(&user, &["--no-browser", "--timeout", "100ms"]).end(&user)
});
mistake!(redirect_port_is_taken, 1, |user| {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let mut came = Login::begin(&user, &["--redirect-port", &port]).end(&user);
    came.said = came.said.replace(&port, "PORT");
    came
});
mistake!(nothing_on_stdin, 1, |user| user.login("default", "\n"));
mistake!(two_lines_on_stdin, 1, |user| user
    .login("default", "one\ntwo\n"));
mistake!(secret_is_missing, 1, |user| {
    let url = user.issuer.token_url().to_owned();
    user.run(&[
        "login",
        "--grant",
        "client-credentials",
        "--client-id",
        SERVICE,
        "--token-endpoint",
        &url,
        "--client-secret-env",
        "NOT_SET",
    ])
});
mistake!(secret_is_wrong, 1, |user| {
    let url = user.issuer.token_url().to_owned();
    let mut command = user.command(&[
        "login",
        "--grant",
        "client-credentials",
        "--client-id",
        SERVICE,
        "--token-endpoint",
        &url,
    ]);
    command.env("TOKEN_ROTATOR_CLIENT_SECRET", "guessed");
    user.came(command.output().expect("it runs"))
});
mistake!(http_to_elsewhere, 2, |user| {
    user.run(&["login", "--token-endpoint", "http://issuer.example/token"])
});
mistake!(unknown_profile, 2, |user| user.run(&[
    "login",
    "--profile",
    "auth0"
]));
mistake!(unknown_store, 2, |user| user.run(&[
    "status",
    "--store",
    "mysql://db"
]));
mistake!(shared_store_without_key, 1, |user| {
    user.run(&["status", "--store", "redis://127.0.0.1:1"])
});
mistake!(toml_is_broken, 1, |user| {
    user.configure("[sessions.work]\nclient_id = \"desk\nscope = \"api\"\n");
    user.run(&["status"])
});
mistake!(toml_key_is_unknown, 1, |user| {
    user.configure("[store]\nkey = \"file\"\n\n[sessions.work]\nclient = \"desk\"\n");
    user.run(&["status"])
});
mistake!(toml_value_is_wrong, 1, |user| {
    user.configure("[sessions.work]\nclient_id = \"desk\"\nrefresh_before = \"a minute\"\n");
    user.run(&["status"])
});
mistake!(toml_has_the_secret, 1, |user| {
    user.configure("[sessions.work]\nclient_id = \"desk\"\nclient_secret = \"between us\"\n");
    user.run(&["status"])
});
mistake!(config_is_not_there, 1, |user| {
    let file = user.home().join("nowhere.toml");
    user.run(&["status", "--config", file.to_str().expect("text")])
});
mistake!(store_is_open_to_others, 1, |user| {
    use std::os::unix::fs::PermissionsExt as _;
    user.sign_in("default");
    let store = user.home().join(".local/state/token-rotator");
    std::fs::set_permissions(store, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    user.run(&["token"])
});
mistake!(record_is_damaged, 1, |user| {
    user.sign_in("default");
    let store = user.home().join(".local/state/token-rotator");
    for entry in std::fs::read_dir(store).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "session")
        {
            let mut bytes = std::fs::read(&path).expect("a file");
            bytes.truncate(bytes.len() - 7);
            std::fs::write(&path, bytes).expect("a file");
        }
    }
    user.run(&["token"])
});
mistake!(no_id_token, 1, |user| {
    user.sign_in("default");
    user.run(&["token", "--id-token"])
});
mistake!(refresh_token_in_the_clear, 1, |user| {
    user.sign_in("default");
    user.run(&["token", "--show-refresh-token"])
});
mistake!(git_without_hosts, 1, |user| {
    user.sign_in("default");
    let command = user.command(&["token", "-f", "git-credential", "get"]);
    user.with_input(command, "protocol=https\nhost=git.example.com\n\n")
});
mistake!(no_home, 1, |user| {
    let mut command = user.command(&["status"]);
    command.env_remove("HOME");
    user.came(command.output().expect("it runs"))
});
