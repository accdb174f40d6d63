//! The store of all sessions: a directory, Redis or `PostgreSQL`.

use std::path::Path;

use token_rotator::{
    DataKey, FileStore, KeyFile, KeyVariable, KeyVault, Record, RecordCodec, Saved, SessionKey,
    SessionStore, SharedCoordinator, StoreError, Version,
};
use token_rotator_keyring::Keyring;
use token_rotator_postgres::PostgresStore;
use token_rotator_redis::RedisStore;

use super::failure::store_failed;
use crate::command_error::CommandError;
use crate::config::{KeyChoice, StoreUrl, UserPaths};

/// An open store.
#[derive(Clone)]
pub(crate) enum OpenStore {
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
            None => file(&paths.state, key, paths),
            Some(StoreUrl::Directory(directory)) => file(directory, key, paths),
            Some(StoreUrl::Redis(url)) => {
                let codec = codec(key, paths).await?;
                let built = RedisStore::builder().url(url).codec(codec).build();
                built.map(Self::Redis).map_err(cannot_be_opened)
            }
            Some(StoreUrl::Postgres(url)) => {
                let codec = codec(key, paths).await?;
                let built = PostgresStore::builder().url(url).codec(codec).build();
                built.map(Self::Postgres).map_err(cannot_be_opened)
            }
        }
    }
}

impl OpenStore {
    /// Prepares the store for saving: creates the key of a directory, or the table in `PostgreSQL`.
    ///
    /// *Errors:* the directory cannot be written, or the server cannot be reached.
    pub(crate) async fn prepare(&self) -> Result<(), CommandError> {
        let made = match self {
            Self::File(store) => store.prepare().await,
            Self::Redis(_) => Ok(()),
            Self::Postgres(store) => store.migrate().await,
        };
        made.map_err(|error| store_failed("the store cannot keep a session", &error))
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
        KeyChoice::Keyring => builder.vault(Keyring::of_system()),
        KeyChoice::Keyutils => builder.vault(keyutils()?),
        KeyChoice::File(path) => {
            builder.vault(KeyFile::new(path.unwrap_or_else(|| paths.key_file())))
        }
        KeyChoice::Variable(name) => builder.vault(KeyVariable::new(name)),
        KeyChoice::Plaintext => builder.plaintext(),
    };
    builder
        .open()
        .map(OpenStore::File)
        .map_err(|error| cannot_be_opened(&error).hint_of(error.hint()))
}

/// Returns the codec for a store that several machines share.
///
/// The key must exist already: a generated key would differ on each machine.
async fn codec(key: Option<&KeyChoice>, paths: &UserPaths) -> Result<RecordCodec, CommandError> {
    let loaded = match key {
        None | Some(KeyChoice::Auto) => {
            return Err(CommandError::new("the store has no key")
                .why(
                    "every machine that uses a shared store needs the same key, so none is generated",
                )
                .hint(MAKE_A_KEY));
        }
        Some(KeyChoice::Keyring) => load(&Keyring::of_system()).await,
        Some(KeyChoice::Keyutils) => load(&keyutils()?).await,
        Some(KeyChoice::File(path)) => {
            let path = path.clone().unwrap_or_else(|| paths.key_file());
            load(&KeyFile::new(path)).await
        }
        Some(KeyChoice::Variable(name)) => load(&KeyVariable::new(name)).await,
        Some(KeyChoice::Plaintext) => return Ok(RecordCodec::plaintext()),
    };
    match loaded {
        Ok(Some(key)) => Ok(RecordCodec::sealed(key)),
        Ok(None) => Err(CommandError::new("the store has no key")
            .why("the location that was named has none")
            .hint(MAKE_A_KEY)),
        Err(error) => Err(cannot_be_opened(&error).hint_of(error.hint())),
    }
}

const MAKE_A_KEY: &str = "make one with `openssl rand -hex 32`, and name its location on every \
                          machine: `--key env:NAME` or `--key file:PATH` (mode 0600)";

async fn load(vault: &impl KeyVault) -> Result<Option<DataKey>, StoreError> {
    vault.load().await
}

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

fn cannot_be_opened(error: impl std::error::Error) -> CommandError {
    CommandError::new("the store cannot be opened")
        .because(error)
        .or_hint("correct it, or name another one: `--store` for sessions, `--key` for their key")
}

impl SessionStore for OpenStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        match self {
            Self::File(store) => store.load(key).await,
            Self::Redis(store) => store.load(key).await,
            Self::Postgres(store) => store.load(key).await,
        }
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        match self {
            Self::File(store) => store.save(key, expected, record).await,
            Self::Redis(store) => store.save(key, expected, record).await,
            Self::Postgres(store) => store.save(key, expected, record).await,
        }
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        match self {
            Self::File(store) => store.changed(key, seen).await,
            Self::Redis(store) => store.changed(key, seen).await,
            Self::Postgres(store) => store.changed(key, seen).await,
        }
    }

    fn is_durable(&self) -> bool {
        match self {
            Self::File(store) => store.is_durable(),
            Self::Redis(store) => store.is_durable(),
            Self::Postgres(store) => store.is_durable(),
        }
    }

    fn coordinator(&self) -> Option<SharedCoordinator> {
        match self {
            Self::File(store) => SessionStore::coordinator(store),
            Self::Redis(store) => SessionStore::coordinator(store),
            Self::Postgres(store) => SessionStore::coordinator(store),
        }
    }
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
