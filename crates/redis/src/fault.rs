//! Errors of the server: what each means, and what to do about it.

use std::fmt::Write as _;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use token_rotator::store::{StoreError, StoreErrorKind};

use StoreErrorKind::{Corrupt, Refused, Unavailable};

/// A call to the server that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    error: StoreError,
    /// Whether the connection is of no use any more.
    pub(crate) connection: bool,
}

/// What the server answers: the code, what it means, what happened and what to do.
const ANSWERS: &[(&str, StoreErrorKind, &str)] = &[
    (
        "READONLY",
        Unavailable,
        "is a read-only replica, perhaps after a failover, and takes no writes; have the address \
         point to the primary",
    ),
    (
        "OOM",
        Refused,
        "has reached its maxmemory and takes no writes; raise maxmemory, or free some",
    ),
    (
        "LOADING",
        Unavailable,
        "has just started and is still loading its data; it answers once that is done",
    ),
    (
        "MASTERDOWN",
        Unavailable,
        "is a replica that has lost its primary and answers nothing stale; bring the primary back, \
         or have the address point to it",
    ),
    (
        "NOSCRIPT",
        Unavailable,
        "lost the scripts it had just received; find the client that runs SCRIPT FLUSH",
    ),
    (
        "NOAUTH",
        Refused,
        "wants a password; put it into the address, as redis://user:password@host",
    ),
    (
        "WRONGPASS",
        Refused,
        "refuses the user name or the password; correct them in the address",
    ),
    (
        "NOPERM",
        Refused,
        "does not allow this user what the store does; give it the commands, keys and channels that \
         token-rotator-redis names in its documentation",
    ),
    (
        "MISCONF",
        Refused,
        "cannot write its data to disk and therefore takes no writes; make room on its disk",
    ),
    (
        "NOREPLICAS",
        Unavailable,
        "has too few replicas to take writes (min-replicas-to-write); bring them back",
    ),
    (
        "BUSY",
        Unavailable,
        "is busy with a script of another client; end it with SCRIPT KILL",
    ),
    (
        "WRONGTYPE",
        Corrupt,
        "holds something else under the name of this session's keys, which was left untouched; \
         choose another key prefix",
    ),
    (
        "MOVED",
        Refused,
        "is one node of a cluster and not this session's; this store speaks to one server: give it \
         one, or a proxy before the cluster",
    ),
    (
        "CLUSTERDOWN",
        Unavailable,
        "is part of a cluster that is down",
    ),
];

impl Fault {
    pub(crate) fn new(error: RedisError, address: &str) -> Self {
        let (kind, words) = match meaning(&error) {
            Some((kind, words)) => (kind, words.to_owned()),
            None => unknown(&error),
        };
        let connection = error.is_io_error()
            || error.is_unrecoverable_error()
            || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            || words.contains("read-only replica");
        let message = format!("Redis at {address} {words}");
        let fault = StoreError::new(kind, message);
        // Only an error of the operating system is kept: the server's may quote what it received.
        let fault = if error.is_io_error() {
            fault.with_cause(error)
        } else {
            fault
        };
        Self {
            error: fault,
            connection,
        }
    }

    pub(crate) fn timed_out(limit: Duration, address: &str) -> Self {
        Self::unavailable(format!(
            "Redis at {address} did not answer within {limit:?}, and whether it did what it was \
             asked is not known; see whether it is overloaded, paused or cut off"
        ))
    }

    pub(crate) fn closed(address: &str) -> Self {
        Self::unavailable(format!("Redis at {address} closed the connection"))
    }

    fn unavailable(message: String) -> Self {
        Self {
            error: StoreError::new(Unavailable, message),
            connection: true,
        }
    }
}

