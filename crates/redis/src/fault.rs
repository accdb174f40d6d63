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

/// What the server answers: the code, what it means, what happened, and the hint.
const ANSWERS: &[(&str, StoreErrorKind, &str, &str)] = &[
    (
        "READONLY",
        Unavailable,
        "is a read-only replica, perhaps after a failover, and takes no writes",
        "have the address point to the primary",
    ),
    (
        "OOM",
        Refused,
        "has reached its maxmemory and takes no writes",
        "raise maxmemory, or free some of it",
    ),
    (
        "LOADING",
        Unavailable,
        "has just started and is still loading its data",
        "try again once it has loaded its data",
    ),
    (
        "MASTERDOWN",
        Unavailable,
        "is a replica that has lost its primary and answers nothing stale",
        "bring the primary back, or have the address point to it",
    ),
    (
        "NOSCRIPT",
        Unavailable,
        "lost the scripts it had just received",
        "find the client that runs SCRIPT FLUSH",
    ),
    (
        "NOAUTH",
        Refused,
        "wants a password",
        "put it into the address, as redis://user:password@host",
    ),
    (
        "WRONGPASS",
        Refused,
        "refuses the user name or the password",
        "correct them in the address",
    ),
    (
        "NOPERM",
        Refused,
        "does not allow this user what the store does",
        "give the user the commands, keys and channels that token-rotator-redis names in its \
         documentation",
    ),
    (
        "MISCONF",
        Refused,
        "cannot write its data to disk and therefore takes no writes",
        "see the server's log for why it cannot write; its disk may be full",
    ),
    (
        "NOREPLICAS",
        Unavailable,
        "has too few replicas to take writes (min-replicas-to-write)",
        "bring the replicas back",
    ),
    (
        "BUSY",
        Unavailable,
        "is busy with a script of another client",
        "end the script with SCRIPT KILL",
    ),
    (
        "WRONGTYPE",
        Corrupt,
        "holds something else under the name of this session's keys, which was left untouched",
        "choose another key prefix",
    ),
    (
        "MOVED",
        Refused,
        "is one node of a cluster and not this session's",
        "this store speaks to one server: give it one, or a proxy before the cluster",
    ),
    (
        "CLUSTERDOWN",
        Unavailable,
        "is part of a cluster that is down",
        "bring the cluster back; CLUSTER INFO says what it misses",
    ),
];

/// What a failure means.
struct Meaning {
    kind: StoreErrorKind,
    /// What happened, to follow the server's name.
    what: String,
    hint: Option<&'static str>,
}

impl Meaning {
    fn new(kind: StoreErrorKind, what: &str, hint: &'static str) -> Self {
        Self {
            kind,
            what: what.to_owned(),
            hint: Some(hint),
        }
    }
}

impl Fault {
    pub(crate) fn new(error: RedisError, address: &str) -> Self {
        let Meaning { kind, what, hint } = meaning(&error).unwrap_or_else(|| unknown(&error));
        let connection = error.is_io_error()
            || error.is_unrecoverable_error()
            || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            || what.contains("read-only replica");
        let mut fault = StoreError::new(kind, format!("Redis at {address} {what}"));
        if let Some(hint) = hint {
            fault = fault.with_hint(hint);
        }
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
        Self::unavailable(
            format!(
                "Redis at {address} did not answer within {limit:?}, and whether it did what it was \
                 asked is not known"
            ),
            "see whether the server is overloaded, paused or cut off",
        )
    }

    pub(crate) fn closed(address: &str) -> Self {
        Self::unavailable(
            format!("Redis at {address} closed the connection"),
            "see whether the server is restarting",
        )
    }

    fn unavailable(message: String, hint: &'static str) -> Self {
        Self {
            error: StoreError::new(Unavailable, message).with_hint(hint),
            connection: true,
        }
    }
}

