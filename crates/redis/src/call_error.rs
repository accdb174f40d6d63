//! Failed calls to the server: the kind, the message and the hint of each cause.

use std::fmt::Write as _;
use std::time::Duration;

use redis::{ErrorKind, RedisError};
use token_rotator::store::{StoreError, StoreErrorKind};

use StoreErrorKind::{Corrupt, Refused, Unavailable};

/// A call to the server that failed.
#[derive(Debug)]
pub(crate) struct CallError {
    error: StoreError,
    /// Whether the failure ended the connection. The next call must then open another connection.
    pub(crate) connection: bool,
}

/// The code of a server that is a replica and takes no writes.
const READ_ONLY: &str = "READONLY";

/// Errors that the server answers: code, kind, message after the server's name, hint.
const SERVER_ERRORS: &[(&str, StoreErrorKind, &str, &str)] = &[
    (
        READ_ONLY,
        Unavailable,
        "is a read-only replica, perhaps after a failover, and takes no writes",
        "have the address point to the primary",
    ),
    (
        "OOM",
        Refused,
        "has reached its maxmemory and takes no writes",
        "raise maxmemory, or delete keys",
    ),
    (
        "LOADING",
        Unavailable,
        "has just started and is still loading its data",
        "try again when the server has loaded its data",
    ),
    (
        "MASTERDOWN",
        Unavailable,
        "is a replica that has lost its primary and serves no stale data",
        "restart the primary, or have the address point to a working primary",
    ),
    (
        "NOSCRIPT",
        Unavailable,
        "lost the scripts that this store had just loaded",
        "find the client that runs `SCRIPT FLUSH`, and stop it",
    ),
    (
        "NOAUTH",
        Refused,
        "requires a password",
        "put the password into the address, as redis://user:password@host",
    ),
    (
        "WRONGPASS",
        Refused,
        "refuses the user name or the password",
        "correct the user name and the password in the address",
    ),
    (
        "NOPERM",
        Refused,
        "does not allow this user a command, key or channel that the store uses",
        "give the user the commands, keys and channels that token-rotator-redis names in its \
         documentation",
    ),
    (
        "MISCONF",
        Refused,
        "cannot write its data to disk and therefore takes no writes",
        "read the cause in the server's log; its disk may be full",
    ),
    (
        "NOREPLICAS",
        Unavailable,
        "has too few replicas to take writes (min-replicas-to-write)",
        "restart the missing replicas",
    ),
    (
        "BUSY",
        Unavailable,
        "is busy with a script of another client",
        "end the script with `SCRIPT KILL`",
    ),
    (
        "WRONGTYPE",
        Corrupt,
        "has a value of another type under this session's key, which was left untouched",
        "choose another key prefix with `key_prefix`",
    ),
    (
        "MOVED",
        Refused,
        "is a cluster node that does not hold this session's keys",
        "give the address of a server without cluster mode, or of a proxy in front of the cluster",
    ),
    (
        "CLUSTERDOWN",
        Unavailable,
        "is part of a cluster that is down",
        "repair the cluster; `CLUSTER INFO` shows its state",
    ),
];

/// The store error for one cause.
struct Explanation {
    kind: StoreErrorKind,
    /// The part of the message after the server's name.
    message: String,
    hint: Option<&'static str>,
    /// Whether the server is a replica that takes no writes.
    is_read_only: bool,
}

impl Explanation {
    fn new(kind: StoreErrorKind, message: &str, hint: &'static str) -> Self {
        Self {
            kind,
            message: message.to_owned(),
            hint: Some(hint),
            is_read_only: false,
        }
    }
}

impl CallError {
    pub(crate) fn new(error: RedisError, address: &str) -> Self {
        let Explanation {
            kind,
            message,
            hint,
            is_read_only,
        } = explain(&error).unwrap_or_else(|| explain_unknown(&error));
        let connection = error.is_io_error() || error.is_unrecoverable_error() || is_read_only;
        let mut store_error = StoreError::new(kind, format!("Redis at {address} {message}"));
        if let Some(hint) = hint {
            store_error = store_error.with_hint(hint);
        }
        // Only an error of the operating system becomes the cause. An error of the server may quote a
        // token or a password that the server received.
        let store_error = if error.is_io_error() {
            store_error.with_cause(error)
        } else {
            store_error
        };
        Self {
            error: store_error,
            connection,
        }
    }

