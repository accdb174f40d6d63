//! Which key opens a record, and which one seals the next.

use std::sync::Mutex;

use crate::error::{StoreError, StoreErrorKind};
use crate::keys::DynVault;
use crate::runtime::sync::lock_std;
use crate::store::codec::{DataKey, KeySource, RecordCodec, RecordHeader};

/// The vaults of a store, and its key once it is known. No vault: plaintext.
pub(super) struct Sealing {
    vaults: Vec<Box<dyn DynVault>>,
    key: Mutex<Option<DataKey>>,
}

impl Sealing {
    pub(super) fn new(vaults: Vec<Box<dyn DynVault>>) -> Self {
        Self {
            vaults,
            key: Mutex::new(None),
        }
    }

    /// The codec, if no vault need be asked for it.
    pub(super) fn known(&self) -> Option<RecordCodec> {
        if self.vaults.is_empty() {
            return Some(RecordCodec::plaintext());
        }
        let key = lock_std(&self.key).clone();
        key.map(RecordCodec::sealed)
    }

    /// What opens the record with this header: the key that it names, from where it says.
    pub(super) async fn to_read(&self, header: &RecordHeader) -> Result<RecordCodec, StoreError> {
        let Some((source, id)) = header.sealed_with() else {
            // Tokens in it are refused by a codec with a key, a tombstone is not.
            return Ok(match self.vaults.first() {
                Some(_) => self.known().unwrap_or_else(RecordCodec::tombstones_only),
                None => RecordCodec::plaintext(),
            });
        };
        if let Some(key) = lock_std(&self.key).clone().filter(|key| key.id() == id) {
            return Ok(RecordCodec::sealed(key));
        }
        let key = self.ask(source).await?;
        let key = key.ok_or_else(|| {
            let what = format!("it was sealed with key {id} from {source}, where no key is now");
            StoreError::new(StoreErrorKind::Refused, what).with_hint(
                "bring the key back, or sign in again once what it sealed was removed from the \
                 store",
            )
        })?;
        if key.id() != id {
            return Err(StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "it was sealed with key {id} from {source}, where another key ({}) is now",
                    key.id()
                ),
            )
            .with_hint("bring the old key back, or sign in again under another session name"));
        }
        Ok(self.remember(key))
    }

    /// What seals the first record of this process, where nothing says which key: that of the
    /// other sessions here, or the one that a vault has, or a new one. Under the store-wide lock.
    pub(super) async fn to_write(
        &self,
        others: &[RecordHeader],
    ) -> Result<RecordCodec, StoreError> {
        if let Some(codec) = self.known() {
            return Ok(codec);
        }
        let sealed = others.iter().find(|other| other.sealed_with().is_some());
        if let Some(other) = sealed {
            let opened = self.to_read(other).await;
            return opened.map_err(|error| {
                error.within(format_args!("session {} is here already", other.session))
            });
        }
        let mut failures = Vec::new();
        for vault in &self.vaults {
            match vault.load().await {
                Ok(Some(key)) => return Ok(self.remember(key)),
                Ok(None) => match self.make(&**vault).await {
                    Ok(key) => return Ok(self.remember(key)),
                    Err(error) => failures.push(error),
                },
                // Nothing was ever sealed with it here, so the next best may be.
                Err(error) => failures.push(error),
            }
        }
        Err(no_key(&failures))
    }

    /// A new key, written and read back before anything is sealed with it.
    async fn make(&self, vault: &dyn DynVault) -> Result<DataKey, StoreError> {
        let key = DataKey::generate(vault.source())?;
        vault.keep(&key).await?;
        match vault.load().await? {
            Some(kept) if kept.id() == key.id() => Ok(kept),
            _ => Err(StoreError::new(
                StoreErrorKind::Refused,
                format!("{} does not give back the key it was given", vault.source()),
            )
            .with_hint("choose another place for the key")),
        }
    }

    async fn ask(&self, source: KeySource) -> Result<Option<DataKey>, StoreError> {
        let vault = self.vaults.iter().find(|vault| vault.source() == source);
        let vault = vault.ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "it was sealed with a key from {source}, and this store was opened without that"
                ),
            )
            .with_hint("open it with the key that it was written with")
        })?;
        vault.load().await
    }

    fn remember(&self, key: DataKey) -> RecordCodec {
        *lock_std(&self.key) = Some(key.clone());
        RecordCodec::sealed(key)
    }
}

/// No vault gave a key: what each of them said.
fn no_key(failures: &[StoreError]) -> StoreError {
    let Some(last) = failures.last() else {
        return StoreError::new(StoreErrorKind::Refused, "there is no vault for a key");
    };
    let what: Vec<_> = failures.iter().map(StoreError::what).collect();
    let error = StoreError::new(last.kind(), what.join("; and "));
    let hints: Vec<_> = failures.iter().filter_map(StoreError::hint).collect();
    if hints.is_empty() {
        return error;
    }
    error.with_hint(hints.join("; or "))
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sealing")
            .field("key", &*lock_std(&self.key))
            .finish_non_exhaustive()
    }
}
