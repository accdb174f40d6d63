//! The operations of the store on Redis: keys, commands and scripts, and their results.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use redis::Client;
use redis::aio::{PubSubSink, PubSubStream};
use token_rotator::store::server::{
    HashedKey, LISTENING_CHECK, LeaseAttempt, Server, StoredRecord, Swap, Swapped,
};
use token_rotator::store::{Epoch, HeldLease, StoreError, StoreTime, Version};

use crate::call_error::CallError;
use crate::connection::SharedConnection;
use crate::scripts::{ACQUIRE, INSPECT, LOAD, RELEASE, RENEW, SAVE};

/// A Redis server, and the prefix of the store's keys.
pub(crate) struct Redis {
    connection: SharedConnection,
    prefix: String,
}

/// A field of a record's hash.
type Field = Option<Vec<u8>>;

impl Redis {
    pub(crate) fn new(client: Client, prefix: String, limit: Duration) -> Self {
        Self {
            connection: SharedConnection::new(client, limit),
            prefix,
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.connection.address()
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        self.query::<redis::Value>(&redis::cmd("PING")).await?;
        Ok(())
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, CallError> {
        let run = |mut connection| async move { command.query_async(&mut connection).await };
        self.connection.call(run).await
    }

    /// Returns the name of a session's key. A cluster chooses the slot by the text in braces, so all keys of a session
    /// are in the same slot.
    fn key(&self, session: &HashedKey, suffix: &str) -> String {
        format!("{}{{{}}}:{suffix}", self.prefix, session.hash())
    }

    /// Returns the name of the channel for notifications.
    fn channel(&self) -> String {
        format!("{}changes", self.prefix)
    }
}

impl Server for Redis {
    const NAME: &'static str = "Redis";

    type Listening = (PubSubSink, PubSubStream);

    async fn version(&self, session: &HashedKey) -> Result<Option<Version>, StoreError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.key(session, "record"));
        let fields: [Field; 2] = self.query(command.arg(&["epoch", "revision"])).await?;
        version(session, &fields)
    }

    async fn load(&self, session: &HashedKey) -> Result<Option<StoredRecord>, StoreError> {
        let load = LOAD.key(self.key(session, "record"));
        parse_record(session, self.connection.run(&load).await?)
    }

    async fn save(&self, session: &HashedKey, swap: Swap<'_>) -> Result<Swapped, StoreError> {
        let expected = swap.expected.map(version_arguments).unwrap_or_default();
        let next = version_arguments(swap.version);
        let mut save = SAVE.key(self.key(session, "record"));
        save.arg(&expected).arg(&next).arg(swap.body);
        save.arg(self.channel()).arg(session.record_topic());
        let (saved, epoch, revision, body, seconds, micros): (
            u8,
            Field,
            Field,
            Field,
            Field,
            Field,
        ) = self.connection.run(&save).await?;
        if saved == 1 {
            return Ok(Swapped::Stored);
        }
        let stored = parse_record(session, [epoch, revision, body, seconds, micros])?;
        Ok(Swapped::Conflict(stored))
    }

    async fn take_lease(
        &self,
        session: &HashedKey,
        owner: &str,
        life: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let mut acquire = ACQUIRE.key(self.key(session, "lease"));
        acquire.key(self.key(session, "fence"));
        acquire.arg(owner).arg(millis(life));
        let (is_acquired, number): (u8, i64) = self.connection.run(&acquire).await?;
        let number = u64::try_from(number).unwrap_or_default();
        Ok(if is_acquired == 1 {
            LeaseAttempt::Taken { fence: number }
        } else {
            let left = Some(Duration::from_millis(number));
            LeaseAttempt::Busy { left }
        })
    }

    async fn renew_lease(
        &self,
        session: &HashedKey,
        owner: &str,
        life: Duration,
    ) -> Result<bool, StoreError> {
        let mut renew = RENEW.key(self.key(session, "lease"));
        renew.arg(owner).arg(millis(life));
        let renewed: u8 = self.connection.run(&renew).await?;
        Ok(renewed == 1)
    }

