//! Failed calls to the server: the kind, the message and the hint of each cause.

use std::time::Duration;

use deadpool_postgres::PoolError;
use token_rotator::store::{StoreError, StoreErrorKind};
use tokio_postgres::error::{Error, Severity};

use StoreErrorKind::{Newer, Refused, Unavailable};

/// A call to the server that failed.
#[derive(Debug)]
pub(crate) struct CallError {
    error: StoreError,
    /// Whether the connection was lost. The caller may then repeat the call once on another connection.
    pub(crate) connection: bool,
}

/// Errors that the server answers: SQLSTATE or its class, kind, message, hint. The first match counts, so
/// each code precedes its class.
const SERVER_ERRORS: &[(&str, StoreErrorKind, &str, Option<&str>)] = &[
    (
        "42P01",
        Refused,
        "has no such table",
        Some("call `migrate` on the store, or run the SQL that `migration_sql` returns"),
    ),
    (
        "42703",
        Refused,
        "has a table of that name that is not a session table",
        Some("choose another table with `table`"),
    ),
    (
        "42501",
        Refused,
        "does not allow this user a statement that the store uses",
        Some(
            "grant SELECT, INSERT and UPDATE on the table, and CREATE on its schema for `migrate`",
        ),
    ),
    (
        "28P01",
        Refused,
        "refuses the user name or the password",
        Some("correct the user name and the password in the address"),
    ),
    (
        "28",
        Refused,
        "refuses the user name or the password, or requires TLS",
        Some(
            "correct the user name in the address; pg_hba.conf on the server lists the users, hosts \
             and methods that it allows",
        ),
    ),
    (
        "3D000",
        Refused,
        "has no such database",
        Some("correct the database in the address, or create the database"),
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
        "has reached its limit of connections",
        Some("raise max_connections, lower `connections`, or put PgBouncer in front of the server"),
    ),
    (
        "53100",
        Refused,
        "has no room left on its disk",
        Some("free space on the server's disk"),
    ),
    (
        "53",
        Unavailable,
        "has run out of resources",
        Some("read in the server's log which resource is missing"),
    ),
    (
        "57P03",
        Unavailable,
        "is starting or recovering",
        Some("try again when the server accepts connections"),
    ),
    (
        "57014",
        Unavailable,
        "cancelled the statement",
        Some("check statement_timeout, and whether another database session locks the table"),
    ),
    (
        "57",
        Unavailable,
        "is being shut down or restarted",
        Some("try again when the server accepts connections"),
    ),
    (
        "08",
        Unavailable,
        "lost the connection",
        Some("check whether the server is restarting or unreachable"),
    ),
    (
        "55P03",
        Unavailable,
        "did not get a lock within lock_timeout",
        Some("check whether another database session locks the table"),
    ),
    // No hint: the caller's next attempt repeats the statement.
    (
        "40",
        Unavailable,
        "rolled the statement back because of concurrent statements",
        None,
    ),
    (
        "54",
        Refused,
        "cannot index a session name of this length",
        Some("choose a shorter session name"),
    ),
];

impl CallError {
    pub(crate) fn new(error: Error, address: &str) -> Self {
        let Some(answer) = error.as_db_error() else {
            return Self::unanswered(error, address);
        };
        let code = answer.code().code();
        let (kind, what, hint) = match explain(code) {
            Some((kind, what, hint)) => (kind, what.to_owned(), hint),
            // Only the server's message is shown. Its detail may quote a whole row.
            None => (Refused, format!("answered: {}", answer.message()), None),
        };
        let fatal = matches!(
            answer.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        );
        // The server's error does not become the cause, because it may quote a whole row.
        let message = format!("PostgreSQL at {address} {what} (SQLSTATE {code})");
        Self {
            connection: code.starts_with("08") || fatal && matches!(code, "57P01" | "57P02"),
            ..Self::without_retry(kind, message, hint)
        }
    }