    pub(crate) fn timed_out(limit: Duration, address: &str) -> Self {
        Self::unavailable(
            format!(
                "Redis at {address} did not answer within {limit:?}; it may have executed the command"
            ),
            "check whether the server is overloaded, paused or unreachable",
        )
    }

    pub(crate) fn closed(address: &str) -> Self {
        Self::unavailable(
            format!("Redis at {address} closed the connection"),
            "check whether the server is restarting",
        )
    }

    fn unavailable(message: String, hint: &'static str) -> Self {
        Self {
            error: StoreError::new(Unavailable, message).with_hint(hint),
            connection: true,
        }
    }
}

/// Explains an error of the server or the operating system. Returns `None` for an unknown error code.
fn explain(error: &RedisError) -> Option<Explanation> {
    if error.kind() == ErrorKind::AuthenticationFailed {
        // The client library does not tell a wrong password from a missing one. The hint covers both.
        return Some(Explanation::new(
            Refused,
            "refuses the user name or the password, or requires a password",
            "correct the user name and the password in the address, as \
             redis://user:password@host",
        ));
    }
    if error.kind() == ErrorKind::Parse {
        return Some(Explanation::new(
            Refused,
            "speaks another protocol than Redis",
            "correct the address; `rediss://` is for a server with TLS, `redis://` for one without",
        ));
    }
    if error.is_connection_refusal() {
        return Some(Explanation::new(
            Unavailable,
            "cannot be reached: nothing listens there",
            "start the server, or correct the address",
        ));
    }
    if has_untrusted_certificate(error) {
        return Some(Explanation::new(
            Refused,
            "has a certificate that is not trusted",
            "name the authority of its certificate, or correct the host name in the address",
        ));
    }
    if error.is_io_error() {
        let clock = token_rotator::middleware::certificate_hint(error);
        return Some(Explanation::new(
            Unavailable,
            "cannot be reached, or closed the connection",
            clock.unwrap_or("check the host name and the network; the server may be restarting"),
        ));
    }
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    // Redis answers a long command before authentication with a protocol error.
    let code = if detail.contains("unauthenticated") {
        "NOAUTH"
    } else {
        code
    };
    // Servers before Redis 7 wrap the error of a command inside a script in an `ERR` error.
    let direct = SERVER_ERRORS.iter().find(|(known, ..)| *known == code);
    let wrapped = || {
        SERVER_ERRORS
            .iter()
            .find(|(known, ..)| quotes(detail, known))
    };
    let &(code, kind, message, hint) = direct.or_else(wrapped)?;
    Some(Explanation {
        is_read_only: code == READ_ONLY,
        ..Explanation::new(kind, message, hint)
    })
}

/// Returns whether the TLS library refused the certificate of the server.
fn has_untrusted_certificate(error: &RedisError) -> bool {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    });
    causes
        .map(ToString::to_string)
        .any(|cause| cause.contains("invalid peer certificate"))
}

/// Returns whether `code` is a whole word of `detail`.
fn quotes(detail: &str, code: &str) -> bool {
    detail
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .any(|part| part == code)
}

