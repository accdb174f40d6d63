//! The settings of a store: server, key prefix, codec, timing.

use std::time::Duration;

#[cfg(feature = "rustls")]
use redis::TlsCertificates;
use redis::{Client, ConnectionAddr, IntoConnectionInfo as _};
use token_rotator::store::RecordCodec;
use token_rotator::store::server::{ServerAddress, ServerStore, SettingError, Timing};

use crate::server::Redis;
use crate::store::RedisStore;

/// Builds a [`RedisStore`]. The store connects with its first call.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisStoreBuilder {
    server: Option<ServerSetting>,
    #[cfg(feature = "rustls")]
    certificates: Option<TlsCertificates>,
    codec: Option<RecordCodec>,
    prefix: String,
    timing: Timing,
}

#[derive(Clone)]
enum ServerSetting {
    Url(String),
    Client(Box<Client>),
}

/// Why a store cannot be built. The message contains no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The builder has no server.
    #[error("no Redis server is configured")]
    NoServer,
    /// The address cannot be read.
    #[error("the address of the Redis server cannot be read")]
    Url,
    /// The address asks for TLS, and this build does not include TLS.
    #[error(
        "the address asks for TLS (rediss://), which this build of token-rotator-redis does not \
         include"
    )]
    NoTls,
    /// The certificates cannot be used.
    #[cfg(feature = "rustls")]
    #[error("the certificates for TLS cannot be used")]
    Certificates,
    /// The builder has no codec for records.
    #[error("no codec for records is configured")]
    NoCodec,
    /// The prefix contains a brace. A cluster chooses a key's slot by the text in braces.
    #[error("the key prefix {0:?} contains a brace, by which a cluster chooses the slot of a key")]
    Prefix(String),
    /// A setting contradicts another one.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl BuildError {
    /// Returns the action for this cause.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoServer => Some("call `url` or `client` on the builder"),
            Self::Url => Some(
                "write the address as redis://user:password@host:port/database, with special \
                 characters percent-encoded",
            ),
            #[cfg(feature = "rustls")]
            Self::Certificates => Some("name PEM files with the certificates and the key"),
            Self::NoTls => Some("enable the feature `rustls` of token-rotator-redis"),
            Self::NoCodec => Some(
                "call `codec` with `RecordCodec::sealed(key)`, or with `RecordCodec::plaintext()` \
                 if every user who can read the server may have the tokens",
            ),
            Self::Prefix(_) => Some("leave the braces out of `key_prefix`"),
            Self::Setting(error) => Some(error.hint),
        }
    }
}

impl RedisStoreBuilder {
    pub(crate) fn new() -> Self {
        Self {
            server: None,
            #[cfg(feature = "rustls")]
            certificates: None,
            codec: None,
            prefix: "token-rotator:".to_owned(),
            timing: Timing::new(Duration::from_secs(3)),
        }
    }

    /// Sets the server's address: `redis://user:password@host:port/database`, `rediss://` for TLS (feature `rustls`),
    /// `redis+unix:///path` for a socket.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.server = Some(ServerSetting::Url(url.into()));
        self
    }

    /// Sets the certificates for TLS (PEM): authorities in place of those of the platform, and a client certificate.
    #[cfg(feature = "rustls")]
    pub fn certificates(mut self, certificates: TlsCertificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Uses an existing client, in place of [`url`](Self::url).
    pub fn client(mut self, client: Client) -> Self {
        self.server = Some(ServerSetting::Client(Box::new(client)));
        self
    }

    /// Sets how records are encoded. There is no default, so that the store writes plaintext only if the program asks
    /// for it.
    pub fn codec(mut self, codec: RecordCodec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Sets the prefix of every key and of the channel, without braces. Default: `token-rotator:`.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
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

    /// Sets the time limit of one call to the server, including the connection. Default: 3 s.
    pub fn operation_timeout(mut self, limit: Duration) -> Self {
        self.timing.operation_timeout = limit;
        self
    }

    /// Builds the store.
    ///
    /// # Errors
    ///
    /// Fails if a setting is missing or invalid. The error names the setting.
    pub fn build(self) -> Result<RedisStore, BuildError> {
        let client = match self.server.as_ref().ok_or(BuildError::NoServer)? {
            ServerSetting::Url(url) => self.client_of(url)?,
            ServerSetting::Client(client) => (**client).clone(),
        };
        let address = client.get_connection_info().addr();
        if matches!(address, ConnectionAddr::TcpTls { .. }) && !address.is_supported() {
            return Err(BuildError::NoTls);
        }
        if self.prefix.contains(['{', '}']) {
            return Err(BuildError::Prefix(self.prefix));
        }
        self.timing.check()?;
        let codec = self.codec.ok_or(BuildError::NoCodec)?;
        let server = Redis::new(client, self.prefix, self.timing.operation_timeout);
        let store = ServerStore::new(server, codec, self.timing.lease_life);
        Ok(RedisStore(store))
    }
}

impl RedisStoreBuilder {
    /// Builds the client of an address. The errors of parsers are dropped, because they may quote the address.
    fn client_of(&self, url: &str) -> Result<Client, BuildError> {
        url.parse::<ServerAddress>().map_err(|_| BuildError::Url)?;
        let info = url.into_connection_info().map_err(|_| url_error(url))?;
        // Calls share a connection. With Nagle's algorithm a call would wait until the server has acknowledged the
        // previous call.
        let settings = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_tcp_settings(settings);
        #[cfg(feature = "rustls")]
        if let Some(certificates) = self.certificates.clone()
            && matches!(info.addr(), ConnectionAddr::TcpTls { .. })
        {
            // The error could quote a key.
            return Client::build_with_tls(info, certificates)
                .map_err(|_| BuildError::Certificates);
        }
        Client::open(info).map_err(|_| url_error(url))
    }
}

fn url_error(url: &str) -> BuildError {
    let tls = url.starts_with("rediss:") && !cfg!(feature = "rustls");
    if tls {
        BuildError::NoTls
    } else {
        BuildError::Url
    }
}

impl std::fmt::Debug for RedisStoreBuilder {
    /// Omits the address, which may contain a password.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RedisStoreBuilder")
            .field("codec", &self.codec)
            .field("key_prefix", &self.prefix)
            .field("lease_life", &self.timing.lease_life)
            .field("operation_timeout", &self.timing.operation_timeout)
            .finish_non_exhaustive()
    }
}
