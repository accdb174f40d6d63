//! Options of an issuer, and its start.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::gate::Gate;
use crate::issuer::client::Clients;
use crate::issuer::fault::Faults;
use crate::issuer::ledger::Ledger;
use crate::issuer::mint::Mint;
use crate::issuer::policy::RefreshPolicy;
use crate::issuer::{DeviceCodes, Issuer, IssuerShared};
use crate::server::tasks::Tasks;
use crate::server::{Listening, StartError};

/// What access tokens look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenFormat {
    /// HS256 with a random key per issuer; claims `iss sub aud exp iat jti client_id scope family gen`. `iat` and `exp`
    /// are whole seconds, rounded down; the upstream judges to the millisecond.
    #[default]
    Jwt,
    /// A random string.
    Opaque,
}

/// Options of an [`Issuer`]; made by [`Issuer::builder`].
#[derive(Clone, Debug)]
#[must_use = "an issuer runs after `start().await`"]
pub struct IssuerBuilder {
    refresh_policy: RefreshPolicy,
    access_lifetime: Duration,
    announce_lifetime: bool,
    token_format: TokenFormat,
    clock_skew: i64,
    clients: Clients,
    port: u16,
    answer_delay: Duration,
    device_codes: DeviceCodes,
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
            clients: Clients::default(),
            port: 0,
            answer_delay: Duration::ZERO,
            device_codes: DeviceCodes {
                lifetime: Duration::from_secs(600),
                interval: Duration::from_secs(5),
            },
            secret_prefix: crate::watch::begin().unwrap_or_default(),
        }
    }
}

impl IssuerBuilder {
    /// How refresh tokens rotate. Default: [`RefreshPolicy::SingleUse`].
    pub fn refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.refresh_policy = policy;
        self
    }

    /// How long access tokens live, to the millisecond; announced in whole seconds, rounded down. Default: one hour.
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = lifetime;
        self
    }

    /// Whether answers carry `expires_in` (`expiresIn` at the cookie endpoint). Default: yes.
    pub fn announce_lifetime(mut self, announce: bool) -> Self {
        self.announce_lifetime = announce;
        self
    }

    /// What access tokens look like. Default: [`TokenFormat::Jwt`].
    pub fn token_format(mut self, format: TokenFormat) -> Self {
        self.token_format = format;
        self
    }

    /// How many milliseconds the issuer's clock is ahead of ours, or behind if negative. Default: 0.
    ///
    /// Shows in `iat` and `exp` and in what the upstream accepts; a token still lives as long as its lifetime says.
    pub fn clock_skew(mut self, milliseconds: i64) -> Self {
        self.clock_skew = milliseconds;
        self
    }

    /// Registers a client, public without a secret; the first one owns what [`Issuer::sign_in`] and the login issue.
    ///
    /// Default, if this is never called: the public client `demo`.
    pub fn client(mut self, id: &str, secret: Option<&str>) -> Self {
        self.clients.register(id, secret);
        self
    }

    /// Registers a redirect URI for a client, which may then use no other. One with a loopback address matches with
    /// any port (RFC 8252 section 7.3).
    ///
    /// Default for a client without any: every `http` address on this machine.
    pub fn redirect_uri(mut self, client: &str, uri: &str) -> Self {
        self.clients.register_redirect_uri(client, uri);
        self
    }

    /// How long device codes live, and how long a client has to wait between its questions (RFC 8628 section 3.2), which
    /// is announced in whole seconds, rounded up. Whoever asks sooner is told to slow down, and waits five seconds more
    /// from then on. Default: 10 minutes and 5 seconds.
    pub fn device_codes(mut self, lifetime: Duration, interval: Duration) -> Self {
        self.device_codes = DeviceCodes { lifetime, interval };
        self
    }

    /// The port to listen on; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How long every answer to a refresh is held back after the token was consumed. Default: not at all.
    pub fn answer_delay(mut self, delay: Duration) -> Self {
        self.answer_delay = delay;
        self
    }

    /// Begins every secret with this canary: opaque access tokens, the `jti` of JWTs, refresh tokens, `wsToken`s, codes.
    /// Letters, digits, `-`, `_` and `.` only. Default: empty.
    pub fn secret_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.secret_prefix);
        self
    }

    /// Opens the port and serves it on the current tokio runtime.
    ///
    /// Fails if the port is taken or the secret prefix cannot be carried in a cookie.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO and time enabled.
    // Async although nothing waits today: opening the port needs the runtime it is served on.
    #[expect(
        clippy::unused_async,
        reason = "ties the call to the runtime that serves"
    )]
    pub async fn start(self) -> Result<Issuer, StartError> {
        let carried =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if !self.secret_prefix.chars().all(carried) {
            return Err(StartError::SecretPrefix);
        }
        let listening = Listening::on(self.port)?;
        let url = listening.url();
        let mint = Mint::new(self.token_format, url.clone(), self.secret_prefix);
        let ledger = Ledger::new(self.refresh_policy, self.access_lifetime, mint);
        let shared = Arc::new(IssuerShared {
            url,
            clock: Clock::skewed_by(self.clock_skew),
            clients: self.clients.or_demo(),
            ledger: Mutex::new(ledger),
            faults: Faults::default(),
            gate: Gate::new(),
            answer_gate: Gate::new(),
            answer_delay: self.answer_delay,
            announce_lifetime: self.announce_lifetime,
            denies: AtomicBool::new(false),
            device_codes: self.device_codes,
            tasks: Tasks::new(),
        });
        listening.serve(Arc::clone(&shared), &shared.tasks);
        Ok(Issuer::from_shared(shared))
    }
}
