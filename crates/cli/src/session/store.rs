//! The store of all sessions: a directory, Redis or `PostgreSQL`.

use std::path::{Path, PathBuf};

use token_rotator::FileStore;
use token_rotator::files::TrustedFile;
use token_rotator::keys::{BoxedVault, KeyFile, KeyVariable, KeyVault as _};
use token_rotator::store::{BoxedStore, RecordCodec};
use token_rotator_keyring::Keyring;
use token_rotator_postgres::PostgresStore;
use token_rotator_redis::{RedisStore, redis};

use super::failure::store_failed;
use crate::arguments::GlobalOptions;
use crate::command_error::CommandError;
use crate::config::{KeyChoice, StoreSettings, StoreUrl, UserPaths, no_home};
use crate::secret_file::secret_file_hint;

/// An open store.
#[derive(Clone)]
pub(crate) struct OpenStore {
    pub(crate) kind: StoreKind,
    /// The same store, for calls that all kinds have.
    pub(crate) sessions: BoxedStore,
}

/// The kinds of stores, for calls that only one kind has.
#[derive(Clone)]
pub(crate) enum StoreKind {
    File(FileStore),
    Redis(RedisStore),
    Postgres(PostgresStore),
}

/// How connections to a server are secured.
pub(super) struct StoreSecurity {
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    clear_text_hosts: Vec<String>,
}

/// Certificates for TLS, as PEM.
#[derive(Default)]
struct Certificates {
    roots: Option<Vec<u8>>,
    /// The certificate of this client, and its key.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl StoreSecurity {
    pub(super) fn of(global: &GlobalOptions, settings: &StoreSettings) -> Self {
        let settings = settings.clone();
        let mut clear_text_hosts = settings.clear_text_hosts;
        clear_text_hosts.extend(global.store_clear_text_host.iter().cloned());
        Self {
            ca_file: global.store_ca_file.clone().or(settings.ca_file),
            client_cert_file: settings.client_cert_file,
            client_key_file: settings.client_key_file,
            clear_text_hosts,
        }
    }

    /// Refuses a server on another machine without TLS, unless the user names its host.
    fn check(&self, url: &StoreUrl) -> Result<(), CommandError> {
        let Some(host) = url.clear_text_host(&self.clear_text_hosts) else {
            return Ok(());
        };
        let with_tls = match url {
            StoreUrl::Redis(_) => "write the address with rediss://",
            _ => "add `?sslmode=verify-full` to the address",
        };
        Err(CommandError::new("the store cannot be opened")
            .why(format!(
                "the connection to {host} would not be encrypted, and it is another machine"
            ))
            .hint(format!(
                "{with_tls}; or, in a network that you trust, name the host: `clear_text_hosts = \
                 [\"{host}\"]` in [store], or `--store-clear-text-host {host}`"
            )))
    }

    fn certificates(&self) -> Result<Certificates, CommandError> {
        let read = |file: &Path| {
            let failed = |why: String| {
                CommandError::new("the store cannot be opened")
                    .why(format!("{}: {why}", file.display()))
            };
            let read = TrustedFile::read_existing(file, PEM_BYTES_MAX);
            read.map(|file| file.bytes().to_vec()).map_err(|error| {
                failed(error.to_string())
                    .hint_of(secret_file_hint(&error))
                    .or_hint("name a PEM file that you may read")
            })
        };
        let client = match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            (None, None) => None,
            _ => {
                return Err(CommandError::new("the store cannot be opened")
                    .why("a client certificate needs its key, and a key its certificate")
                    .hint("set both `client_cert_file` and `client_key_file` in [store]"));
            }
        };
        Ok(Certificates {
            roots: self.ca_file.as_deref().map(read).transpose()?,
            client,
        })
    }
}

/// The longest PEM file that is read, in bytes.
const PEM_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl OpenStore {
    /// Opens the store. Sends no request to a server yet.
    pub(super) async fn open(
        url: Option<&StoreUrl>,
        key: Option<&KeyChoice>,
        security: &StoreSecurity,
        paths: &UserPaths,
    ) -> Result<Self, CommandError> {
        if let Some(url) = url {
            security.check(url)?;
        }
        match url {
            None if paths.is_homeless => Err(no_home("XDG_STATE_HOME", "LOCALAPPDATA")),
            None => file(&paths.state, key, paths),
            Some(StoreUrl::Directory(directory)) => file(directory, key, paths),
            Some(StoreUrl::Redis(url)) => {
                let mut builder = RedisStore::builder()
                    .url(url)
                    .codec(codec(key, paths).await?);
                if url.starts_with("rediss:") {
                    // The Redis client takes the provider of the process.
                    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
                    builder = builder.certificates(security.certificates()?.into());
                }
                let built = builder.build();
                built
                    .map(Self::from)
                    .map_err(|error| cannot_be_opened(&error, error.hint()))
            }
            Some(StoreUrl::Postgres(url)) => {
                let certificates = security.certificates()?;
                let builder = PostgresStore::builder()
                    .url(url)
                    .codec(codec(key, paths).await?);
                let built = builder.certificates(certificates.into()).build();
                built
                    .map(Self::from)
                    .map_err(|error| cannot_be_opened(&error, error.hint()))
            }
        }
    }

    /// Prepares the store for saving: creates the key of a directory, or the table in `PostgreSQL`.
    ///
    /// *Errors:* the directory cannot be written, or the server cannot be reached.
    pub(crate) async fn prepare(&self) -> Result<(), CommandError> {
        let made = match &self.kind {
            StoreKind::File(store) => store.prepare().await,
            StoreKind::Redis(_) => Ok(()),
            StoreKind::Postgres(store) => store.migrate().await,
        };
        made.map_err(|error| store_failed("the store cannot keep a session", &error))
    }
}

