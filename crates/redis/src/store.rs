//! The session store.

use std::sync::Arc;
use std::time::Duration;

use redis::Client;
use token_rotator::{
    Epoch, Record, RecordCodec, Saved, SessionKey, SessionStore, SharedCoordinator, StoreError,
    StoreErrorKind, Version,
};
use tokio_util::task::TaskTracker;

use crate::builder::RedisStoreBuilder;
use crate::link::Link;
use crate::names::{Names, channel};
use crate::scripts::SAVE;
use crate::subscriber::Subscriber;

/// Keeps sessions in Redis, and grants their leases there.
///
/// Clones share one connection for calls and, once somebody waits for others, one for messages.
#[derive(Clone)]
pub struct RedisStore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) link: Arc<Link>,
    pub(crate) subscriber: Subscriber,
    codec: RecordCodec,
    pub(crate) prefix: String,
    pub(crate) lease_life: Duration,
    /// Attempts to take leases, and leases on their way back.
    pub(crate) background: TaskTracker,
}

impl RedisStore {
    /// Begins a store.
    pub fn builder() -> RedisStoreBuilder {
        RedisStoreBuilder::new()
    }

    pub(crate) fn new(
        client: Client,
        codec: RecordCodec,
        prefix: String,
        lease_life: Duration,
        limit: Duration,
    ) -> Self {
        let link = Arc::new(Link::new(client, limit));
        let background = TaskTracker::new();
        // So that it can be waited for at any time.
        background.close();
        Self(Arc::new(Inner {
            subscriber: Subscriber::new(Arc::clone(&link), channel(&prefix)),
            link,
            codec,
            prefix,
            lease_life,
            background,
        }))
    }

    /// Asks the server whether it is there and lets this store in: for programs that would rather
    /// not start than find out later.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ask = |mut connection| async move {
            redis::cmd("PING")
                .query_async::<redis::Value>(&mut connection)
                .await
        };
        self.0.link.call(ask).await?;
        Ok(())
    }

    pub(crate) fn names(&self, session: &SessionKey) -> Names {
        Names::new(&self.0.prefix, session)
    }

    /// Which version is stored.
    async fn version(&self, key: &SessionKey) -> Result<Option<Version>, StoreError> {
        let [epoch, revision, _] = self.fields(key, &["epoch", "revision"]).await?;
        version(key, epoch.as_deref(), revision.as_deref())
    }

    /// The fields of a record, the last one left out if so asked.
    async fn fields(
        &self,
        key: &SessionKey,
        fields: &[&str],
    ) -> Result<[Option<Vec<u8>>; 3], StoreError> {
        let mut command = redis::cmd("HMGET");
        command.arg(&self.names(key).record).arg(fields);
        let mut found: Vec<Option<Vec<u8>>> = self
            .0
            .link
            .call(|mut connection| {
                let command = command.clone();
                async move { command.query_async(&mut connection).await }
            })
            .await?;
        found.resize(3, None);
        Ok(<[_; 3]>::try_from(found).unwrap_or_default())
    }
}

impl SessionStore for RedisStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        let [epoch, revision, body] = self.fields(key, &["epoch", "revision", "body"]).await?;
        let Some(version) = version(key, epoch.as_deref(), revision.as_deref())? else {
            return Ok(None);
        };
        let body = body.ok_or_else(|| corrupt(key, "it has no body"))?;
        let record = self.0.codec.decode(key, &body)?;
        if record.version != version {
            // The body says, and is sealed; what stands beside it was changed by somebody else.
            return Err(corrupt(key, "its version is not that of its body"));
        }
        Ok(Some(record))
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let body = self.0.codec.encode(key, &record)?;
        let names = self.names(key);
        let (epoch, revision) = match expected {
            Some(expected) => words(expected),
            None => (String::new(), String::new()),
        };
        let (next_epoch, next_revision) = words(record.version);
        let mut save = SAVE.key(names.record);
        save.arg(epoch).arg(revision);
        save.arg(next_epoch).arg(next_revision).arg(body);
        save.arg(self.0.subscriber.channel()).arg(names.saved);
        let (stored, theirs): (u8, Option<Vec<u8>>) = self.0.link.run(&save).await?;
        if stored == 1 {
            return Ok(Saved::Stored);
        }
        let theirs = theirs.map(|body| self.0.codec.decode(key, &body));
        Ok(Saved::Conflict(theirs.transpose()?))
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        // First this, then the look: what is saved in between is heard.
        let mut listening = self.0.subscriber.listen(&self.names(key).saved);
        loop {
            if let Ok(stored) = self.version(key).await
                && stored != seen
            {
                return;
            }
            // What is told is news, or as good as: whoever asked reads the record anyway.
            if listening.heard(Duration::MAX).await {
                return;
            }
        }
    }

    fn coordinator(&self) -> Option<SharedCoordinator> {
        Some(SharedCoordinator::new(self.clone()))
    }
}

fn words(version: Version) -> (String, String) {
    let epoch = format!("{:032x}", version.epoch.bits());
    (epoch, version.revision.to_string())
}

fn version(
    key: &SessionKey,
    epoch: Option<&[u8]>,
    revision: Option<&[u8]>,
) -> Result<Option<Version>, StoreError> {
    let (Some(epoch), Some(revision)) = (epoch, revision) else {
        return match (epoch, revision) {
            (None, None) => Ok(None),
            _ => Err(corrupt(key, "half of its version is missing")),
        };
    };
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let epoch = text(epoch).and_then(|epoch| u128::from_str_radix(epoch, 16).ok());
    let revision = text(revision).and_then(|revision| revision.parse().ok());
    match (epoch, revision) {
        (Some(epoch), Some(revision)) => Ok(Some(Version {
            epoch: Epoch::from_bits(epoch),
            revision,
        })),
        _ => Err(corrupt(key, "its version is no number")),
    }
}

fn corrupt(key: &SessionKey, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!(
            "the record of session {key} in Redis cannot be read: {what}; it was left untouched"
        ),
    )
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RedisStore")
            .field("address", &self.0.link.address())
            .field("key_prefix", &self.0.prefix)
            .field("codec", &self.0.codec)
            .field("lease_life", &self.0.lease_life)
            .finish_non_exhaustive()
    }
}
