//! Stores on servers with TLS, clear text to other machines, and addresses with special characters.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use token_rotator_testkit::{PostgresServer, RedisServer};

use crate::user::{CLIENT, CommandOutput, User};

/// An authority and the files of certificates that it issued.
struct Certificates {
    directory: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        // OpenSSL takes a certificate whose subject is its issuer for a self-signed one.
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority of the test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = tempfile::TempDir::new().expect("a directory");
        let certificates = Self {
            directory,
            authority,
        };
        // Servers that do not run as root read the files.
        set_mode(certificates.directory.path(), 0o755);
        std::fs::write(certificates.file("ca.pem"), certificates.authority.pem()).expect("a file");
        certificates
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Issues a certificate for this host name. Returns the files of the certificate and its key.
    fn issue(&self, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        let certificate = params
            .signed_by(&key, &*self.authority)
            .expect("a certificate");
        let files = (
            self.file(&format!("{host}.pem")),
            self.file(&format!("{host}.key")),
        );
        std::fs::write(&files.0, certificate.pem()).expect("a file");
        std::fs::write(&files.1, key.serialize_pem()).expect("a file");
        set_mode(&files.1, 0o600);
        files
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the test owns it");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Runs a command with the sessions in this store, with more keys of `[store]`.
fn run(user: &User, store: &str, keys: &str, arguments: &[&str]) -> CommandOutput {
    let endpoint = user.issuer.token_url();
    user.configure(&format!(
        "[store]\nurl = \"{store}\"\nkey = \"env:KEY\"\n{keys}\n\
         [sessions.default]\nclient_id = \"{CLIENT}\"\ntoken_endpoint = \"{endpoint}\"\n"
    ));
    let mut command = user.command(arguments);
    command.env("KEY", "07".repeat(32));
    user.with_input(command, &user.refresh_token())
}

/// Signs in and gets a token.
fn succeeds(user: &User, store: &str, keys: &str) {
    let output = run(user, store, keys, &["login"]);
    assert_eq!(output.code, 0, "{store}: {output:?}");
    let output = run(user, store, keys, &["token", "--refresh"]);
    assert!(
        user.issuer.accepts(output.stdout.trim()),
        "{store}: {output:?}"
    );
}

fn fails(user: &User, store: &str, keys: &str, why: &str) {
    let output = run(user, store, keys, &["status", "--session", "default"]);
    assert_ne!(output.code, 0, "{store}: {output:?}");
    assert!(output.stderr.contains(why), "{store}: {output:?}");
    assert!(output.stderr.contains("\nhint: "), "{store}: {output:?}");
}

const UNTRUSTED: &str = "has a certificate that is not trusted";

/// "`rediss://` is offered and refused by this build": TLS to Redis, with a client certificate.
#[tokio::test(flavor = "multi_thread")]
async fn redis_with_tls() {
    let certificates = Certificates::new();
    let (certificate, key) = certificates.issue("localhost");
    let port = free_port().to_string();
    let authority = certificates.file("ca.pem");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let arguments = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &text(&certificate),
        "--tls-key-file",
        &text(&key),
        "--tls-ca-cert-file",
        &text(&authority),
        "--tls-auth-clients",
        "yes",
    ];
    let Some(_server) = RedisServer::start_with(&arguments).await else {
        return;
    };
    let user = User::new().await;
    let store = format!("rediss://localhost:{port}");
    let (client, client_key) = certificates.issue("client.example");
    let authority = format!("ca_file = \"{}\"\n", authority.display());
    let keys = format!(
        "{authority}client_cert_file = \"{}\"\nclient_key_file = \"{}\"",
        client.display(),
        client_key.display()
    );
    succeeds(&user, &store, &keys);
    fails(&user, &store, "", UNTRUSTED);
    // The server's certificate names another host.
    fails(
        &user,
        &format!("rediss://127.0.0.1:{port}"),
        &keys,
        UNTRUSTED,
    );
    // The server asks for a certificate of the client.
    fails(&user, &store, &authority, "Redis at");
    let half = format!("{authority}client_cert_file = \"{}\"", client.display());
    fails(&user, &store, &half, "a client certificate needs its key");
}

/// "`sslmode=require` is offered and refused by this build": each mode against a server with a
/// certificate for `localhost`.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_with_tls() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let certificates = Certificates::new();
    let (certificate, key) = certificates.issue("localhost");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&key, Some(65_534), Some(65_534)).expect("a super-user");
    }
    for (name, value) in [
        ("ssl_cert_file", certificate.display().to_string()),
        ("ssl_key_file", key.display().to_string()),
        ("ssl", "on".to_owned()),
    ] {
        server.sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    server.sql("SELECT pg_reload_conf()");
    let port = server.port();
    let user = User::new().await;
    let keys = format!("ca_file = \"{}\"", certificates.file("ca.pem").display());
    let store = |host: &str, mode: &str| {
        format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}")
    };
    // The server reads its configuration at its own time.
    while run(
        &user,
        &store("localhost", "require"),
        &keys,
        &["status", "--session", "default"],
    )
    .stderr
    .contains("does not support TLS")
    {}
    for mode in ["require", "verify-ca", "verify-full"] {
        succeeds(&user, &store("localhost", mode), &keys);
        fails(&user, &store("localhost", mode), "", UNTRUSTED);
    }
    // Another name of the server: only `verify-ca` accepts the certificate.
    succeeds(&user, &store("127.0.0.1", "verify-ca"), &keys);
    fails(&user, &store("127.0.0.1", "verify-full"), &keys, UNTRUSTED);
    fails(&user, &store("127.0.0.1", "require"), &keys, UNTRUSTED);
    // The session is one row, which every connection has used over TLS.
    assert_eq!(
        server
            .sql("SELECT count(*) FROM token_rotator_session")
            .trim(),
        "1"
    );
    succeeds(&user, &server.url(), "");
}