/// What the server's code, or the operating system, says.
fn meaning(error: &RedisError) -> Option<(StoreErrorKind, &'static str)> {
    if error.kind() == ErrorKind::AuthenticationFailed {
        // The detail says whether a password is wrong or missing; either way:
        let words = "refuses the user name or the password, or wants one; correct the address, as \
                     redis://user:password@host";
        return Some((Refused, words));
    }
    if error.kind() == ErrorKind::Parse {
        let words = "speaks another protocol than Redis; correct the address";
        return Some((Refused, words));
    }
    if error.is_connection_refusal() {
        let words = "cannot be reached: nothing listens there; start it, or correct the address";
        return Some((Unavailable, words));
    }
    if error.is_io_error() {
        return Some((
            Unavailable,
            "cannot be reached, or closed the connection; it may be restarting, or cut off",
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
    // Servers before Redis 7 wrap what goes wrong inside a script in an ERR of their own.
    let found = ANSWERS.iter().find(|(known, ..)| *known == code);
    let wrapped = || ANSWERS.iter().find(|(known, ..)| quotes(detail, known));
    let (_, kind, words) = found.or_else(wrapped)?;
    Some((*kind, words))
}

fn quotes(detail: &str, code: &str) -> bool {
    let mut words = detail.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| word == code)
}

fn unknown(error: &RedisError) -> (StoreErrorKind, String) {
    let Some(code) = error.code() else {
        let words = format!("cannot be talked to: {}", error.category());
        return (Refused, words);
    };
    let mut words = format!("answered with an error, {code}");
    // An unknown command is quoted together with what it was given.
    if let Some(detail) = error.detail()
        && !detail.contains("args")
        && detail.len() < 200
    {
        let _ = write!(words, ": {detail}");
    }
    (Refused, words)
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn fault(line: &str) -> Fault {
        let answer = parse_redis_value(format!("-{line}\r\n").as_bytes());
        let error = answer.expect("an answer").extract_error();
        Fault::new(error.expect_err("an error"), "here")
    }

    #[test]
    fn what_the_server_answers_is_told_for_what_it_is() {
        for (line, kind, words) in [
            ("LOADING Redis is loading", Unavailable, "still loading"),
            (
                "MASTERDOWN Link with MASTER is down",
                Unavailable,
                "lost its primary",
            ),
            (
                "READONLY You can't write",
                Unavailable,
                "point to the primary",
            ),
            ("OOM command not allowed", Refused, "raise maxmemory"),
            ("NOSCRIPT No matching script", Unavailable, "SCRIPT FLUSH"),
            (
                "NOAUTH Authentication required.",
                Refused,
                "wants a password",
            ),
            (
                "ERR Protocol error: unauthenticated multibulk length",
                Refused,
                "wants a password",
            ),
            ("WRONGPASS invalid", Refused, "refuses the user name"),
            ("NOPERM this user has no", Refused, "does not allow"),
            ("MISCONF Redis is configured", Refused, "to disk"),
            ("WRONGTYPE Operation against", Corrupt, "another key prefix"),
            ("MOVED 1234 10.0.0.1:6379", Refused, "one node of a cluster"),
            ("CLUSTERDOWN Hash slot not served", Unavailable, "is down"),
            (
                // As Redis 6 says it.
                "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY \
                 You can't write against a read only replica.",
                Unavailable,
                "point to the primary",
            ),
            ("ERR something else", Refused, "something else"),
            ("STRANGE things", Refused, "STRANGE"),
        ] {
            let error = fault(line).error;
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert!(error.to_string().contains(words), "{line}: {error}");
            assert!(error.to_string().starts_with("Redis at here "), "{error}");
            let cause = std::error::Error::source(&error);
            assert!(cause.is_none(), "it may quote what it was sent");
        }
    }

    #[test]
    fn what_the_server_quotes_is_not_passed_on() {
        let fault = fault(
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'pa55word'",
        );
        let said = format!("{} {fault:?}", fault.error);
        assert!(!said.contains("pa55"), "{said}");
    }

    #[test]
    fn a_demoted_server_is_connected_to_anew() {
        assert!(fault("READONLY You can't write").connection);
        assert!(fault("ERR in a script: -READONLY You can't").connection);
        assert!(!fault("OOM command not allowed").connection);
        assert!(Fault::timed_out(Duration::from_secs(1), "here").connection);
    }
}
