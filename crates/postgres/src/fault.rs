//! Errors of the server: what each means, and what to do about it.

use std::time::Duration;

use deadpool_postgres::PoolError;
use token_rotator::store::{StoreError, StoreErrorKind};
use tokio_postgres::error::{Error, Severity};

use StoreErrorKind::{Newer, Refused, Unavailable};

/// A call to the server that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    error: StoreError,
    /// Whether the connection was lost, so that the call may be made once more on another.
    pub(crate) connection: bool,
}

/// What the server answers: the SQLSTATE or its class, what it means, what happened, and the hint.
/// Subclasses stand before their class.
const ANSWERS: &[(&str, StoreErrorKind, &str, Option<&str>)] = &[
    (
        "42P01",
        Refused,
        "has no such table",
        Some("call `migrate` on the store, or run what `migration_sql` answers"),
    ),
    (
        "42703",
        Refused,
        "has a table of that name that is another",
        Some("choose another table"),
    ),
    (
        "42501",
        Refused,
        "does not allow this user what the store does",
        Some(
            "grant SELECT, INSERT and UPDATE on the table, and CREATE on its schema for `migrate`",
        ),
    ),
    (
        "28P01",
        Refused,
        "refuses the user name or the password",
        Some("correct them in the address"),
    ),
    (
        "28",
        Refused,
        "refuses the user name or the password, or wants TLS",
        Some(
            "correct the user name in the address; pg_hba.conf on the server says who may connect \
             from where, and how",
        ),
    ),
    (
        "3D000",
        Refused,
        "has no such database",
        Some("correct the database in the address, or create it"),
    ),
    (
        "3F000",
        Refused,
        "has no such schema",
        Some("create the schema, or name another with `table`"),
    ),
    (
        "25006",
        Unavailable,
        "is a read-only standby, perhaps after a failover, and takes no writes",
        Some(
            "have the address point to the primary, or name all hosts with \
             target_session_attrs=read-write",
        ),
    ),
    (
        "53300",
        Unavailable,
        "has no connection left",
        Some("raise max_connections, lower `connections`, or put PgBouncer before the server"),
    ),
    (
        "53100",
        Refused,
        "has no room left on its disk",
        Some("make room on its disk"),
    ),
    (
        "53",
        Unavailable,
        "has run out of resources",
        Some("see the server's log for what it lacks"),
    ),
    (
        "57P03",
        Unavailable,
        "is starting or recovering",
        Some("try again once it accepts connections"),
    ),
    (
        "57014",
        Unavailable,
        "cancelled the statement",
        Some("see statement_timeout, and whether another session locks the table"),
    ),
    (
        "57",
        Unavailable,
        "is being shut down or restarted",
        Some("try again once it accepts connections"),
    ),
    (
        "08",
        Unavailable,
        "lost the connection",
        Some("see whether the server is restarting, or cut off"),
    ),
    (
        "55P03",
        Unavailable,
        "would have had to wait for a lock longer than lock_timeout allows",
        Some("see whether another session locks the table"),
    ),
    // The statement is tried again by the caller's next attempt; nothing has to be done.
    (
        "40",
        Unavailable,
        "rolled the statement back because of concurrent statements",
        None,
    ),
    (
        "54",
        Refused,
        "cannot index a session name that long",
        Some("choose a shorter one"),
    ),
];

