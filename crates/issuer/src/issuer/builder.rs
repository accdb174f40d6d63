//! Options of an issuer, and its start.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::IssuerClock;
use crate::gate::Gate;
use crate::issuer::client::RegisteredClients;
use crate::issuer::database::TokenDatabase;
use crate::issuer::fault::Faults;
use crate::issuer::mint::Mint;
use crate::issuer::policy::RefreshPolicy;
use crate::issuer::{DeviceCodeOptions, Issuer, IssuerShared};
use crate::server::tasks::Tasks;
use crate::server::{BoundListener, StartError};

/// The format of access tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenFormat {
    /// HS256 with a random key per issuer; claims `iss sub aud exp iat jti client_id scope family gen`.
    ///
    /// `iat` and `exp` are whole seconds, rounded down. The upstream checks the expiry to the millisecond.
    #[default]
    Jwt,
    /// A random string.
    Opaque,
}

/// Options of an [`Issuer`]. [`Issuer::builder`] creates the builder.
#[derive(Clone, Debug)]
#[must_use = "an issuer runs after `start().await`"]
pub struct IssuerBuilder {
    refresh_policy: RefreshPolicy,
    access_lifetime: Duration,
    announce_lifetime: bool,
    token_format: TokenFormat,
    clock_skew: i64,
    clients: RegisteredClients,
    port: u16,
    answer_delay: Duration,
    device_codes: DeviceCodeOptions,
    secret_prefix: String,
}

impl Default for IssuerBuilder {
    fn default() -> Self {
        Self {
            refresh_policy: RefreshPolicy::default(),
            access_lifetime: Duration::from_secs(3600),
            announce_lifetime: true,
            token_format: TokenFormat::default(),
            clock_skew: 0,
            clients: RegisteredClients::default(),
            port: 0,
            answer_delay: Duration::ZERO,
            device_codes: DeviceCodeOptions {
                lifetime: Duration::from_secs(600),
                interval: Duration::from_secs(5),
            },
            secret_prefix: crate::leak_search::begin().unwrap_or_default(),
        }
    }
}

impl IssuerBuilder {
    /// Sets how refresh tokens rotate. Default: [`RefreshPolicy::SingleUse`].
    pub fn refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.refresh_policy = policy;
        self
    }

    /// Sets the lifetime of access tokens, to the millisecond. Responses announce it in whole seconds, rounded down.
    /// Default: one hour.
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = lifetime;
        self
    }

    /// Sets whether responses carry `expires_in` (`expiresIn` at the cookie endpoint). Default: yes.
    pub fn announce_lifetime(mut self, announce: bool) -> Self {
        self.announce_lifetime = announce;
        self
    }

    /// Sets the format of access tokens. Default: [`TokenFormat::Jwt`].
    pub fn token_format(mut self, format: TokenFormat) -> Self {
        self.token_format = format;
        self
    }

    /// Sets how many milliseconds the issuer's clock is ahead of the system clock; a negative number sets it behind.
    /// Default: 0.
    ///
    /// The skew shows in `iat` and `exp` and in the tokens that the upstream accepts. It does not change the lifetime
    /// of a token.
    pub fn clock_skew(mut self, milliseconds: i64) -> Self {
        self.clock_skew = milliseconds;
        self
    }

    /// Registers a client, which is public if `secret` is `None`. The first client owns the sessions of
    /// [`Issuer::sign_in`] and of the login.
    ///
    /// Default if this is never called: the public client `demo`.
    pub fn client(mut self, id: &str, secret: Option<&str>) -> Self {
        self.clients.register(id, secret);
        self
    }

    /// Registers a redirect URI for a client, which may then use no other. A URI with a loopback address matches with
    /// any port (RFC 8252 section 7.3).
    ///
    /// Default for a client without a redirect URI: every `http` URI on this machine.
    pub fn redirect_uri(mut self, client: &str, uri: &str) -> Self {
        self.clients.register_redirect_uri(client, uri);
        self
    }

    /// Sets the lifetime of device codes and the polling interval (RFC 8628 section 3.2). Default: 10 minutes and 5
    /// seconds.
    ///
    /// Responses announce the interval in whole seconds, rounded up. A client that polls sooner receives `slow_down`,
    /// and its interval grows by five seconds.
    pub fn device_codes(mut self, lifetime: Duration, interval: Duration) -> Self {
        self.device_codes = DeviceCodeOptions { lifetime, interval };
        self
    }

    /// Sets the port to listen on. 0, the default, selects a free port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets how long the issuer delays every response to a refresh after it has redeemed the token. Default: no delay.
    pub fn answer_delay(mut self, delay: Duration) -> Self {
        self.answer_delay = delay;
        self
    }

    /// Sets a prefix for every secret: opaque access tokens, the `jti` of JWTs, refresh tokens, `wsToken`s and codes.
    /// The prefix may contain letters, digits, `-`, `_` and `.`. Default: empty.
    pub fn secret_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.secret_prefix);
        self
    }

    /// Opens the port and serves it on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the port is taken, or if the secret prefix is not allowed in a cookie.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime with IO and time enabled.
    #[expect(
        clippy::unused_async,
        reason = "ties the call to the runtime that serves"
    )]
    pub async fn start(self) -> Result<Issuer, StartError> {
        let is_allowed =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if !self.secret_prefix.chars().all(is_allowed) {
            return Err(StartError::SecretPrefix);
        }
        let listener = BoundListener::on(self.port)?;
        let url = listener.url();
        let mint = Mint::new(self.token_format, url.clone(), self.secret_prefix);
        let database = TokenDatabase::new(self.refresh_policy, self.access_lifetime, mint);
        let shared = Arc::new(IssuerShared {
            url,
            clock: IssuerClock::skewed_by(self.clock_skew),
            clients: self.clients.or_default_client(),
            database: Mutex::new(database),
            faults: Faults::default(),
            gate: Gate::new(),
            answer_gate: Gate::new(),
            answer_delay: self.answer_delay,
            announce_lifetime: self.announce_lifetime,
            deny_sign_ins: AtomicBool::new(false),
            device_codes: self.device_codes,
            tasks: Tasks::new(),
        });
        listener.serve(Arc::clone(&shared), &shared.tasks);
        Ok(Issuer::from_shared(shared))
    }
}
