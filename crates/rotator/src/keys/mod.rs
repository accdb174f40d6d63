//! Keys that seal records, and where a key is kept: apart from what it seals.

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
/// Asked for the key once by each process, and to keep a new one once, at the first sign-in.
pub trait KeyVault: Send + Sync + 'static {
    /// What is written beside what the key seals, so that it is looked for here.
    fn source(&self) -> KeySource;

    /// The key; `None`: there is none yet. An error means that it cannot be reached now: no other
    /// key is made then, and no other place is asked.
    fn load(&self) -> impl Future<Output = Result<Option<DataKey>, StoreError>> + Send;

    /// Keeps this key. Only called after [`KeyVault::load`] has found none, by one process at a
    /// time for each store; a vault that is shared by several stores fails if it has one by now.
    fn keep(&self, key: &DataKey) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A [`KeyVault`] of any type, for programs that choose the vault at run time. Cheap to clone; all
/// clones are the same vault.
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

/// The key in an environment variable: 64 hexadecimal digits, or 32 bytes in base64. For containers
/// whose platform brings secrets this way.
///
/// Other processes of the same user can read it. It is never made, only read.
#[derive(Clone, Debug)]
pub struct KeyVariable {
    name: String,
}

impl KeyVariable {
    /// In this variable.
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
                "`openssl rand -hex 32` makes one, unless there are sessions that another has \
                 sealed",
            )),
        }
    }

    async fn keep(&self, _key: &DataKey) -> Result<(), StoreError> {
        Err(StoreError::new(
            StoreErrorKind::Refused,
            "a key in an environment variable is set from outside, not made",
        )
        .with_hint("set the variable, or choose another place for the key"))
    }
}