impl From<Certificates> for redis::TlsCertificates {
    fn from(certificates: Certificates) -> Self {
        let client_tls = certificates
            .client
            .map(|(certificate, key)| redis::ClientTlsConfig {
                client_cert: certificate,
                client_key: key,
            });
        Self {
            client_tls,
            root_cert: certificates.roots,
        }
    }
}

impl From<Certificates> for token_rotator_postgres::TlsCertificates {
    fn from(certificates: Certificates) -> Self {
        let mut built = Self::default();
        if let Some(roots) = certificates.roots {
            built = built.roots(roots);
        }
        if let Some((certificate, key)) = certificates.client {
            built = built.client(certificate, key);
        }
        built
    }
}

impl From<FileStore> for OpenStore {
    fn from(store: FileStore) -> Self {
        Self {
            sessions: BoxedStore::new(store.clone()),
            kind: StoreKind::File(store),
        }
    }
}

impl From<RedisStore> for OpenStore {
    fn from(store: RedisStore) -> Self {
        Self {
            sessions: BoxedStore::new(store.clone()),
            kind: StoreKind::Redis(store),
        }
    }
}

impl From<PostgresStore> for OpenStore {
    fn from(store: PostgresStore) -> Self {
        Self {
            sessions: BoxedStore::new(store.clone()),
            kind: StoreKind::Postgres(store),
        }
    }
}

fn file(
    directory: &Path,
    key: Option<&KeyChoice>,
    paths: &UserPaths,
) -> Result<OpenStore, CommandError> {
    let builder = FileStore::builder(directory);
    let builder = match key.cloned().unwrap_or_default() {
        KeyChoice::Auto => builder
            .vault(Keyring::of_system())
            .vault(KeyFile::new(paths.key_file())),
        choice => match vault(&choice, paths)? {
            Some(vault) => builder.vault(vault),
            None => builder.plaintext(),
        },
    };
    builder
        .open()
        .map(OpenStore::from)
        .map_err(|error| cannot_be_opened(&error, error.hint()))
}

/// Returns the vault that this choice names, or `None` if the choice names no single vault.
fn vault(choice: &KeyChoice, paths: &UserPaths) -> Result<Option<BoxedVault>, CommandError> {
    Ok(Some(match choice {
        KeyChoice::Auto | KeyChoice::Plaintext => return Ok(None),
        KeyChoice::Keyring => BoxedVault::new(Keyring::of_system()),
        KeyChoice::Keyutils => BoxedVault::new(keyutils()?),
        KeyChoice::File(None) => BoxedVault::new(KeyFile::new(paths.key_file())),
        KeyChoice::File(Some(path)) => BoxedVault::new(KeyFile::mounted(path)),
        KeyChoice::Variable(name) => BoxedVault::new(KeyVariable::new(name)),
    }))
}

/// Returns the codec for a store that several machines share.
///
/// The key must exist already: a generated key would differ on each machine.
async fn codec(key: Option<&KeyChoice>, paths: &UserPaths) -> Result<RecordCodec, CommandError> {
    let choice = match key {
        None | Some(KeyChoice::Auto) => {
            return Err(CommandError::new("the store has no key")
                .why(
                    "every machine that uses a shared store needs the same key, so none is generated",
                )
                .hint(MAKE_A_KEY));
        }
        Some(choice) => choice,
    };
    let Some(vault) = vault(choice, paths)? else {
        return Ok(RecordCodec::plaintext());
    };
    match vault.load().await {
        Ok(Some(key)) => Ok(RecordCodec::sealed(key)),
        Ok(None) => Err(CommandError::new("the store has no key")
            .why("the location that was named has none")
            .hint(MAKE_A_KEY)),
        Err(error) => Err(cannot_be_opened(&error, error.hint())),
    }
}

const MAKE_A_KEY: &str = "make one with `openssl rand -hex 32`, and name its location on every \
                          machine: `--key env:NAME` or `--key file:PATH` (mode 0600)";

#[cfg(target_os = "linux")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the version for other systems fails"
)]
fn keyutils() -> Result<Keyring, CommandError> {
    Ok(Keyring::kernel_keyutils())
}

#[cfg(not(target_os = "linux"))]
fn keyutils() -> Result<Keyring, CommandError> {
    Err(no_keyutils())
}

#[cfg(any(test, not(target_os = "linux")))]
fn no_keyutils() -> CommandError {
    CommandError::new("the store cannot be opened")
        .why("this system has no kernel keyring")
        .hint("choose another location for the key: keyring, file, env:NAME")
}

fn cannot_be_opened(error: impl std::error::Error, hint: Option<&str>) -> CommandError {
    CommandError::new("the store cannot be opened")
        .because(error)
        .hint_of(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_a_kernel_keyring() {
        insta::assert_snapshot!(no_keyutils().text(), @"
        exit code 1
        error: the store cannot be opened
          because this system has no kernel keyring
        hint: choose another location for the key: keyring, file, env:NAME
        ");
    }
}
