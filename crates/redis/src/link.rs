//! The connection: one for all calls, each of them bounded.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, RedisResult, ScriptInvocation};

use crate::fault::Fault;

pub(crate) struct Link {
    client: Client,
    /// Without user name and password.
    address: String,
    limit: Duration,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    manager: Option<ConnectionManager>,
    /// Which one it is.
    number: u64,
}

impl Link {
    pub(crate) fn new(client: Client, limit: Duration) -> Self {
        Self {
            address: client.get_connection_info().addr().to_string(),
            client,
            limit,
            current: Mutex::default(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Runs a script. It may run twice: once more where the connection turns out to be closed.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Fault> {
        self.call(|mut connection| async move { script.invoke_async(&mut connection).await })
            .await
    }

    /// Makes a call that may be made twice.
    pub(crate) async fn call<T, F: Future<Output = RedisResult<T>>>(
        &self,
        ask: impl Fn(ConnectionManager) -> F,
    ) -> Result<T, Fault> {
        let mut used = 0;
        let attempts = async {
            let (manager, number) = self.connection()?;
            used = number;
            match ask(manager).await {
                // An idle connection may have been closed long ago, which only the next call finds.
                Err(error) if error.is_io_error() && !error.is_connection_refusal() => {
                    self.drop_connection(number);
                    let (manager, number) = self.connection()?;
                    used = number;
                    ask(manager).await
                }
                answer => answer,
            }
        };
        let fault = match tokio::time::timeout(self.limit, attempts).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Fault::new(error, &self.address),
            Err(_) => Fault::timed_out(self.limit, &self.address),
        };
        if fault.connection {
            // Behind the same name there may be another server by now.
            self.drop_connection(used);
        }
        Err(fault)
    }

    /// A connection of its own, for messages.
    pub(crate) async fn subscription(&self, channel: &str) -> Result<redis::aio::PubSub, Fault> {
        let subscribe = async {
            let mut subscription = self.client.get_async_pubsub().await?;
            subscription.subscribe(channel).await?;
            Ok(subscription)
        };
        self.bounded(subscribe).await
    }

    /// Waits for an answer on a connection that this link does not keep.
    pub(crate) async fn bounded<T>(
        &self,
        work: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(answer) => answer.map_err(|error| Fault::new(error, &self.address)),
            Err(_) => Err(Fault::timed_out(self.limit, &self.address)),
        }
    }

    /// The connection for messages was closed.
    pub(crate) fn closed(&self) -> Fault {
        Fault::closed(&self.address)
    }

    fn connection(&self) -> RedisResult<(ConnectionManager, u64)> {
        let mut current = self.current();
        if let Some(manager) = &current.manager {
            return Ok((manager.clone(), current.number));
        }
        // It fails at once where it cannot connect: how long to go on trying is up to the caller.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        current.manager = Some(manager.clone());
        current.number += 1;
        Ok((manager, current.number))
    }

    /// The next call makes a new one. Keeps the connection if it is already another one.
    fn drop_connection(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            current.manager = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