/// Clear text to another machine only if its host is named. Nothing is looked up before that.
#[tokio::test(flavor = "multi_thread")]
async fn clear_text_to_another_machine_is_refused() {
    let user = User::new().await;
    let status = ["status", "--session", "default"];
    let output = run(&user, "redis://:hunter2@redis.invalid:6379", "", &status);
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: the store cannot be opened
      because the connection to redis.invalid would not be encrypted, and it is another machine
    hint: write the address with rediss://; or, in a network that you trust, name the host: `clear_text_hosts = ["redis.invalid"]` in [store], or `--store-clear-text-host redis.invalid`
    "#);
    let output = run(
        &user,
        "postgres://me:hunter2@db.invalid/app?sslmode=prefer",
        "",
        &status,
    );
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: the store cannot be opened
      because the connection to db.invalid would not be encrypted, and it is another machine
    hint: add `?sslmode=verify-full` to the address; or, in a network that you trust, name the host: `clear_text_hosts = ["db.invalid"]` in [store], or `--store-clear-text-host db.invalid`
    "#);
    for store in [
        "redis://10.0.0.1",
        "redis://[2001:db8::1]",
        "redis://localhost.invalid",
        "postgres://127.0.0.1,db.invalid/app",
        "postgres://127.0.0.1/app?hostaddr=10.0.0.1",
        "postgres://db.invalid/app?sslmode=disable",
    ] {
        fails(
            &user,
            store,
            "",
            "would not be encrypted, and it is another machine",
        );
    }
    // A loopback address, a socket and a named host are tried.
    let named = "clear_text_hosts = [\"Redis.invalid\"]";
    for (store, keys, why) in [
        ("redis://127.0.0.1:1", "", "nothing listens there"),
        ("redis+unix:///nowhere/redis.sock", "", "cannot be reached"),
        ("postgres:///app?host=/nowhere", "", "cannot be reached"),
        ("redis://redis.invalid", named, "cannot be reached"),
    ] {
        fails(&user, store, keys, why);
    }
    let mut command = user.command(&[
        "status",
        "--session",
        "default",
        "--store",
        "redis://redis.invalid",
    ]);
    command.args([
        "--key",
        "env:KEY",
        "--store-clear-text-host",
        "redis.invalid",
    ]);
    command.env("KEY", "07".repeat(32));
    let output = user.output_of(command);
    assert!(output.stderr.contains("cannot be reached"), "{output:?}");
}

/// "The tail of a `PostgreSQL` password with `@` is shown, kept in history and looked up by DNS".
#[tokio::test(flavor = "multi_thread")]
async fn a_password_with_special_characters_is_not_shown() {
    let user = User::new().await;
    for address in [
        "postgres://me:hun@ter2canary@db.invalid/app",
        "postgres://me:hun/ter2canary@db.invalid/app",
        "postgres://me:hun#ter2canary@db.invalid/app",
        "postgres://me:hun%ter2canary@db.invalid/app",
        "postgres://me:hun?ter2canary@db.invalid/app",
        "postgres://me:5432/ter2canary@db.invalid/app",
        "redis://:hun@ter2canary@db.invalid",
        "redis://:6379/ter2canary@db.invalid",
        "host=db.invalid user=me password=ter2canary",
        "user=me password='ter2 canary' host=db.invalid",
        "mysql://me:hun/ter2canary@db.invalid",
        "me:hun://ter2canary@db.invalid",
    ] {
        for arguments in [["status"], ["token"], ["doctor"]] {
            let mut command = user.command(&["--store", address, "--key", "env:KEY"]);
            command.args(arguments).env("KEY", "07".repeat(32));
            command.env("TOKEN_ROTATOR_ISSUER", user.issuer.url());
            let output = user.output_of(command);
            let text = output.report();
            assert_ne!(output.code, 0, "{address}: {text}");
            assert!(
                !text.contains("ter2") && !text.contains("canary"),
                "{address}: {text}"
            );
            assert!(!text.contains("lookup"), "{address}: {text}");
        }
        user.configure(&format!("[store]\nurl = \"{address}\"\nkey = \"none\"\n"));
        let text = user.run(&["status"]).report();
        assert!(
            !text.contains("ter2") && !text.contains("canary"),
            "{address}: {text}"
        );
        user.configure(&format!("store = \"{address}\"\n"));
        let text = user.run(&["status"]).report();
        assert!(
            !text.contains("ter2") && !text.contains("canary"),
            "{address}: {text}"
        );
        user.configure("");
    }
    let state = user.home().join(".local/state/token-rotator/history");
    assert!(!state.exists(), "no command came as far as the history");
    for issuer in [
        "https://me:hun/ter2canary@issuer.invalid",
        "https://me:1/ter2canary@issuer.invalid",
    ] {
        let output = user.run(&["login", "--client-id", CLIENT, "--issuer", issuer]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(!output.stderr.contains("ter2"), "{output:?}");
    }
}
