//! The keys that seal records, and the vaults that keep a key apart from the records.
//!
//! - `mod.rs`: the trait of vaults, the boxed vault, and the vault in an environment variable.
//! - `file.rs`: the vault in a key file.

#[cfg(feature = "file")]
mod file;

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

#[cfg(feature = "file")]
pub use self::file::KeyFile;
pub use crate::store::codec::{DataKey, KeyId, KeySource, KeyTextError};

use crate::error::{StoreError, StoreErrorKind};

/// Keeps the one key that seals the sessions of a [`FileStore`](crate::FileStore).
///
/// Each process loads the key once. The first sign-in keeps a new key, once for each store.
pub trait KeyVault: Send + Sync + 'static {
    /// The source of this vault's key. Each record that the key seals names it, so that the store
    /// loads the key from this vault.
    fn source(&self) -> KeySource;

    /// Loads the key. Returns `None` if the vault has none yet.
    ///
    /// *Errors*: the vault cannot be reached now. If records are sealed with its key, the store then
    /// generates no other key and uses no other vault.
    fn load(&self) -> impl Future<Output = Result<Option<DataKey>, StoreError>> + Send;

    /// Keeps this key. Fails if the vault has a key, because several stores may share a vault.
    ///
    /// A store calls it only after [`KeyVault::load`] returned `None`, and in one process at a time.
    fn keep(&self, key: &DataKey) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A [`KeyVault`] of any type, for programs that choose the vault at run time.
///
/// Cheap to clone. All clones are the same vault.
#[derive(Clone)]
pub struct BoxedVault(Arc<dyn DynVault>);

impl BoxedVault {
    /// Erases the type of this vault.
    pub fn new(vault: impl KeyVault) -> Self {
        Self(Arc::new(vault))
    }
}

impl KeyVault for BoxedVault {
    fn source(&self) -> KeySource {
        DynVault::source(&*self.0)
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        DynVault::load(&*self.0).await
    }

    async fn keep(&self, key: &DataKey) -> Result<(), StoreError> {
        DynVault::keep(&*self.0, key).await
    }
}

impl std::fmt::Debug for BoxedVault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = KeyVault::source(self);
        out.debug_tuple("BoxedVault").field(&source).finish()
    }
}

/// A vault whose type is erased.
pub(crate) trait DynVault: Send + Sync + 'static {
    fn source(&self) -> KeySource;
    fn load(&self) -> BoxFuture<'_, Result<Option<DataKey>, StoreError>>;
    fn keep<'a>(&'a self, key: &'a DataKey) -> BoxFuture<'a, Result<(), StoreError>>;
}

impl<V: KeyVault> DynVault for V {
    fn source(&self) -> KeySource {
        KeyVault::source(self)
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<DataKey>, StoreError>> {
        Box::pin(KeyVault::load(self))
    }

    fn keep<'a>(&'a self, key: &'a DataKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(KeyVault::keep(self, key))
    }
}

/// Reads the key from an environment variable: 64 hexadecimal digits, or 32 bytes in base64.
///
/// For containers whose platform passes secrets in environment variables. Other processes of the
/// same user can read the variable. This vault cannot keep a new key.
#[derive(Clone, Debug)]
pub struct KeyVariable {
    name: String,
}

impl KeyVariable {
    /// A vault that reads this variable.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl KeyVault for KeyVariable {
    fn source(&self) -> KeySource {
        KeySource::Environment
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        let name = &self.name;
        let text = std::env::var(name).map(zeroize::Zeroizing::new);
        let text = text.map_err(|_| {
            StoreError::new(
                StoreErrorKind::Refused,
                format!("the environment variable {name}, which is to hold the key, is not set"),
            )
            .with_hint("set it to 32 random bytes as 64 hexadecimal digits")
        })?;
        match DataKey::from_text(KeySource::Environment, &text) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(StoreError::new(
                StoreErrorKind::Refused,
                format!("the environment variable {name} holds no key: {error}"),
            )
            .with_hint(
                "generate a key with `openssl rand -hex 32`, unless the store has sessions that \
                 another key sealed",
            )),
        }
    }

    async fn keep(&self, _key: &DataKey) -> Result<(), StoreError> {
        Err(StoreError::new(
            StoreErrorKind::Refused,
            "the program cannot set the environment variable of a key",
        )
        .with_hint("set the variable, or choose another place for the key"))
    }
}