    async fn release_lease(&self, session: &HashedKey, owner: &str) -> Result<(), StoreError> {
        let mut release = RELEASE.key(self.key(session, "lease"));
        release.arg(owner);
        release.arg(self.channel()).arg(session.lease_topic());
        let _released: u8 = self.connection.run(&release).await?;
        Ok(())
    }

    async fn held_lease(&self, session: &HashedKey) -> Result<Option<HeldLease>, StoreError> {
        let mut inspect = INSPECT.key(self.key(session, "lease"));
        inspect.key(self.key(session, "fence"));
        let (left, fence): (i64, i64) = self.connection.run(&inspect).await?;
        Ok(u64::try_from(left).ok().map(|left| {
            let fence = u64::try_from(fence).unwrap_or_default();
            HeldLease::new(fence, Duration::from_millis(left))
        }))
    }

    async fn listen(&self) -> Result<Self::Listening, StoreError> {
        let subscription = self.connection.subscription(&self.channel()).await?;
        Ok(subscription.split())
    }

    async fn notification(
        &self,
        (sink, messages): &mut Self::Listening,
    ) -> Result<Option<String>, StoreError> {
        loop {
            match tokio::time::timeout(LISTENING_CHECK, messages.next()).await {
                Ok(Some(message)) => return Ok(message.get_payload().ok()),
                Ok(None) => return Err(self.connection.closed_error().into()),
                Err(_) => {
                    self.connection
                        .with_time_limit(sink.ping::<redis::Value>())
                        .await?
                }
            };
        }
    }
}

/// Returns a lease's life in milliseconds. A life is at most a day.
fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the epoch and the revision as script arguments.
fn version_arguments(version: Version) -> [String; 2] {
    let epoch = format!("{:032x}", version.epoch.bits());
    [epoch, version.revision.to_string()]
}

/// Parses epoch, revision, body, and seconds and microseconds of the server's clock.
fn parse_record(
    session: &HashedKey,
    [epoch, revision, body, seconds, micros]: [Field; 5],
) -> Result<Option<StoredRecord>, StoreError> {
    let Some(version) = version(session, &[epoch, revision])? else {
        return Ok(None);
    };
    let body = body.ok_or_else(|| Redis::corrupt(session, "it has no body"))?;
    let stored = StoredRecord::new(version, body);
    Ok(Some(match clock(seconds, micros) {
        Some(now) => stored.read_at(now),
        None => stored,
    }))
}

fn clock(seconds: Field, micros: Field) -> Option<StoreTime> {
    let number = |field: Field| String::from_utf8(field?).ok()?.parse::<u64>().ok();
    let time = Duration::from_secs(number(seconds)?) + Duration::from_micros(number(micros)?);
    Some(StoreTime::by_wall(
        SystemTime::UNIX_EPOCH.checked_add(time)?,
    ))
}

fn version(session: &HashedKey, fields: &[Field; 2]) -> Result<Option<Version>, StoreError> {
    let [Some(epoch), Some(revision)] = fields else {
        return match fields {
            [None, None] => Ok(None),
            _ => Err(Redis::corrupt(session, "half of its version is missing")),
        };
    };
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let epoch = text(epoch).and_then(|epoch| u128::from_str_radix(epoch, 16).ok());
    let revision = text(revision).and_then(|revision| revision.parse().ok());
    match (epoch, revision) {
        (Some(epoch), Some(revision)) => Ok(Some(Version::new(Epoch::from_bits(epoch), revision))),
        _ => Err(Redis::corrupt(session, "its version is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use token_rotator::SessionKey;

    use super::*;

    #[test]
    fn the_keys_of_a_session_share_the_text_in_braces() {
        let client = Client::open("redis://127.0.0.1").expect("an address");
        let server = Redis::new(client, "app:".to_owned(), Duration::from_secs(1));
        let session = HashedKey::new(&SessionKey::new("work"));
        let tag = format!("{{{}}}", session.hash());
        for suffix in ["record", "lease", "fence"] {
            assert_eq!(server.key(&session, suffix), format!("app:{tag}:{suffix}"));
        }
        assert_eq!(server.channel(), "app:changes");
    }
}