impl Fault {
    pub(crate) fn new(error: Error, address: &str) -> Self {
        let Some(answer) = error.as_db_error() else {
            return Self::without_answer(error, address);
        };
        let code = answer.code().code();
        let (kind, words, hint) = match meaning(code) {
            Some((kind, words, hint)) => (kind, words.to_owned(), hint),
            // Its detail is left out: it may quote a whole row.
            None => (Refused, format!("answered: {}", answer.message()), None),
        };
        let fatal = matches!(
            answer.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        );
        // The server's error is not kept as the cause: it may quote a whole row.
        let message = format!("PostgreSQL at {address} {words} (SQLSTATE {code})");
        let error = StoreError::new(kind, message);
        Self {
            error: match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            },
            connection: code.starts_with("08") || fatal && matches!(code, "57P01" | "57P02"),
        }
    }

    /// The server said nothing.
    fn without_answer(error: Error, address: &str) -> Self {
        let mut deeper = std::error::Error::source(&error);
        let mut refused = false;
        let mut system = false;
        while let Some(cause) = deeper {
            if let Some(cause) = cause.downcast_ref::<std::io::Error>() {
                system = true;
                refused = cause.kind() == std::io::ErrorKind::ConnectionRefused;
            }
            deeper = cause.source();
        }
        let (words, hint) = if refused {
            (
                "cannot be reached: nothing listens there".to_owned(),
                "start the server, or correct the address",
            )
        } else if system || error.is_closed() {
            (
                "cannot be reached, or closed the connection".to_owned(),
                "check the host name and the network; the server may be restarting",
            )
        } else {
            // Says which part failed, and quotes nothing.
            (
                format!("cannot be talked to: {error}"),
                "correct the address, or see `tls`",
            )
        };
        let connection = (system || error.is_closed()) && !refused;
        let message = format!("PostgreSQL at {address} {words}");
        Self {
            error: StoreError::new(Unavailable, message)
                .with_hint(hint)
                .with_cause(error),
            connection,
        }
    }

    pub(crate) fn pool(error: PoolError, address: &str) -> Self {
        match error {
            PoolError::Backend(error) => Self::new(error, address),
            error => {
                let message = format!("no connection to PostgreSQL at {address}: {error}");
                let timed_out = matches!(error, PoolError::Timeout(_));
                let hint = timed_out.then_some("raise `connections` on the builder");
                Self::lasting(Unavailable, message, hint)
            }
        }
    }

    pub(crate) fn timed_out(limit: Duration, address: &str) -> Self {
        let message = format!(
            "PostgreSQL at {address} did not answer within {limit:?}, and whether it did what it \
             was asked is not known"
        );
        let hint = "see whether the server is overloaded, paused or cut off, and whether another \
                    session locks the table";
        Self::lasting(Unavailable, message, Some(hint))
    }

    pub(crate) fn closed(address: &str) -> Self {
        let message = format!("PostgreSQL at {address} closed the listening connection");
        let hint = "see whether the server is restarting";
        Self::lasting(Unavailable, message, Some(hint))
    }

    pub(crate) fn newer(found: usize, known: usize, address: &str) -> Self {
        let message = format!(
            "the table at {address} was migrated by a newer version of this program (to {found}, \
             this one knows {known})"
        );
        Self::lasting(Newer, message, Some("upgrade this program"))
    }

    /// Another connection would fare no better.
    fn lasting(kind: StoreErrorKind, message: String, hint: Option<&'static str>) -> Self {
        let error = StoreError::new(kind, message);
        Self {
            error: match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            },
            connection: false,
        }
    }
}

/// What an SQLSTATE means: the kind, what happened, and the hint.
fn meaning(code: &str) -> Option<(StoreErrorKind, &'static str, Option<&'static str>)> {
    let known = ANSWERS.iter().find(|(known, ..)| code.starts_with(known));
    known.map(|&(_, kind, words, hint)| (kind, words, hint))
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

#[cfg(test)]
mod tests {
    use deadpool_postgres::TimeoutType;

    use super::*;

    /// Property: each SQLSTATE has its own meaning and its own hint; no advice is in the message.
    #[test]
    fn each_answer_has_its_hint() {
        for (code, kind, what, hint) in [
            ("42P01", Refused, "no such table", Some("call `migrate`")),
            ("42703", Refused, "is another", Some("another table")),
            ("42501", Refused, "does not allow", Some("grant SELECT")),
            ("28P01", Refused, "password", Some("correct them")),
            ("28000", Refused, "user name", Some("pg_hba.conf")),
            ("3D000", Refused, "no such database", Some("create it")),
            (
                "3F000",
                Refused,
                "no such schema",
                Some("create the schema"),
            ),
            ("25006", Unavailable, "read-only", Some("to the primary")),
            (
                "53300",
                Unavailable,
                "no connection",
                Some("max_connections"),
            ),
            ("53100", Refused, "no room", Some("make room")),
            ("53200", Unavailable, "resources", Some("server's log")),
            ("57P03", Unavailable, "starting", Some("try again")),
            ("57014", Unavailable, "cancelled", Some("statement_timeout")),
            ("57P01", Unavailable, "shut down", Some("try again")),
            ("08006", Unavailable, "lost", Some("restarting")),
            (
                "55P03",
                Unavailable,
                "lock_timeout",
                Some("locks the table"),
            ),
            ("40001", Unavailable, "rolled", None),
            ("54000", Refused, "name that long", Some("a shorter one")),
        ] {
            let (found, words, advice) = meaning(code).expect("a code that is known");
            assert_eq!(found, kind, "{code}");
            assert!(words.contains(what), "{code}: {words}");
            assert!(!words.contains(';'), "{code}: {words}");
            assert_eq!(advice.is_some(), hint.is_some(), "{code}: {advice:?}");
            let advice = advice.unwrap_or_default();
            assert!(
                advice.contains(hint.unwrap_or_default()),
                "{code}: {advice}"
            );
        }
        assert!(meaning("22000").is_none());
    }

    /// Property: what brought no answer has another hint than what the server refused.
    #[test]
    fn what_brought_no_answer_has_its_hint() {
        for (fault, kind, hint) in [
            (
                Fault::timed_out(Duration::from_secs(1), "here"),
                Unavailable,
                "overloaded, paused or cut off",
            ),
            (Fault::closed("here"), Unavailable, "restarting"),
            (Fault::newer(2, 1, "here"), Newer, "upgrade this program"),
            (
                Fault::pool(PoolError::Timeout(TimeoutType::Wait), "here"),
                Unavailable,
                "raise `connections`",
            ),
        ] {
            let error = fault.error;
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.hint().expect("a hint").contains(hint), "{error}");
        }
    }
}
