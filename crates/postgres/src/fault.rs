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

/// What the server answers: the SQLSTATE or its class, what it means, what happened and what to do.
const ANSWERS: &[(&str, StoreErrorKind, &str)] = &[
    (
        "42P01",
        Refused,
        "has no such table; call `migrate` on the store, or run what `migration_sql` answers",
    ),
    (
        "42703",
        Refused,
        "has a table of that name that is another; choose another table",
    ),
    (
        "42501",
        Refused,
        "does not allow this user what the store does; grant SELECT, INSERT and UPDATE on the table, \
         and CREATE on its schema for `migrate`",
    ),
    (
        "28",
        Refused,
        "refuses the user name or the password; correct them in the address",
    ),
    (
        "3D000",
        Refused,
        "has no such database; correct the address",
    ),
    ("3F000", Refused, "has no such schema; create it"),
    (
        "25006",
        Unavailable,
        "is a read-only standby, perhaps after a failover, and takes no writes; have the address \
         point to the primary, or name all hosts with target_session_attrs=read-write",
    ),
    (
        "53300",
        Unavailable,
        "has no connection left; raise max_connections, lower `connections`, or put PgBouncer \
         before it",
    ),
    ("53100", Refused, "has no room left on its disk; make some"),
    ("53", Unavailable, "has run out of resources"),
    (
        "57P03",
        Unavailable,
        "is starting or recovering; it answers once that is done",
    ),
    (
        "57014",
        Unavailable,
        "cancelled the statement; see statement_timeout, and whether another session locks the table",
    ),
    ("57", Unavailable, "is being shut down or restarted"),
    (
        "08",
        Unavailable,
        "lost the connection; it may be restarting, or cut off",
    ),
    (
        "55P03",
        Unavailable,
        "would have had to wait for a lock longer than lock_timeout allows",
    ),
    (
        "40",
        Unavailable,
        "rolled the statement back, for others were in its way",
    ),
    (
        "54",
        Refused,
        "cannot index a session name that long; choose a shorter one",
    ),
];

impl Fault {
    pub(crate) fn new(error: Error, address: &str) -> Self {
        let Some(answer) = error.as_db_error() else {
            return Self::without_answer(error, address);
        };
        let code = answer.code().code();
        let known = ANSWERS.iter().find(|(known, ..)| code.starts_with(known));
        let (kind, words) = match known {
            Some((_, kind, words)) => (*kind, (*words).to_owned()),
            // Its detail is left out: it may quote a whole row.
            None => (Refused, format!("answered: {}", answer.message())),
        };
        let fatal = matches!(
            answer.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        );
        // The server's error is not kept as the cause: it may quote a whole row.
        let message = format!("PostgreSQL at {address} {words} (SQLSTATE {code})");
        Self {
            error: StoreError::new(kind, message),
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
        let words = if refused {
            "cannot be reached: nothing listens there; start it, or correct the address".to_owned()
        } else if system || error.is_closed() {
            "cannot be reached, or closed the connection; it may be restarting, or cut off"
                .to_owned()
        } else {
            // Says which part failed, and quotes nothing.
            format!("cannot be talked to: {error}; correct the address, or see `tls`")
        };
        let connection = (system || error.is_closed()) && !refused;
        let message = format!("PostgreSQL at {address} {words}");
        Self {
            error: StoreError::new(Unavailable, message).with_cause(error),
            connection,
        }
    }

    pub(crate) fn pool(error: PoolError, address: &str) -> Self {
        match error {
            PoolError::Backend(error) => Self::new(error, address),
            error => {
                let message = format!("no connection to PostgreSQL at {address}: {error}");
                Self::lasting(Unavailable, message)
            }
        }
    }

    pub(crate) fn timed_out(limit: Duration, address: &str) -> Self {
        let message = format!(
            "PostgreSQL at {address} did not answer within {limit:?}, and whether it did what it \
             was asked is not known; see whether it is overloaded, paused or cut off, and whether \
             another session locks the table"
        );
        Self::lasting(Unavailable, message)
    }

    pub(crate) fn closed(address: &str) -> Self {
        let message = format!("PostgreSQL at {address} closed the listening connection");
        Self::lasting(Unavailable, message)
    }

    pub(crate) fn newer(found: usize, known: usize, address: &str) -> Self {
        let message = format!(
            "the table at {address} was migrated by a newer version of this program (to {found}, \
             this one knows {known}); upgrade this program"
        );
        Self::lasting(Newer, message)
    }

    /// Another connection would fare no better.
    fn lasting(kind: StoreErrorKind, message: String) -> Self {
        Self {
            error: StoreError::new(kind, message),
            connection: false,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}
