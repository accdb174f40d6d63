//! The keys of a file store: chooses the key that opens a record and the key that seals the next.

use std::sync::Mutex;

use crate::error::{StoreError, StoreErrorKind};
use crate::keys::DynVault;
use crate::runtime::sync::lock_std;
use crate::store::codec::{DataKey, KeySource, RecordCodec, RecordHeader};

/// The vaults of a store, and its key after the first use. A store without a vault is plaintext.
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

    /// The codec that needs no call to a vault. Returns `None` if the key was not loaded yet.
    pub(super) fn cached_codec(&self) -> Option<RecordCodec> {
        if self.vaults.is_empty() {
            return Some(RecordCodec::plaintext());
        }
        let key = lock_std(&self.key).clone();
        key.map(RecordCodec::sealed)
    }

    /// The codec for the record with this header. Loads the key that the header names, from the
    /// source that the header names.
    pub(super) async fn codec_to_read(
        &self,
        header: &RecordHeader,
    ) -> Result<RecordCodec, StoreError> {
        let Some((source, id)) = header.sealed_with() else {
            // A codec with a key refuses unsealed tokens and accepts tombstones.
            return Ok(match self.vaults.first() {
                Some(_) => self
                    .cached_codec()
                    .unwrap_or_else(RecordCodec::tombstones_only),
                None => RecordCodec::plaintext(),
            });
        };
        if let Some(key) = lock_std(&self.key).clone().filter(|key| key.id() == id) {
            return Ok(RecordCodec::sealed(key));
        }
        let key = self.load_key(source).await?;
        let key = key.ok_or_else(|| {
            let message = format!("it was sealed with key {id} from {source}, where no key is now");
            StoreError::new(StoreErrorKind::Refused, message).with_hint(
                "bring the key back, or remove the sessions that it sealed from the store and sign \
                 in again",
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
        Ok(self.cache(key))
    }

    /// The codec for the first record that this process writes.
    ///
    /// Its key is the key of the other sessions in the store, or else the key in the first vault
    /// that can be reached. If that vault has no key, generates one. The caller must hold the
    /// store-wide lock.
    pub(super) async fn codec_to_write(
        &self,
        headers: &[RecordHeader],
    ) -> Result<RecordCodec, StoreError> {
        if let Some(codec) = self.cached_codec() {
            return Ok(codec);
        }
        // A tombstone needs no key to be replaced, so its key may be lost.
        let sealed = headers
            .iter()
            .find(|header| header.sealed_with().is_some() && !header.signed_out);
        if let Some(header) = sealed {
            let codec = self.codec_to_read(header).await;
            return codec.map_err(|error| {
                error.within(format_args!("session {} is here already", header.session))
            });
        }
        let mut failures = Vec::new();
        for vault in &self.vaults {
            match vault.load().await {
                Ok(Some(key)) => return Ok(self.cache(key)),
                Ok(None) => match self.generate_key(&**vault).await {
                    Ok(key) => return Ok(self.cache(key)),
                    Err(error) => failures.push(error),
                },
                // No record is sealed with a key of this vault, so the next vault may be used.
                Err(error) => failures.push(error),
            }
        }
        Err(no_key(&failures))
    }

    /// Generates a key and keeps it in the vault. Reads it back before any record is sealed with it.
    async fn generate_key(&self, vault: &dyn DynVault) -> Result<DataKey, StoreError> {
        let key = DataKey::generate(vault.source())?;
        vault.keep(&key).await?;
        match vault.load().await? {
            Some(kept) if kept.id() == key.id() => Ok(kept),
            _ => Err(StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "{} does not return the key that was kept in it",
                    vault.source()
                ),
            )
            .with_hint("choose another place for the key")),
        }
    }

    async fn load_key(&self, source: KeySource) -> Result<Option<DataKey>, StoreError> {
        let vault = self.vaults.iter().find(|vault| vault.source() == source);
        let vault = vault.ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "it was sealed with a key from {source}, and this store was opened without that \
                     source"
                ),
            )
            .with_hint("open the store with the key source with which the session was saved")
        })?;
        vault.load().await
    }

    fn cache(&self, key: DataKey) -> RecordCodec {
        *lock_std(&self.key) = Some(key.clone());
        RecordCodec::sealed(key)
    }
}

/// The error if no vault gave a key. It joins the messages and hints of all vaults.
fn no_key(failures: &[StoreError]) -> StoreError {
    let Some(last) = failures.last() else {
        return StoreError::new(StoreErrorKind::Refused, "there is no vault for a key");
    };
    let messages: Vec<_> = failures.iter().map(StoreError::what).collect();
    let error = StoreError::new(last.kind(), messages.join("; and "));
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
