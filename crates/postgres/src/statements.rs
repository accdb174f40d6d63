//! The statements of the store. Each operation is one statement.
//!
//! Leases use `clock_timestamp()` instead of `now()`. `now()` is the start of the transaction, which may be long ago if
//! the statement had to wait for the row.

use crate::schema::SessionTable;

/// The statements for one table.
pub(crate) struct Statements {
    /// Parameters: 1 session. Returns epoch, revision, body, the server's clock in milliseconds since 1970, and whether
    /// the server is a standby, which may lag behind.
    pub(crate) load: String,
    /// Parameters: 1 session. Returns epoch, revision.
    pub(crate) version: String,
    /// Parameters: 1 session, 2 epoch, 3 revision, 4 body, 5 channel, 6 message. Returns a row if the record was
    /// stored.
    pub(crate) insert: String,
    /// Parameters: those of `insert`, 7 expected epoch, 8 expected revision. Returns a row if the record was stored.
    pub(crate) update: String,
    /// Parameters: 1 session, 2 owner, 3 life in milliseconds. Returns the fence if the lease was acquired.
    pub(crate) acquire: String,
    /// Parameters: 1 session. Returns the fence and the remaining life in milliseconds, if a process holds the lease.
    pub(crate) inspect: String,
    /// Parameters: 1 session, 2 owner, 3 life in milliseconds. Returns a row if the lease was renewed.
    pub(crate) renew: String,
    /// Parameters: 1 session, 2 owner, 3 channel, 4 message.
    pub(crate) release: String,
    pub(crate) listen: String,
}

impl Statements {
    pub(crate) fn new(table: &SessionTable) -> Self {
        let table_name = &table.quoted;
        let expiry = "clock_timestamp() + $3 * interval '1 millisecond'";
        Self {
            load: format!(
                "SELECT epoch, revision, body,
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_is_in_recovery()
                FROM {table_name} WHERE session = $1 AND epoch IS NOT NULL"
            ),
            version: format!(
                "SELECT epoch, revision FROM {table_name} WHERE session = $1 AND epoch IS NOT NULL"
            ),
            // A row without an epoch has a lease and no record.
            insert: format!(
                "WITH saved AS (
                    INSERT INTO {table_name} AS mine (session, epoch, revision, body, changed_at)
                    VALUES ($1, $2, $3, $4, clock_timestamp())
                    ON CONFLICT (session) DO UPDATE SET
                        epoch = excluded.epoch, revision = excluded.revision,
                        body = excluded.body, changed_at = excluded.changed_at
                    WHERE mine.epoch IS NULL
                    RETURNING session)
                SELECT pg_notify($5, $6) FROM saved"
            ),
            update: format!(
                "WITH saved AS (
                    UPDATE {table_name} SET
                        epoch = $2, revision = $3, body = $4, changed_at = clock_timestamp()
                    WHERE session = $1 AND epoch = $7 AND revision = $8
                    RETURNING session)
                SELECT pg_notify($5, $6) FROM saved"
            ),
            // A fence is greater than the last fence and not less than the server's clock, so that fences grow even if
            // the row was lost.
            acquire: format!(
                "INSERT INTO {table_name} AS mine (session, lease_owner, lease_expires_at, fence)
                VALUES ($1, $2, {expiry},
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
                ON CONFLICT (session) DO UPDATE SET
                    lease_owner = excluded.lease_owner, lease_expires_at = {expiry},
                    fence = greatest(mine.fence + 1, excluded.fence)
                WHERE mine.lease_owner IS NULL OR mine.lease_owner = excluded.lease_owner
                    OR mine.lease_expires_at <= clock_timestamp()
                RETURNING fence"
            ),
            inspect: format!(
                "SELECT fence,
                    (extract(epoch FROM lease_expires_at - clock_timestamp()) * 1000)::float8
                FROM {table_name}
                WHERE session = $1 AND lease_owner IS NOT NULL
                    AND lease_expires_at > clock_timestamp()"
            ),
            renew: format!(
                "UPDATE {table_name} SET lease_expires_at = {expiry}
                WHERE session = $1 AND lease_owner = $2 AND lease_expires_at > clock_timestamp()
                RETURNING fence"
            ),
            release: format!(
                "WITH released AS (
                    UPDATE {table_name} SET lease_owner = NULL, lease_expires_at = NULL
                    WHERE session = $1 AND lease_owner = $2
                    RETURNING session)
                SELECT pg_notify($3, $4) FROM released"
            ),
            listen: format!("LISTEN \"{}\"", table.channel()),
        }
    }
}
