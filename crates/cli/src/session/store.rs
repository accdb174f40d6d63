//! The store of all sessions, of whichever kind.

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
use crate::config::{KeyChoice, Places, StoreUrl};

/// A store that is open.
#[derive(Clone)]
pub(crate) enum OpenStore {
    File(FileStore),
    Redis(RedisStore),
    Postgres(PostgresStore),
}

impl OpenStore {
    /// Opens it. A server is not asked anything yet.
    pub(crate) async fn open(
        url: Option<&StoreUrl>,
        key: Option<&KeyChoice>,
        places: &Places,
    ) -> Result<Self, CommandError> {
        match url {
            None => file(&places.state, key, places),
            Some(StoreUrl::Directory(directory)) => file(directory, key, places),
            Some(StoreUrl::Redis(url)) => {
                let codec = codec(key, places).await?;
                let built = RedisStore::builder().url(url).codec(codec).build();
                built
                    .map(Self::Redis)
                    .map_err(|error| cannot_be_opened(&error, error.hint()))
            }
            Some(StoreUrl::Postgres(url)) => {
                let codec = codec(key, places).await?;
                let built = PostgresStore::builder().url(url).codec(codec).build();
                built
                    .map(Self::Postgres)
                    .map_err(|error| cannot_be_opened(&error, error.hint()))
            }
        }
    }
}

impl OpenStore {
    /// Sees to it that sessions can be kept: makes the table of `PostgreSQL`, and the key of a directory
    /// that can be written to.
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
    places: &Places,
) -> Result<OpenStore, CommandError> {
    let builder = FileStore::builder(directory);
    let builder = match key.cloned().unwrap_or_default() {
        KeyChoice::Auto => builder
            .vault(Keyring::of_system())
            .vault(KeyFile::new(places.key_file())),
        KeyChoice::Keyring => builder.vault(Keyring::of_system()),
        KeyChoice::Keyutils => builder.vault(keyutils()?),
        KeyChoice::File(path) => {
            builder.vault(KeyFile::new(path.unwrap_or_else(|| places.key_file())))
        }
        KeyChoice::Variable(name) => builder.vault(KeyVariable::new(name)),
        KeyChoice::Plaintext => builder.plaintext(),
    };
    builder
        .open()
        .map(OpenStore::File)
        .map_err(|error| cannot_be_opened(&error, error.hint()))
}

/// How records are sealed in a store that several machines share: with a key that was made
/// beforehand, for each of them would make another.
async fn codec(key: Option<&KeyChoice>, places: &Places) -> Result<RecordCodec, CommandError> {
    let loaded = match key {
        None | Some(KeyChoice::Auto) => {
            return Err(CommandError::new("the store has no key")
                .why(
                    "every machine that uses a shared store needs the same key, so none is made up",
                )
                .hint(MAKE_A_KEY));
        }
        Some(KeyChoice::Keyring) => load(&Keyring::of_system()).await,
        Some(KeyChoice::Keyutils) => load(&keyutils()?).await,
        Some(KeyChoice::File(path)) => {
            let path = path.clone().unwrap_or_else(|| places.key_file());
            load(&KeyFile::new(path)).await
        }
        Some(KeyChoice::Variable(name)) => load(&KeyVariable::new(name)).await,
        Some(KeyChoice::Plaintext) => return Ok(RecordCodec::plaintext()),
    };
    match loaded {
        Ok(Some(key)) => Ok(RecordCodec::sealed(key)),
        Ok(None) => Err(CommandError::new("the store has no key")
            .why("there is none at the place that was named")
            .hint(MAKE_A_KEY)),
        Err(error) => Err(cannot_be_opened(&error, error.hint())),
    }
}

const MAKE_A_KEY: &str = "make one with `openssl rand -hex 32`, and name its place on every \
                          machine: `--key env:NAME` or `--key file:PATH` (mode 0600)";

async fn load(vault: &impl KeyVault) -> Result<Option<DataKey>, StoreError> {
    vault.load().await
}

#[cfg(target_os = "linux")]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
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
        .hint("choose another place for the key: keyring, file, env:NAME")
}

fn cannot_be_opened(error: impl std::error::Error, hint: Option<&str>) -> CommandError {
    CommandError::new("the store cannot be opened")
        .because(error)
        .hint_of(hint)
        .or_hint("correct it, or name another place: `--store` for sessions, `--key` for their key")
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
        hint: choose another place for the key: keyring, file, env:NAME
        ");
    }
}
