//! The connections for calls, each call bounded.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio_postgres::config::Host;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};

use crate::connector::Connector;
use crate::fault::Fault;
use crate::schema::{LATEST, Table};

/// A statement's parameters with their types: the server need not be asked for them first, and
/// nothing is prepared that another connection would not know.
pub(crate) type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// How many times longer than one call a migration may take: it may have to wait for others.
const MIGRATION: u32 = 10;

pub(crate) struct Link {
    pool: Pool,
    address: String,
    limit: Duration,
}

impl Link {
    pub(crate) fn new(
        config: Config,
        connector: &dyn Connector,
        connections: usize,
        limit: Duration,
    ) -> Self {
        let address = address(&config);
        let pool = Pool::builder(connector.manager(config))
            .max_size(connections)
            .build()
            .expect("a pool without timeouts of its own needs no runtime");
        Self {
            pool,
            address,
            limit,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Runs a statement. It may run twice: once more where the connection turns out to be closed.
    pub(crate) async fn row(
        &self,
        statement: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<Row>, Fault> {
        self.row_over(None, statement, parameters).await
    }

    /// The same, tried over this connection first. Where that fails, the outcome of another one
    /// counts.
    pub(crate) async fn row_over(
        &self,
        first: Option<Arc<Client>>,
        statement: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<Row>, Fault> {
        let attempts = async {
            if let Some(client) = first
                && let Ok(row) = client.query_typed_opt(statement, parameters).await
            {
                return Ok(row);
            }
            match self.row_once(statement, parameters).await {
                // An idle connection may have been closed long ago, which only the next call finds.
                Err(fault) if fault.connection => self.row_once(statement, parameters).await,
                answer => answer,
            }
        };
        self.bounded(self.limit, attempts).await
    }

    async fn row_once(
        &self,
        statement: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<Row>, Fault> {
        let mut loan = self.borrow().await?;
        let answer = loan
            .connection()
            .query_typed_opt(statement, parameters)
            .await;
        let answer = answer.map_err(|error| Fault::new(error, &self.address));
        if answer.as_ref().is_err_and(|fault| fault.connection) {
            return answer;
        }
        loan.give_back();
        answer
    }

    /// Brings the table to what this program knows, one step after the other.
    pub(crate) async fn migrate(&self, table: &Table) -> Result<(), Fault> {
        let fault = |error| Fault::new(error, &self.address);
        let work = async {
            let mut loan = self.borrow().await?;
            let transaction = loan.connection().transaction().await.map_err(fault)?;
            // It ends with the transaction, so it may be had behind PgBouncer too.
            let lock = format!("SELECT pg_advisory_xact_lock({})", table.lock());
            transaction.batch_execute(&lock).await.map_err(fault)?;
            let known: &str = &table.migrations;
            let exists = transaction
                .query_typed_one(
                    "SELECT to_regclass($1) IS NOT NULL",
                    &[(&known, Type::TEXT)],
                )
                .await
                .map_err(fault)?;
            if !exists.try_get::<_, bool>(0).map_err(fault)? {
                let create = table.create_migrations();
                transaction.batch_execute(&create).await.map_err(fault)?;
            }
            let newest = format!("SELECT coalesce(max(version), 0) FROM {known}");
            let newest = transaction.query_typed_one(&newest, &[]).await;
            let newest: i32 = newest.and_then(|row| row.try_get(0)).map_err(fault)?;
            let done = usize::try_from(newest).unwrap_or_default();
            if done > LATEST {
                return Err(Fault::newer(done, LATEST, &self.address));
            }
            for (_version, step) in table.steps(done) {
                transaction.batch_execute(&step).await.map_err(fault)?;
            }
            transaction.commit().await.map_err(fault)?;
            loan.give_back();
            Ok(())
        };
        self.bounded(self.limit.saturating_mul(MIGRATION), work)
            .await
    }

    async fn borrow(&self) -> Result<Loan, Fault> {
        let connection = self.pool.get().await;
        let connection = connection.map_err(|error| Fault::pool(error, &self.address))?;
        Ok(Loan(Some(connection)))
    }

    async fn bounded<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let timed = tokio::time::timeout(limit, work).await;
        timed.unwrap_or_else(|_| Err(Fault::timed_out(limit, &self.address)))
    }
}

/// A connection on loan. Dropped before it was given back it is closed: what was asked on it may
/// still be going on.
struct Loan(Option<Object>);

impl Loan {
    fn connection(&mut self) -> &mut Object {
        self.0.as_mut().expect("there until it is given back")
    }

    fn give_back(mut self) {
        self.0.take();
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

/// Where the server is, without user name and password.
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
    fn an_address_has_no_password_in_it() {
        for (url, shown) in [
            ("postgres://me:secret@db.example/app", "db.example:5432"),
            ("postgres://me:secret@a:1,b:2/app", "a:1, b:2"),
            ("host=/run/postgresql password=secret", "/run/postgresql"),
            ("hostaddr=10.0.0.1 port=7 password=secret", "10.0.0.1:7"),
        ] {
            assert_eq!(address(&url.parse().expect(url)), shown);
        }
    }
}