/// What the server's code, or the operating system, says.
fn meaning(error: &RedisError) -> Option<Meaning> {
    if error.kind() == ErrorKind::AuthenticationFailed {
        // The detail says whether a password is wrong or missing; the hint covers both.
        return Some(Meaning::new(
            Refused,
            "refuses the user name or the password, or wants one",
            "correct them in the address, as redis://user:password@host",
        ));
    }
    if error.kind() == ErrorKind::Parse {
        return Some(Meaning::new(
            Refused,
            "speaks another protocol than Redis",
            "correct the address; `rediss://` is for a server with TLS, `redis://` for one without",
        ));
    }
    if error.is_connection_refusal() {
        return Some(Meaning::new(
            Unavailable,
            "cannot be reached: nothing listens there",
            "start the server, or correct the address",
        ));
    }
    if error.is_io_error() {
        return Some(Meaning::new(
            Unavailable,
            "cannot be reached, or closed the connection",
            "check the host name and the network; the server may be restarting",
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
    let &(_, kind, what, hint) = found.or_else(wrapped)?;
    Some(Meaning::new(kind, what, hint))
}

fn quotes(detail: &str, code: &str) -> bool {
    let mut words = detail.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| word == code)
}

/// A failure that this store does not know gets no hint.
fn unknown(error: &RedisError) -> Meaning {
    let refused = |what| Meaning {
        kind: Refused,
        what,
        hint: None,
    };
    let Some(code) = error.code() else {
        return refused(format!("cannot be talked to: {}", error.category()));
    };
    let mut words = format!("answered with an error, {code}");
    // An unknown command is quoted together with what it was given.
    if let Some(detail) = error.detail()
        && !detail.contains("args")
        && detail.len() < 200
    {
        let _ = write!(words, ": {detail}");
    }
    refused(words)
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

    /// Property: each answer has its own meaning and its own hint; no advice is in the message.
    #[test]
    fn each_answer_has_its_hint() {
        for (line, kind, what, hint) in [
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
                Some("bring the primary back"),
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
                "wants a password",
                Some("put it into the address"),
            ),
            (
                "ERR Protocol error: unauthenticated multibulk length",
                Refused,
                "wants a password",
                Some("put it into the address"),
            ),
            (
                "WRONGPASS invalid",
                Refused,
                "refuses the user name",
                Some("correct them in the address"),
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
                Some("bring the replicas back"),
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
                "one node of a cluster",
                Some("a proxy before the cluster"),
            ),
            (
                "CLUSTERDOWN Hash slot not served",
                Unavailable,
                "is down",
                Some("CLUSTER INFO"),
            ),
            (
                // As Redis 6 says it.
                "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY \
                 You can't write against a read only replica.",
                Unavailable,
                "read-only replica",
                Some("point to the primary"),
            ),
            ("ERR something else", Refused, "something else", None),
            ("STRANGE things", Refused, "STRANGE", None),
        ] {
            let error = fault(line).error;
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert!(error.to_string().contains(what), "{line}: {error}");
            assert!(error.to_string().starts_with("Redis at here "), "{error}");
            let found = error.hint();
            assert_eq!(found.is_some(), hint.is_some(), "{line}: {found:?}");
            assert!(
                found.unwrap_or_default().contains(hint.unwrap_or_default()),
                "{line}: {found:?}"
            );
            let cause = std::error::Error::source(&error);
            assert!(cause.is_none(), "it may quote what it was sent");
        }
    }

    /// Property: what never reached the server has another hint than what the server refused.
    #[test]
    fn what_brought_no_answer_has_its_hint() {
        let system = |kind: std::io::ErrorKind| {
            let error = std::io::Error::from(kind);
            Fault::new(RedisError::from(error), "here").error
        };
        let refused = system(std::io::ErrorKind::ConnectionRefused);
        let reset = system(std::io::ErrorKind::ConnectionReset);
        let late = Fault::timed_out(Duration::from_secs(1), "here").error;
        let closed = Fault::closed("here").error;
        for (error, hint) in [
            (refused, "start the server, or correct the address"),
            (reset, "check the host name and the network"),
            (late, "overloaded, paused or cut off"),
            (closed, "restarting"),
        ] {
            assert_eq!(error.kind(), Unavailable, "{error}");
            let found = error.hint().expect("a hint");
            assert!(found.contains(hint), "{error}: {found}");
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