/// Explains an error with an unknown code. The cause is unknown, so there is no hint.
fn explain_unknown(error: &RedisError) -> Explanation {
    let refused = |message| Explanation {
        kind: Refused,
        message,
        hint: None,
        is_read_only: false,
    };
    let Some(code) = error.code() else {
        return refused(format!("cannot be used: {}", error.category()));
    };
    let mut message = format!("answered with an error, {code}");
    // The detail of an unknown command quotes its arguments, which may hold a password.
    if let Some(detail) = error.detail()
        && !detail.contains("args")
        && detail.len() < 200
    {
        let _ = write!(message, ": {detail}");
    }
    refused(message)
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        error.error
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn call_error(line: &str) -> CallError {
        let answer = parse_redis_value(format!("-{line}\r\n").as_bytes());
        let error = answer.expect("an answer").extract_error();
        CallError::new(error.expect_err("an error"), "here")
    }

    /// Property: each server error has its own message and hint. No message contains advice.
    #[test]
    fn each_server_error_has_its_hint() {
        for (line, kind, expected, hint) in [
            (
                "LOADING Redis is loading",
                Unavailable,
                "still loading",
                Some("try again"),
            ),
            (
                "MASTERDOWN Link with MASTER is down",
                Unavailable,
                "lost its primary",
                Some("restart the primary"),
            ),
            (
                "READONLY You can't write",
                Unavailable,
                "read-only replica",
                Some("point to the primary"),
            ),
            (
                "OOM command not allowed",
                Refused,
                "maxmemory",
                Some("raise maxmemory"),
            ),
            (
                "NOSCRIPT No matching script",
                Unavailable,
                "lost the scripts",
                Some("SCRIPT FLUSH"),
            ),
            (
                "NOAUTH Authentication required.",
                Refused,
                "requires a password",
                Some("put the password into the address"),
            ),
            (
                "ERR Protocol error: unauthenticated multibulk length",
                Refused,
                "requires a password",
                Some("put the password into the address"),
            ),
            (
                "WRONGPASS invalid",
                Refused,
                "refuses the user name",
                Some("correct the user name and the password"),
            ),
            (
                "NOPERM this user has no",
                Refused,
                "does not allow",
                Some("commands, keys and channels"),
            ),
            (
                "MISCONF Redis is configured",
                Refused,
                "to disk",
                Some("the server's log"),
            ),
            (
                "NOREPLICAS Not enough good replicas",
                Unavailable,
                "too few replicas",
                Some("restart the missing replicas"),
            ),
            (
                "BUSY Redis is busy running a script",
                Unavailable,
                "a script of another client",
                Some("SCRIPT KILL"),
            ),
            (
                "WRONGTYPE Operation against",
                Corrupt,
                "left untouched",
                Some("another key prefix"),
            ),
            (
                "MOVED 1234 10.0.0.1:6379",
                Refused,
                "a cluster node",
                Some("a proxy in front of the cluster"),
            ),
            (
                "CLUSTERDOWN Hash slot not served",
                Unavailable,
                "is down",
                Some("CLUSTER INFO"),
            ),
            (
                // The form of Redis 6.
                "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY \
                 You can't write against a read only replica.",
                Unavailable,
                "read-only replica",
                Some("point to the primary"),
            ),
            ("ERR something else", Refused, "something else", None),
            ("STRANGE things", Refused, "STRANGE", None),
        ] {
            let error = call_error(line).error;
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
            assert!(error.to_string().starts_with("Redis at here "), "{error}");
            let found = error.hint();
            assert_eq!(found.is_some(), hint.is_some(), "{line}: {found:?}");
            assert!(
                found.unwrap_or_default().contains(hint.unwrap_or_default()),
                "{line}: {found:?}"
            );
            let cause = std::error::Error::source(&error);
            assert!(cause.is_none(), "a server error may quote its arguments");
        }
    }

    /// Property: each failure without an answer has the hint for its cause.
    #[test]
    fn each_connection_failure_has_its_hint() {
        let system = |kind: std::io::ErrorKind| {
            let error = std::io::Error::from(kind);
            CallError::new(RedisError::from(error), "here").error
        };
        let refused = system(std::io::ErrorKind::ConnectionRefused);
        let reset = system(std::io::ErrorKind::ConnectionReset);
        let late = CallError::timed_out(Duration::from_secs(1), "here").error;
        let closed = CallError::closed("here").error;
        for (error, hint) in [
            (refused, "start the server, or correct the address"),
            (reset, "check the host name and the network"),
            (late, "overloaded, paused or unreachable"),
            (closed, "restarting"),
        ] {
            assert_eq!(error.kind(), Unavailable, "{error}");
            let found = error.hint().expect("a hint");
            assert!(found.contains(hint), "{error}: {found}");
        }
    }

    #[test]
    fn a_quoted_password_is_not_shown() {
        let error = call_error(
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'pa55word'",
        );
        let shown = format!("{} {error:?}", error.error);
        assert!(!shown.contains("pa55"), "{shown}");
    }

    #[test]
    fn an_error_of_a_demoted_server_ends_the_connection() {
        assert!(call_error("READONLY You can't write").connection);
        assert!(call_error("ERR in a script: -READONLY You can't").connection);
        assert!(!call_error("OOM command not allowed").connection);
        assert!(CallError::timed_out(Duration::from_secs(1), "here").connection);
    }
}
