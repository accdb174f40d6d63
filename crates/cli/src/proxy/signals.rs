//! The signals that the proxy handles.

use std::io;

/// A signal to the proxy.
pub(super) enum ProxySignal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or Ctrl-C: end.
    End,
}

#[cfg(unix)]
pub(super) struct Signals {
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> ProxySignal {
        tokio::select! {
            _ = self.hangup.recv() => ProxySignal::Reload,
            _ = self.terminate.recv() => ProxySignal::End,
            _ = self.interrupt.recv() => ProxySignal::End,
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "the Unix version can fail")]
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) -> ProxySignal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        ProxySignal::End
    }
}

impl Signals {
    /// Waits for a signal to end. Ignores signals to reload.
    pub(super) async fn end(&mut self) {
        while !matches!(self.next().await, ProxySignal::End) {}
    }
}