    /// Explains a failure without an answer of the server.
    fn unanswered(error: Error, address: &str) -> Self {
        let mut source = std::error::Error::source(&error);
        let mut refused = false;
        let mut system = false;
        let mut untrusted = false;
        while let Some(cause) = source {
            untrusted |= cause.to_string().contains("invalid peer certificate");
            if let Some(cause) = cause.downcast_ref::<std::io::Error>() {
                system = true;
                refused = cause.kind() == std::io::ErrorKind::ConnectionRefused;
            }
            source = cause.source();
        }
        if untrusted {
            let what = "has a certificate that is not trusted";
            let hint =
                "name the authority of its certificate, or correct the host name in the address";
            let message = format!("PostgreSQL at {address} {what}");
            return Self {
                error: StoreError::new(Refused, message)
                    .with_hint(hint)
                    .with_cause(error),
                connection: false,
            };
        }
        let (what, hint) = if refused {
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
            // The library's text names the part that failed and quotes no data.
            (
                format!("cannot be used: {error}"),
                "correct the address; `sslmode=require` and `sslmode=verify-full` are for a server with TLS",
            )
        };
        let hint = token_rotator::middleware::certificate_hint(&error).unwrap_or(hint);
        let connection = (system || error.is_closed()) && !refused;
        let message = format!("PostgreSQL at {address} {what}");
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
                Self::without_retry(Unavailable, message, hint)
            }
        }
    }

    pub(crate) fn timed_out(limit: Duration, address: &str) -> Self {
        let message = format!(
            "PostgreSQL at {address} did not answer within {limit:?}; it may have executed the statement"
        );
        let hint = "check whether the server is overloaded, paused or unreachable, and whether \
                    another database session locks the table";
        Self::without_retry(Unavailable, message, Some(hint))
    }

    pub(crate) fn closed(address: &str) -> Self {
        let message = format!("PostgreSQL at {address} closed the connection for notifications");
        let hint = "check whether the server is restarting";
        Self::without_retry(Unavailable, message, Some(hint))
    }

    pub(crate) fn newer(found: usize, known: usize, address: &str) -> Self {
        let message = format!(
            "a newer version of this program migrated the table at {address} to schema version \
             {found}; this version supports {known}"
        );
        Self::without_retry(Newer, message, Some("upgrade this program"))
    }

    /// A failure that another connection would not avoid.
    fn without_retry(kind: StoreErrorKind, message: String, hint: Option<&'static str>) -> Self {
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

/// Returns the kind, message and hint of an SQLSTATE, or `None` if the code is not listed.
fn explain(code: &str) -> Option<(StoreErrorKind, &'static str, Option<&'static str>)> {
    let listed = SERVER_ERRORS
        .iter()
        .find(|(prefix, ..)| code.starts_with(prefix));
    listed.map(|&(_, kind, what, hint)| (kind, what, hint))
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        error.error
    }
}

#[cfg(test)]
mod tests {
    use deadpool_postgres::TimeoutType;

    use super::*;

    /// Property: each SQLSTATE has its own message and hint. No message contains advice.
    #[test]
    fn each_server_error_has_its_hint() {
        for (code, expected_kind, expected, hint) in [
            ("42P01", Refused, "no such table", Some("call `migrate`")),
            (
                "42703",
                Refused,
                "not a session table",
                Some("another table"),
            ),
            ("42501", Refused, "does not allow", Some("grant SELECT")),
            ("28P01", Refused, "password", Some("correct the user name")),
            ("28000", Refused, "user name", Some("pg_hba.conf")),
            (
                "3D000",
                Refused,
                "no such database",
                Some("create the database"),
            ),
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
                "limit of connections",
                Some("max_connections"),
            ),
            ("53100", Refused, "no room", Some("free space")),
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
            (
                "54000",
                Refused,
                "of this length",
                Some("a shorter session name"),
            ),
        ] {
            let (kind, what, advice) = explain(code).expect("a listed code");
            assert_eq!(kind, expected_kind, "{code}");
            assert!(what.contains(expected), "{code}: {what}");
            assert!(!what.contains(';'), "{code}: {what}");
            assert_eq!(advice.is_some(), hint.is_some(), "{code}: {advice:?}");
            let advice = advice.unwrap_or_default();
            assert!(
                advice.contains(hint.unwrap_or_default()),
                "{code}: {advice}"
            );
        }
        assert!(explain("22000").is_none());
    }

    /// Property: each failure without an SQLSTATE has the hint for its cause.
    #[test]
    fn each_other_failure_has_its_hint() {
        for (call_error, kind, hint) in [
            (
                CallError::timed_out(Duration::from_secs(1), "here"),
                Unavailable,
                "overloaded, paused or unreachable",
            ),
            (CallError::closed("here"), Unavailable, "restarting"),
            (
                CallError::newer(2, 1, "here"),
                Newer,
                "upgrade this program",
            ),
            (
                CallError::pool(PoolError::Timeout(TimeoutType::Wait), "here"),
                Unavailable,
                "raise `connections`",
            ),
        ] {
            let error = call_error.error;
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.hint().expect("a hint").contains(hint), "{error}");
        }
    }
}
