//! The idle connections of one worker to one upstream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http2::SendRequest;

use super::{Http1, Http2};
use crate::tee::Upload;
use crate::worker::SWEEP;

/// Idle connections. Only one worker uses a pool, so its lock is never contended.
pub(crate) struct Pool {
    #[expect(
        clippy::vec_box,
        reason = "a connection is large, and moves with every request"
    )]
    idle: Mutex<Vec<Box<Http1>>>,
    pub(crate) http2: Http2,
    max_idle: usize,
    /// Number of sweeps so far. It serves as a clock for idle times that is cheap to read.
    sweeps: AtomicU64,
    idle_sweeps: u64,
}

/// A connection that can send a request.
pub(crate) enum Channel {
    Http1(Box<Http1>),
    Http2(SendRequest<Upload>),
}

/// A connection in use. A dropped connection is closed.
pub(crate) struct PooledConnection {
    pub(crate) connection: Box<Http1>,
    pub(crate) pool: Arc<Pool>,
    /// The beginning of the answer's body, if it was read with the head.
    pub(crate) first: Option<Bytes>,
}

impl Pool {
    pub(crate) fn new(http2: Option<bool>, max_idle: usize, idle_timeout: Duration) -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            http2: Http2::new(http2),
            max_idle,
            sweeps: AtomicU64::new(0),
            idle_sweeps: idle_timeout.as_secs().max(1) / SWEEP.as_secs(),
        }
    }

    /// Takes the idle HTTP/1.1 connection that was used last, or the shared HTTP/2 connection.
    /// Returns `None` if neither is open.
    pub(crate) fn take_idle(&self) -> Option<Channel> {
        loop {
            let Some(mut connection) = self.idle().pop() else {
                return self.http2.ready(self.now()).map(Channel::Http2);
            };
            if connection.is_free() {
                return Some(Channel::Http1(connection));
            }
        }
    }

    fn put(&self, mut connection: Box<Http1>) {
        if connection.is_free() {
            connection.idle_since = self.now();
            let mut idle = self.idle();
            if idle.len() < self.max_idle {
                idle.push(connection);
            }
        }
    }

    /// Drops connections that the upstream has closed or that were idle for too long.
    pub(crate) fn sweep(&self) {
        let now = self.sweeps.fetch_add(1, Ordering::Relaxed) + 1;
        self.http2.sweep(now.saturating_sub(self.idle_sweeps));
        self.idle().retain_mut(|connection| {
            now.saturating_sub(connection.idle_since) <= self.idle_sweeps && connection.is_free()
        });
    }

    pub(crate) fn now(&self) -> u64 {
        self.sweeps.load(Ordering::Relaxed)
    }

    #[expect(
        clippy::vec_box,
        reason = "a connection is large, and moves with every request"
    )]
    fn idle(&self) -> MutexGuard<'_, Vec<Box<Http1>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledConnection {
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        self.connection.drive(context);
    }

    pub(crate) fn give_back(self) {
        self.pool.put(self.connection);
    }
}
