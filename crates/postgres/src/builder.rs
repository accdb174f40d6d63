//! The settings of a store: server, table, codec, timing.

use std::sync::Arc;
use std::time::Duration;

use token_rotator::store::RecordCodec;
use token_rotator::store::server::{ServerAddress, ServerStore, SettingError, Timing, is_host};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{Config, Socket};

use crate::connector::{PostgresConnector, TlsConnector};
#[cfg(feature = "rustls")]
use crate::rustls::{CertificateProblem, TlsCertificates};
use crate::schema::SessionTable;
use crate::server::{ConnectionSettings, Postgres};
use crate::store::PostgresStore;

/// Builds a [`PostgresStore`]. The store connects with its first call.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PostgresStoreBuilder {
    server: Option<ServerSetting>,
    listen: ListenSetting,
    connector: Arc<dyn PostgresConnector>,
    has_tls: bool,
    #[cfg(feature = "rustls")]
    certificates: TlsCertificates,
    codec: Option<RecordCodec>,
    table: String,
    connections: usize,
    timing: Timing,
}

#[derive(Clone)]
enum ServerSetting {
    Url(String),
    Config(Box<Config>),
}

#[derive(Clone)]
enum ListenSetting {
    SameAddress,
    Address(ServerSetting),
    Never,
}

/// Why a store cannot be built. The message contains no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The builder has no server.
    #[error("no PostgreSQL server is configured")]
    NoServer,
    /// The address cannot be read.
    #[error("the address given to `{0}` cannot be read")]
    Url(&'static str),
    /// The address asks for TLS, and the builder has no TLS connector.
    #[error("the address asks for TLS (sslmode), and no TLS connector is configured")]
    NoTls,
    /// The certificates cannot be used.
    #[cfg(feature = "rustls")]
    #[error("the certificates for TLS cannot be used: {0}")]
    Certificates(CertificateProblem),
    /// The builder has no codec for records.
    #[error("no codec for records is configured")]
    NoCodec,
    /// The table's name has a character that is not allowed, or is too long.
    #[error("the table name {0:?} cannot be used")]
    Table(String),
    /// The store may open no connection.
    #[error("`connections` is 0")]
    NoConnections,
    /// A setting contradicts another one.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl BuildError {
    /// Returns the action for this cause.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoServer => "call `url` or `config` on the builder",
            Self::Url(_) => {
                "write the address as postgres://user:password@host:port/database, with special \
                 characters percent-encoded"
            }
            Self::NoTls => {
                "give the builder a connector with `tls`, or enable the feature `rustls`"
            }
            #[cfg(feature = "rustls")]
            Self::Certificates(_) => "name PEM files with the certificates and the key",
            Self::NoCodec => {
                "call `codec` with `RecordCodec::sealed(key)`, or with `RecordCodec::plaintext()` \
                 if every user who can read the table may have the tokens"
            }
            Self::Table(_) => {
                "use letters, digits and underscores, at most 48, with or without a schema before \
                 a full stop"
            }
            Self::NoConnections => "allow at least one connection",
            Self::Setting(error) => error.hint,
        })
    }
}

impl PostgresStoreBuilder {
    pub(crate) fn new() -> Self {
        Self {
            server: None,
            listen: ListenSetting::SameAddress,
            connector: Arc::new(TlsConnector(NoTls)),
            has_tls: false,
            #[cfg(feature = "rustls")]
            certificates: TlsCertificates::default(),
            codec: None,
            table: "token_rotator_session".to_owned(),
            connections: 4,
            timing: Timing::new(Duration::from_secs(5)),
        }
    }

