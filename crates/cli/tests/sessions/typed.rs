//! What is typed wrong: told before anything is done.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::user::User;

const VALUES: [&[&str]; 28] = [
    &["token", "--session", "a b"],
    &["token", "--min-ttl", "3600"],
    &["token", "--min-ttl=-1s"],
    &["token", "--key", "file:"],
    &["token", "--key", "vault"],
    &["token", "--store", ""],
    &["token", "--store", "file:sessions"],
    &["token", "--store", "file://sessions"],
    &["token", "--store", "redis:localhost"],
    &["exec", "--env", "A=B", "--", "true"],
    &["exec", "--env", "", "--", "true"],
    &["exec", "--fd", "2", "--", "true"],
    &["login", "--issuer", ""],
    &["login", "--issuer", "issuer.example"],
    &["login", "--issuer", "http://issuer.example"],
    &["login", "--profile", "lax"],
    &["login", "--profile", "hydra"],
    &["login", "--origin", "api.example.com"],
    &["login", "--redirect-port", "70000"],
    &["proxy", "--upstream", "api.example.com"],
    &["proxy", "--upstream", "https://api.example.com/v1"],
    &["proxy", "--listen", "8080"],
    &["proxy", "--admin", "9090"],
    &["proxy", "--log", "loud"],
    &["issuer", "--fault", "flood"],
    &["issuer", "--fault", "delay"],
    &["issuer", "--fault", "hang*often"],
    &["issuer", "--fault", "status=503,later"],
];

const COMMANDS: [&[&str]; 9] = [
    &["tokn"],
    &["token", "--sesion", "work"],
    &["token", "--format", "yaml"],
    &["exec"],
    &["exec", "--fd", "5", "--env", "TOKEN", "--", "true"],
    &[
        "login",
        "--client-secret-env",
        "A",
        "--client-secret-file",
        "a",
    ],
    &["issuer", "--fault", "status=99"],
    &["issuer", "--profile", "strict", "--leeway", "3s"],
    &["demo", "--port", "9090"],
];

async fn told(cases: &[&[&str]]) -> String {
    let user = User::new().await;
    let mut told = String::new();
    for arguments in cases {
        let came = user.run(arguments);
        assert_eq!((came.code, came.out.as_str()), (2, ""), "{came:?}");
        let line = arguments.join(" ");
        write!(told, "$ token-rotator {line}\n{}\n", came.said).expect("text");
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_none() {
    assert_snapshot!(told(&VALUES).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_none() {
    assert_snapshot!(told(&COMMANDS).await);
}

/// What is wrong with a variable is said as of the flag that it stands for.
#[tokio::test(flavor = "multi_thread")]
async fn variables_that_are_wrong() {
    let user = User::new().await;
    let mut told = String::new();
    for (name, value) in [
        ("TOKEN_ROTATOR_ISSUER", "issuer.example"),
        ("TOKEN_ROTATOR_GRANT", "password"),
        ("TOKEN_ROTATOR_STORE", "mysql://user:PASSWORD@db"),
    ] {
        let mut command = user.command(&["token"]);
        let came = user.came(command.env(name, value).output().expect("it runs"));
        assert_eq!(came.code, 2, "{came:?}");
        assert!(!came.said.contains("PASSWORD"), "{came:?}");
        write!(
            told,
            "$ {name}={value} token-rotator token\n{}\n",
            came.said
        )
        .expect("text");
    }
    assert_snapshot!(told);
}
