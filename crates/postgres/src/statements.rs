//! What the server is asked: one statement for each, whole in itself.
//!
//! Leases go by `clock_timestamp()` and not by `now()`: the latter is when the transaction began,
//! which may be long ago if the statement had to wait for the row.

use crate::schema::Table;

/// The statements for one table.
pub(crate) struct Statements {
    /// 1 session. Answers epoch, revision, body.
    pub(crate) load: String,
    /// 1 session. Answers epoch, revision.
    pub(crate) version: String,
    /// 1 session, 2 epoch, 3 revision, 4 body, 5 channel, 6 message. Answers a row if it was stored.
    pub(crate) insert: String,
    /// The same, and 7 epoch, 8 revision that are expected.
    pub(crate) update: String,
    /// 1 session, 2 owner, 3 milliseconds. Answers the fence if it was taken.
    pub(crate) take: String,
    /// 1 session. Answers the fence and how many milliseconds are left, if the lease is held.
    pub(crate) look: String,
    /// 1 session, 2 owner, 3 milliseconds. Answers a row if it was prolonged.
    pub(crate) renew: String,
    /// 1 session, 2 owner, 3 channel, 4 message.
    pub(crate) release: String,
    pub(crate) listen: String,
}

impl Statements {
    pub(crate) fn new(table: &Table) -> Self {
        let name = &table.quoted;
        let until = "clock_timestamp() + $3 * interval '1 millisecond'";
        Self {
            load: format!(
                "SELECT epoch, revision, body FROM {name} WHERE session = $1 AND epoch IS NOT NULL"
            ),
            version: format!(
                "SELECT epoch, revision FROM {name} WHERE session = $1 AND epoch IS NOT NULL"
            ),
            // A row without an epoch is a lease and no record.
            insert: format!(
                "WITH saved AS (
                    INSERT INTO {name} AS mine (session, epoch, revision, body, changed_at)
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
                    UPDATE {name} SET
                        epoch = $2, revision = $3, body = $4, changed_at = clock_timestamp()
                    WHERE session = $1 AND epoch = $7 AND revision = $8
                    RETURNING session)
                SELECT pg_notify($5, $6) FROM saved"
            ),
            // A fence is one more than the last, and no less than the clock says, so that fences
            // grow even where the row was lost.
            take: format!(
                "INSERT INTO {name} AS mine (session, lease_owner, lease_expires_at, fence)
                VALUES ($1, $2, {until},
                    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
                ON CONFLICT (session) DO UPDATE SET
                    lease_owner = excluded.lease_owner, lease_expires_at = {until},
                    fence = greatest(mine.fence + 1, excluded.fence)
                WHERE mine.lease_owner IS NULL OR mine.lease_owner = excluded.lease_owner
                    OR mine.lease_expires_at <= clock_timestamp()
                RETURNING fence"
            ),
            look: format!(
                "SELECT fence,
                    (extract(epoch FROM lease_expires_at - clock_timestamp()) * 1000)::float8
                FROM {name}
                WHERE session = $1 AND lease_owner IS NOT NULL
                    AND lease_expires_at > clock_timestamp()"
            ),
            renew: format!(
                "UPDATE {name} SET lease_expires_at = {until}
                WHERE session = $1 AND lease_owner = $2 AND lease_expires_at > clock_timestamp()
                RETURNING fence"
            ),
            release: format!(
                "WITH released AS (
                    UPDATE {name} SET lease_owner = NULL, lease_expires_at = NULL
                    WHERE session = $1 AND lease_owner = $2
                    RETURNING session)
                SELECT pg_notify($3, $4) FROM released"
            ),
            listen: format!("LISTEN \"{}\"", table.channel()),
        }
    }
}