    /// Sets the server's address: `postgres://user:password@host:port/database`. With several hosts, append
    /// `?target_session_attrs=read-write`.
    ///
    /// Special characters of user name and password are percent-encoded. With the feature `rustls`, `sslmode=require` and
    /// `verify-full` accept only a server with a trusted certificate for its host name; `verify-ca` accepts one for any
    /// name. Without `sslmode`, the connection is not encrypted.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.server = Some(ServerSetting::Url(url.into()));
        self
    }

    /// Uses an existing configuration, in place of [`url`](Self::url).
    pub fn config(mut self, config: Config) -> Self {
        self.server = Some(ServerSetting::Config(Box::new(config)));
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
        self.connector = Arc::new(TlsConnector(tls));
        self.has_tls = true;
        self
    }

    /// Sets the certificates for TLS by rustls. Default: those of the platform.
    #[cfg(feature = "rustls")]
    pub fn certificates(mut self, certificates: TlsCertificates) -> Self {
        self.certificates = certificates;
        self
    }

    /// Sets another address for the connection that receives notifications. If [`url`](Self::url) is the address of a
    /// `PgBouncer` in transaction mode, give the address of the server itself.
    pub fn listen_url(mut self, url: impl Into<String>) -> Self {
        self.listen = ListenSetting::Address(ServerSetting::Url(url.into()));
        self
    }

    /// Opens no connection for notifications: waiting tasks poll.
    pub fn without_listening(mut self) -> Self {
        self.listen = ListenSetting::Never;
        self
    }

    /// Sets how records are encoded. There is no default, so that the store writes plaintext only if the program asks
    /// for it.
    pub fn codec(mut self, codec: RecordCodec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Sets the table, with or without a schema before a full stop. The channel has the same name. Default:
    /// `token_rotator_session`, in the first schema of the search path.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// Sets the maximum number of connections for calls, opened when needed. Default: 4. The connection for
    /// notifications is not counted.
    pub fn connections(mut self, maximum: usize) -> Self {
        self.connections = maximum;
        self
    }

    /// Sets the life of a lease that is not renewed. Default: 40 s.
    ///
    /// The life must be longer than the rotator's `source_timeout` (15 s by default) and this store's
    /// [`operation_timeout`](Self::operation_timeout).
    pub fn lease_life(mut self, life: Duration) -> Self {
        self.timing.lease_life = life;
        self
    }

    /// Sets the time limit of one call to the server, including the connection. Default: 5 s.
    pub fn operation_timeout(mut self, limit: Duration) -> Self {
        self.timing.operation_timeout = limit;
        self
    }

    /// Builds the store.
    ///
    /// # Errors
    ///
    /// Fails if a setting is missing or invalid. The error names the setting.
    pub fn build(self) -> Result<PostgresStore, BuildError> {
        let server = self.server.as_ref().ok_or(BuildError::NoServer)?;
        let config = self.parse_config(server, "url")?;
        let connector = self.connector(server)?;
        let listen = match &self.listen {
            ListenSetting::SameAddress => Some(config.clone()),
            ListenSetting::Address(server) => Some(self.parse_config(server, "listen_url")?),
            ListenSetting::Never => None,
        };
        let table = SessionTable::new(&self.table).ok_or(BuildError::Table(self.table))?;
        if self.connections == 0 {
            return Err(BuildError::NoConnections);
        }
        self.timing.check()?;
        let codec = self.codec.ok_or(BuildError::NoCodec)?;
        let server = Postgres::new(ConnectionSettings {
            config,
            listen,
            connector,
            table,
            connections: self.connections,
            limit: self.timing.operation_timeout,
            reads_over_listen_connection: matches!(self.listen, ListenSetting::SameAddress),
        });
        let store = ServerStore::new(server, codec, self.timing.lease_life);
        Ok(PostgresStore(store))
    }

    fn parse_config(
        &self,
        server: &ServerSetting,
        setting: &'static str,
    ) -> Result<Config, BuildError> {
        let mut config = match server {
            ServerSetting::Url(url) => parse(url).ok_or(BuildError::Url(setting))?,
            ServerSetting::Config(config) => (**config).clone(),
        };
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(BuildError::Url(setting));
        }
        let has_tls = self.has_tls || cfg!(feature = "rustls");
        if config.get_ssl_mode() == SslMode::Require && !has_tls {
            return Err(BuildError::NoTls);
        }
        if config.get_application_name().is_none() {
            config.application_name("token-rotator");
        }
        Ok(config)
    }

    /// Returns the connector of the program, or one by rustls if the address asks for TLS.
    #[cfg(feature = "rustls")]
    fn connector(&self, server: &ServerSetting) -> Result<Arc<dyn PostgresConnector>, BuildError> {
        let mode = match server {
            ServerSetting::Url(url) => ssl_mode(url),
            ServerSetting::Config(config) => {
                (config.get_ssl_mode() == SslMode::Require).then(|| "require".to_owned())
            }
        };
        let Some(mode) = mode.filter(|mode| !self.has_tls && is_encrypted(mode)) else {
            return Ok(Arc::clone(&self.connector));
        };
        let connector = self.certificates.connector(mode != "verify-ca");
        let connector = connector.map_err(BuildError::Certificates)?;
        Ok(Arc::new(TlsConnector(connector)))
    }

    #[cfg(not(feature = "rustls"))]
    #[expect(clippy::unnecessary_wraps, reason = "the version with rustls can fail")]
    fn connector(&self, _server: &ServerSetting) -> Result<Arc<dyn PostgresConnector>, BuildError> {
        Ok(Arc::clone(&self.connector))
    }
}

/// Parses an address. The errors of the parsers are dropped, because they may quote the address.
fn parse(text: &str) -> Option<Config> {
    let config: Config = if text.contains("://") {
        let address: ServerAddress = text.parse().ok()?;
        match address.parameter("sslmode") {
            // The client library knows no verification, so the connector verifies.
            Some("verify-ca" | "verify-full") => address.with_parameter("sslmode", "require"),
            _ => text.to_owned(),
        }
        .parse()
        .ok()?
    } else {
        text.parse().ok()?
    };
    // A part of a password that was not quoted may stand in place of a host.
    let is_known = |host: &Host| match host {
        Host::Tcp(host) => is_host(host),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(is_known).then_some(config)
}

/// Returns the `sslmode` of an address, or of settings in the form `key=value`.
#[cfg(feature = "rustls")]
fn ssl_mode(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<ServerAddress>() {
        return address.parameter("sslmode").map(str::to_owned);
    }
    let config: Config = text.parse().ok()?;
    (config.get_ssl_mode() == SslMode::Require).then(|| "require".to_owned())
}

/// Whether a connection with this `sslmode` is encrypted in any case.
#[cfg(feature = "rustls")]
fn is_encrypted(mode: &str) -> bool {
    matches!(mode, "require" | "verify-ca" | "verify-full")
}

impl std::fmt::Debug for PostgresStoreBuilder {
    /// Omits the address, which may contain a password.
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
