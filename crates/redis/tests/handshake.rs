//! Errors during the handshake: each has its own message, and none of them is a wrong password.

use token_rotator::store::{SessionStore as _, StoreErrorKind};
use token_rotator_redis::RedisStore;
use token_rotator_testkit::RedisServer;
use token_rotator_testkit::conformance::server::{codec, key};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers `command` with this error and every other command with OK, on each connection.
async fn serve(command: &'static str, error: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, command, error));
        }
    });
    port
}

async fn answer(stream: TcpStream, command: &str, error: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let parts: usize = line.trim().trim_start_matches('*').parse().unwrap_or(0);
        let mut name = Vec::new();
        for part in 0..parts {
            let mut length = String::new();
            stream.read_line(&mut length).await?;
            let length: usize = length.trim().trim_start_matches('$').parse().unwrap_or(0);
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).await?;
            if part == 0 {
                bytes.truncate(length);
                name = bytes;
            }
        }
        let refuses = name.eq_ignore_ascii_case(command.as_bytes());
        let text = if refuses {
            format!("-{error}\r\n")
        } else {
            "+OK\r\n".to_owned()
        };
        stream.write_all(text.as_bytes()).await?;
    }
}

/// "LOADING, OOM and READONLY during Redis' handshake are reported as a wrong password".
#[tokio::test]
async fn a_refused_handshake_has_its_own_message() {
    use StoreErrorKind::{Refused, Unavailable};

    for (error, kind, expected) in [
        (
            "LOADING Redis is loading the dataset in memory",
            Unavailable,
            "still loading its data",
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            Refused,
            "has reached its maxmemory",
        ),
        (
            "READONLY You can't write against a read only replica.",
            Unavailable,
            "is a read-only replica",
        ),
        (
            "MASTERDOWN Link with MASTER is down",
            Unavailable,
            "has lost its primary",
        ),
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            Refused,
            "refuses the user name or the password",
        ),
    ] {
        for command in ["AUTH", "SELECT"] {
            let port = serve(command, error).await;
            let store = RedisStore::builder()
                .url(format!("redis://me:secret@127.0.0.1:{port}/1"))
                .codec(codec())
                .build()
                .expect("valid settings");
            let failed = store.load(&key()).await.expect_err(error);
            let text = failed.to_string();
            assert_eq!(failed.kind(), kind, "{command} {error}: {text}");
            assert!(text.contains(expected), "{command} {error}: {text}");
            assert!(failed.hint().is_some(), "{command} {error}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

/// A real server tells a wrong password from a missing one.
#[tokio::test]
async fn a_wrong_password_is_told_from_a_missing_one() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    server.command(&["CONFIG", "SET", "requirepass", "right"]);
    for (user, expected) in [
        (":wrong@", "refuses the user name or the password"),
        ("", "requires a password"),
    ] {
        let store = RedisStore::builder()
            .url(format!("redis://{user}127.0.0.1:{}", server.port()))
            .codec(codec())
            .build()
            .expect("valid settings");
        let error = store.load(&key()).await.expect_err("refused");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
