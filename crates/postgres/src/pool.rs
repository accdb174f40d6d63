//! The connections for calls, with a time limit for each call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio_postgres::config::Host;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};

use crate::call_error::CallError;
use crate::connector::PostgresConnector;
use crate::schema::{LATEST_VERSION, SessionTable};

/// A statement's parameters with their types. With given types the server prepares no statement that another connection
/// behind `PgBouncer` would not have.
pub(crate) type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// Time limit of a migration in calls: a migration may wait for the migrations of other processes.
const MIGRATION_TIME_FACTOR: u32 = 10;

pub(crate) struct ConnectionPool {
    pool: Pool,
    address: String,
    limit: Duration,
}

impl ConnectionPool {
    pub(crate) fn new(
        config: Config,
        connector: &dyn PostgresConnector,
        connections: usize,
        limit: Duration,
    ) -> Self {
        let address = address(&config);
        let pool = Pool::builder(connector.manager(config))
            .max_size(connections)
            .build()
            .expect("a pool without timeouts needs no runtime");
        Self {
            pool,
            address,
            limit,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Runs a statement. The statement may run twice: again on a new connection if the first connection turns out to be
    /// closed.
    pub(crate) async fn row(
        &self,
        statement: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<Row>, CallError> {
        self.row_over(None, statement, parameters).await
    }

    /// Runs a statement over `first`. If that fails, runs it over a pooled connection, whose result counts.
    pub(crate) async fn row_over(
        &self,
        first: Option<Arc<Client>>,
        statement: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<Row>, CallError> {
        let attempts = async {
            if let Some(client) = first
                && let Ok(row) = client.query_typed_opt(statement, parameters).await
            {
                return Ok(row);
            }
            match self.pooled_row(statement, parameters).await {
                // The server may have closed an idle connection long ago. Only the next call detects that.
                Err(error) if error.connection => self.pooled_row(statement, parameters).await,
                result => result,
            }
        };
        self.with_time_limit(self.limit, attempts).await
    }

    async fn pooled_row(
        &self,
        statement: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<Row>, CallError> {
        let mut connection = self.connection().await?;
        let result = connection
            .connection()
            .query_typed_opt(statement, parameters)
            .await;
        let result = result.map_err(|error| CallError::new(error, &self.address));
        if result.as_ref().is_err_and(|error| error.connection) {
            return result;
        }
        connection.give_back();
        result
    }

    /// Runs the missing migration steps of the table in one transaction.
    pub(crate) async fn migrate(&self, table: &SessionTable) -> Result<(), CallError> {
        let call_error = |error| CallError::new(error, &self.address);
        let migration = async {
            let mut connection = self.connection().await?;
            let transaction = connection
                .connection()
                .transaction()
                .await
                .map_err(call_error)?;
            // The lock ends with the transaction, so it works behind `PgBouncer`.
            let lock = format!("SELECT pg_advisory_xact_lock({})", table.lock());
            transaction.batch_execute(&lock).await.map_err(call_error)?;
            let migrations: &str = &table.migrations;
            let exists = transaction
                .query_typed_one(
                    "SELECT to_regclass($1) IS NOT NULL",
                    &[(&migrations, Type::TEXT)],
                )
                .await
                .map_err(call_error)?;
            if !exists.try_get::<_, bool>(0).map_err(call_error)? {
                let create = table.create_migrations();
                transaction
                    .batch_execute(&create)
                    .await
                    .map_err(call_error)?;
            }
            let newest = format!("SELECT coalesce(max(version), 0) FROM {migrations}");
            let newest = transaction.query_typed_one(&newest, &[]).await;
            let newest: i32 = newest.and_then(|row| row.try_get(0)).map_err(call_error)?;
            let applied = usize::try_from(newest).unwrap_or_default();
            if applied > LATEST_VERSION {
                return Err(CallError::newer(applied, LATEST_VERSION, &self.address));
            }
            for step in table.steps(applied) {
                transaction.batch_execute(&step).await.map_err(call_error)?;
            }
            transaction.commit().await.map_err(call_error)?;
            connection.give_back();
            Ok(())
        };
        self.with_time_limit(self.limit.saturating_mul(MIGRATION_TIME_FACTOR), migration)
            .await
    }

    async fn connection(&self) -> Result<PooledConnection, CallError> {
        let connection = self.pool.get().await;
        let connection = connection.map_err(|error| CallError::pool(error, &self.address))?;
        Ok(PooledConnection(Some(connection)))
    }

    async fn with_time_limit<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let result = tokio::time::timeout(limit, future).await;
        result.unwrap_or_else(|_| Err(CallError::timed_out(limit, &self.address)))
    }
}

/// A connection of the pool. If it is dropped before `give_back`, it is closed, because its statement may still run.
struct PooledConnection(Option<Object>);

impl PooledConnection {
    fn connection(&mut self) -> &mut Object {
        self.0.as_mut().expect("present until `give_back`")
    }

    fn give_back(mut self) {
        self.0.take();
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

/// Returns the server's hosts and ports, without user name and password.
pub(crate) fn address(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| match ports {
        [] => 5_432,
        [port] => *port,
        ports => ports.get(index).copied().unwrap_or(5_432),
    };
    let hosts: Vec<String> = if config.get_hosts().is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        addresses
            .map(|(index, host)| format!("{host}:{}", port(index)))
            .collect()
    } else {
        let hosts = config.get_hosts().iter().enumerate();
        hosts
            .map(|(index, host)| match host {
                Host::Tcp(host) => format!("{host}:{}", port(index)),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            })
            .collect()
    };
    hosts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_contains_no_password() {
        for (url, expected) in [
            ("postgres://me:secret@db.example/app", "db.example:5432"),
            ("postgres://me:secret@a:1,b:2/app", "a:1, b:2"),
            ("host=/run/postgresql password=secret", "/run/postgresql"),
            ("hostaddr=10.0.0.1 port=7 password=secret", "10.0.0.1:7"),
        ] {
            assert_eq!(address(&url.parse().expect(url)), expected);
        }
    }
}
