//! The connection that all calls share, with a time limit for each call.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError, RedisResult,
    ScriptInvocation,
};

use crate::call_error::CallError;

/// Whether the server refused a command of the handshake. The error has no code of the server.
fn is_of_handshake(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || error.to_string().contains("refused to switch database")
}

pub(crate) struct SharedConnection {
    client: Client,
    /// Host and port, without user name and password.
    address: String,
    limit: Duration,
    current: Mutex<CurrentConnection>,
}

#[derive(Default)]
struct CurrentConnection {
    manager: Option<ConnectionManager>,
    /// Number of the connection. A call closes the connection that it used, and not a newer one.
    number: u64,
}

impl SharedConnection {
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

    /// Runs a script. The script may run twice: again on a new connection if the first connection turns out to be
    /// closed.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, CallError> {
        self.call(|mut connection| async move { script.invoke_async(&mut connection).await })
            .await
    }

    /// Runs a command that may run twice.
    pub(crate) async fn call<T, F: Future<Output = RedisResult<T>>>(
        &self,
        call: impl Fn(ConnectionManager) -> F,
    ) -> Result<T, CallError> {
        let mut used_number = 0;
        let attempts = async {
            let (manager, number) = self.connection()?;
            used_number = number;
            match call(manager).await {
                // The server may have closed an idle connection long ago. Only the next call detects that.
                Err(error) if error.is_io_error() && !error.is_connection_refusal() => {
                    self.drop_connection(number);
                    let (manager, number) = self.connection()?;
                    used_number = number;
                    call(manager).await
                }
                response => response,
            }
        };
        let explained = async {
            match attempts.await {
                Err(error) if is_of_handshake(&error) => {
                    // Boxed, because it is rare: callers' futures stay small.
                    Err(Box::pin(self.explain_handshake(error)).await)
                }
                response => response,
            }
        };
        let result = self.with_time_limit(explained).await;
        if result.as_ref().is_err_and(|error| error.connection) {
            // After a failover the same host name may belong to another server.
            self.drop_connection(used_number);
        }
        result
    }

    /// Opens a separate connection that receives the messages of `channel`.
    pub(crate) async fn subscription(
        &self,
        channel: &str,
    ) -> Result<redis::aio::PubSub, CallError> {
        let subscribe = async {
            let subscription = self.client.get_async_pubsub().await;
            let mut subscription = match subscription {
                Err(error) if is_of_handshake(&error) => {
                    return Err(Box::pin(self.explain_handshake(error)).await);
                }
                subscription => subscription?,
            };
            subscription.subscribe(channel).await?;
            Ok(subscription)
        };
        self.with_time_limit(subscribe).await
    }

    /// Repeats the handshake by single commands. The client library drops the code of the server's answer, so a server
    /// that is loading its data would look like one that refuses the password.
    async fn explain_handshake(&self, error: RedisError) -> RedisError {
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone();
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let handshake = async {
            let client = Client::open(info.set_redis_settings(bare))?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            if let Some(password) = settings.password() {
                let mut command = redis::cmd("AUTH");
                if let Some(user) = settings.username() {
                    command.arg(user);
                }
                let () = command.arg(password).query_async(&mut connection).await?;
            }
            let mut select = redis::cmd("SELECT");
            select.arg(settings.db()).query_async(&mut connection).await
        };
        match handshake.await {
            Ok(()) => error,
            Err(explained) => explained,
        }
    }

    /// Awaits a response of the server, with the time limit of a call.
    pub(crate) async fn with_time_limit<T>(
        &self,
        future: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(self.limit, future).await {
            Ok(response) => response.map_err(|error| CallError::new(error, &self.address)),
            Err(_) => Err(CallError::timed_out(self.limit, &self.address)),
        }
    }

    /// Returns the error for a closed notification connection.
    pub(crate) fn closed_error(&self) -> CallError {
        CallError::closed(&self.address)
    }

    fn connection(&self) -> RedisResult<(ConnectionManager, u64)> {
        let mut current = self.current();
        if let Some(manager) = &current.manager {
            return Ok((manager.clone(), current.number));
        }
        // Without retries, a failed connection attempt ends at once. The caller decides whether to try again.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        current.manager = Some(manager.clone());
        current.number += 1;
        Ok((manager, current.number))
    }

    /// Drops the connection with this number, so that the next call opens a new one. Keeps a newer connection.
    fn drop_connection(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            current.manager = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, CurrentConnection> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
