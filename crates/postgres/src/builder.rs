//! The settings of a store: server, table, encoding, timing.

use std::sync::Arc;
use std::time::Duration;

use token_rotator::store::RecordCodec;
use token_rotator::store::server::{ServerStore, SettingError, Timing};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{Config, Socket};

use crate::connector::{Connector, With};
use crate::schema::Table;
use crate::server::{Addresses, Postgres};
use crate::store::PostgresStore;

/// Builds a [`PostgresStore`]. Nothing is connected before the first call to the store.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PostgresStoreBuilder {
    server: Option<Server>,
    listen: Listen,
    connector: Arc<dyn Connector>,
    has_tls: bool,
    codec: Option<RecordCodec>,
    table: String,
    connections: usize,
    timing: Timing,
}

#[derive(Clone)]
enum Server {
    Url(String),
    Config(Box<Config>),
}

#[derive(Clone)]
enum Listen {
    Same,
    At(Server),
    Never,
}

/// Why a store cannot be built. No password is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The builder has no server.
    #[error("no server is named")]
    NoServer,
    /// The address cannot be read.
    #[error("the address given to `{0}` cannot be read")]
    Url(&'static str),
    /// The address asks for TLS, and the builder has no connector for it.
    #[error("the address asks for TLS (sslmode=require), and there is no connector for it")]
    NoTls,
    /// The builder has no codec for records.
    #[error("nothing says how tokens are written into the database")]
    NoCodec,
    /// The table's name cannot be used.
    #[error("the table name {0:?} cannot be used")]
    Table(String),
    /// There would be no connection.
    #[error("`connections` of 0 leaves none to work with")]
    NoConnections,
    /// A setting contradicts another one.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl BuildError {
    /// What to do about it. Returns `None` if the message says all that is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoServer => "call `url` or `config` on the builder",
            Self::Url(_) => {
                "write the address as postgres://user:password@host:port/database, special \
                 characters percent-encoded"
            }
            Self::NoTls => "give `tls` on the builder a connector",
            Self::NoCodec => {
                "call `codec` with `RecordCodec::sealed(key)`, or with `RecordCodec::plaintext()` \
                 if every reader of the table may have the tokens"
            }
            Self::Table(_) => {
                "take letters, digits and underscores, at most 48, with or without a schema before \
                 a full stop"
            }
            Self::NoConnections => "allow at least one",
            Self::Setting(error) => error.hint,
        })
    }
}

impl PostgresStoreBuilder {
    pub(crate) fn new() -> Self {
        Self {
            server: None,
            listen: Listen::Same,
            connector: Arc::new(With(NoTls)),
            has_tls: false,
            codec: None,
            table: "token_rotator_session".to_owned(),
            connections: 4,
            timing: Timing::new(Duration::from_secs(5)),
        }
    }

    /// Where the server is: `postgres://user:password@host:port/database`. With several hosts, add
    /// `?target_session_attrs=read-write`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.server = Some(Server::Url(url.into()));
        self
    }

    /// Goes by a configuration that was made elsewhere, in place of [`url`](Self::url).
    pub fn config(mut self, config: Config) -> Self {
        self.server = Some(Server::Config(Box::new(config)));
        self
    }

    /// Connects with TLS.
    pub fn tls<T>(mut self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync + 'static,
        T::TlsConnect: Send + Sync,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.connector = Arc::new(With(tls));
        self.has_tls = true;
        self
    }

    /// Where to listen for changes, if not where [`url`](Self::url) says: the server itself, if
    /// that is a `PgBouncer` in transaction mode.
    pub fn listen_url(mut self, url: impl Into<String>) -> Self {
        self.listen = Listen::At(Server::Url(url.into()));
        self
    }

    /// Makes no connection for listening: waiting tasks poll.
    pub fn without_listening(mut self) -> Self {
        self.listen = Listen::Never;
        self
    }

    /// How records are encoded. There is no default, so that plaintext is stored only if the
    /// program asks for it.
    pub fn codec(mut self, codec: RecordCodec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// The table, with or without a schema before a full stop; also the channel's name. Default:
    /// `token_rotator_session`, in the first schema of the search path.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// How many connections there may be for calls; the one for listening is not counted. They are
    /// made when needed. Default: 4.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// How long a lease holds unless it is renewed. Default: 40 s. It must outlast the rotator's
    /// `source_timeout` (15 s by default) and this store's
    /// [`operation_timeout`](Self::operation_timeout).
    pub fn lease_life(mut self, life: Duration) -> Self {
        self.timing.lease_life = life;
        self
    }

    /// How long one call to the server may take, connecting included. Default: 5 s.
    pub fn operation_timeout(mut self, limit: Duration) -> Self {
        self.timing.operation_timeout = limit;
        self
    }

    /// Builds the store, or says which setting is wrong and what to do about it.
    pub fn build(self) -> Result<PostgresStore, BuildError> {
        let server = self.server.as_ref().ok_or(BuildError::NoServer)?;
        let config = self.read(server, "url")?;
        let listen = match &self.listen {
            Listen::Same => Some(config.clone()),
            Listen::At(server) => Some(self.read(server, "listen_url")?),
            Listen::Never => None,
        };
        let table = Table::new(&self.table).ok_or(BuildError::Table(self.table))?;
        if self.connections == 0 {
            return Err(BuildError::NoConnections);
        }
        self.timing.check()?;
        let codec = self.codec.ok_or(BuildError::NoCodec)?;
        let server = Postgres::new(Addresses {
            config,
            listen,
            connector: self.connector,
            table,
            connections: self.connections,
            limit: self.timing.operation_timeout,
            reads_where_it_listens: matches!(self.listen, Listen::Same),
        });
        let store = ServerStore::new(server, codec, self.timing.lease_life);
        Ok(PostgresStore(store))
    }

    fn read(&self, server: &Server, setting: &'static str) -> Result<Config, BuildError> {
        let mut config = match server {
            // The error is not passed on: it could quote the address.
            Server::Url(url) => url
                .parse::<Config>()
                .map_err(|_| BuildError::Url(setting))?,
            Server::Config(config) => (**config).clone(),
        };
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(BuildError::Url(setting));
        }
        if config.get_ssl_mode() == SslMode::Require && !self.has_tls {
            return Err(BuildError::NoTls);
        }
        if config.get_application_name().is_none() {
            config.application_name("token-rotator");
        }
        Ok(config)
    }
}

impl std::fmt::Debug for PostgresStoreBuilder {
    /// Without the address, which may hold a password.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PostgresStoreBuilder")
            .field("codec", &self.codec)
            .field("table", &self.table)
            .field("connections", &self.connections)
            .field("lease_life", &self.timing.lease_life)
            .field("operation_timeout", &self.timing.operation_timeout)
            .finish_non_exhaustive()
    }
}
