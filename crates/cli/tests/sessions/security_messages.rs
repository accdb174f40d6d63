//! Messages about addresses and certificates of stores, and about files of secrets.

use insta::assert_snapshot;

use crate::user::{CLIENT, User};

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_read() {
    let user = User::new().await;
    let output = user.run(&["status", "--store", "host=db user=me"]);
    assert_snapshot!(output.report(), @"
    exit code 2
    error: invalid value '...' for '--store <STORE>': a PostgreSQL server is written as postgres://user:password@host/database, a directory of this name with ./ before it

    For more information, try '--help'.
    ");
    let output = user.run(&["status", "--store", "me:x://@db"]);
    assert_snapshot!(output.report(), @"
    exit code 2
    error: invalid value '...://...' for '--store <STORE>': write a directory, redis://, rediss:// or postgres://

    For more information, try '--help'.
    ");
    let output = user.run(&[
        "login",
        "--client-id",
        CLIENT,
        "--issuer",
        "https://me@issuer.example",
    ]);
    assert_snapshot!(output.report(), @"
    exit code 2
    error: invalid value 'https://...' for '--issuer <URL>': it has an `@`; write it without user name and password, like https://issuer.example

    For more information, try '--help'.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_store_that_cannot_be_used() {
    let user = User::new().await;
    let store = "[store]\nurl = \"rediss://localhost:1\"\nkey = \"none\"\n";
    user.configure(&format!(
        "{store}client_cert_file = \"/nowhere/client.pem\"\n"
    ));
    assert_snapshot!(user.run(&["status"]).report(), @"
    exit code 1
    error: the store cannot be opened
      because a client certificate needs its key, and a key its certificate
    hint: set both `client_cert_file` and `client_key_file` in [store]
    ");
    let directory = user.home().display();
    user.configure(&format!("{store}ca_file = \"{directory}\"\n"));
    assert_snapshot!(user.run(&["status"]).report(), @"
    exit code 1
    error: the store cannot be opened
      because ~: Is a directory (os error 21)
    hint: name a PEM file that you may read
    ");
}
