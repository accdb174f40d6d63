//! The store of all sessions: a directory, Redis or `PostgreSQL`.

use std::path::Path;

use token_rotator::FileStore;
use token_rotator::keys::{BoxedVault, KeyFile, KeyVariable, KeyVault as _};
use token_rotator::store::{BoxedStore, RecordCodec};
use token_rotator_keyring::Keyring;
use token_rotator_postgres::PostgresStore;
use token_rotator_redis::RedisStore;

use super::failure::store_failed;
use crate::command_error::CommandError;
use crate::config::{KeyChoice, StoreUrl, UserPaths, no_home};

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

impl OpenStore {
    /// Opens the store. Sends no request to a server yet.
    pub(crate) async fn open(
        url: Option<&StoreUrl>,
        key: Option<&KeyChoice>,
        paths: &UserPaths,
    ) -> Result<Self, CommandError> {
        match url {
            None if paths.is_homeless => Err(no_home("XDG_STATE_HOME", "LOCALAPPDATA")),
            None => file(&paths.state, key, paths),
            Some(StoreUrl::Directory(directory)) => file(directory, key, paths),
            Some(StoreUrl::Redis(url)) => {
                let codec = codec(key, paths).await?;
                let built = RedisStore::builder().url(url).codec(codec).build();
                built
                    .map(Self::from)
                    .map_err(|error| cannot_be_opened(&error, error.hint()))
            }
            Some(StoreUrl::Postgres(url)) => {
                let codec = codec(key, paths).await?;
                let built = PostgresStore::builder().url(url).codec(codec).build();
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
        KeyChoice::File(path) => {
            let path = path.clone().unwrap_or_else(|| paths.key_file());
            BoxedVault::new(KeyFile::new(path))
        }
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
