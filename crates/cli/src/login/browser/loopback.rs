//! The redirect address on this machine (RFC 8252 section 7.3).

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use token_rotator::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::page::Page;
use crate::command_error::{CommandError, port_hint};
use crate::config::RedirectAddress;

/// How long a browser may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last page may take to reach the browser.
const LAST_PAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The server for the redirect of one sign-in, on loopback addresses.
pub(super) struct Loopback {
    redirect_uri: String,
    redirects: mpsc::Receiver<BrowserRedirect>,
    /// Dropping the sender ends the server.
    end: watch::Sender<()>,
    serving: Vec<JoinHandle<()>>,
}

/// A request for the redirect address. The browser waits for its page.
pub(super) struct BrowserRedirect {
    query: SecretString,
    page: oneshot::Sender<Page>,
}

impl Loopback {
    /// Listens on this address. Port 0 takes a free port.
    ///
    /// `localhost` may mean either loopback address for a browser, so the server listens on both if
    /// the machine has both.
    pub(super) async fn listen(mut address: RedirectAddress) -> Result<Self, CommandError> {
        let (mut listeners, mut failure) = (Vec::new(), None);
        for ip in address.listen_on() {
            match bind(ip, address.port).await {
                Ok((port, listener)) => {
                    address.port = port;
                    listeners.push(listener);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let (true, Some(error)) = (listeners.is_empty(), failure) {
            return Err(cannot_listen(address.port, &error));
        }
        let (sender, redirects) = mpsc::channel(1);
        let (end, ended) = watch::channel(());
        let path: Arc<str> = address.path.as_str().into();
        let serving = listeners.into_iter().map(|listener| {
            let served = serve(listener, Arc::clone(&path), sender.clone(), ended.clone());
            tokio::spawn(served)
        });
        Ok(Self {
            redirect_uri: address.to_string(),
            redirects,
            end,
            serving: serving.collect(),
        })
    }

    /// Returns the redirect address, for the issuer and the browser.
    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits for the next redirect, which may belong to another sign-in.
    ///
    /// *Cancellation:* dropping the future loses no redirect.
    pub(super) async fn redirect(&mut self) -> BrowserRedirect {
        match self.redirects.recv().await {
            Some(redirect) => redirect,
            // The server, which holds the sender, ends only after `self.end` is dropped.
            None => std::future::pending().await,
        }
    }

    /// Stops listening. Waits until the browser has received its page, 2 s at most.
    pub(super) async fn finish(self) {
        drop(self.redirects);
        drop(self.end);
        for server in self.serving {
            // A panic of the server does not change the outcome of the sign-in.
            let _ = server.await;
        }
    }
}

async fn bind(address: IpAddr, port: u16) -> std::io::Result<(u16, TcpListener)> {
    let listener = TcpListener::bind((address, port)).await?;
    Ok((listener.local_addr()?.port(), listener))
}

fn cannot_listen(port: u16, error: &std::io::Error) -> CommandError {
    let cause = match port {
        0 => "no port of this machine can be listened on".to_owned(),
        port => format!("port {port} of this machine cannot be listened on"),
    };
    CommandError::new("the browser's redirect cannot be received")
        .why(format!("{cause}: {error}"))
        .hint(
            "end the program that listens there, or choose another port with `--redirect-uri`; 0 takes a free port",
        )
        .hint_of(port_hint(error))
}

impl BrowserRedirect {
    pub(super) fn query(&self) -> &str {
        self.query.expose_secret()
    }

    /// Sends this page to the browser.
    pub(super) fn show(self, page: Page) {
        // The browser may have closed its connection.
        let _ = self.page.send(page);
    }
}

async fn serve(
    listener: TcpListener,
    path: Arc<str>,
    redirects: mpsc::Sender<BrowserRedirect>,
    mut ended: watch::Receiver<()>,
) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender is only dropped.
            _ = ended.changed() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Most likely the process has no free file descriptor: pause instead of spinning.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let redirects = redirects.clone();
        let path = Arc::clone(&path);
        let service =
            service_fn(move |request| answer(request, Arc::clone(&path), redirects.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Errors of a connection are ignored: the browser sees them itself.
        tokio::spawn(connections.watch(connection));
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_PAGE_TIMEOUT, connections.shutdown()).await;
}

async fn answer(
    request: Request<Incoming>,
    path: Arc<str>,
    redirects: mpsc::Sender<BrowserRedirect>,
) -> Result<Response<String>, Infallible> {
    let page = if request.uri().path() != &*path {
        Page::nothing_here()
    } else if request.method() != Method::GET {
        Page::only_get()
    } else {
        let (page, shown) = oneshot::channel();
        let query = request.uri().query().unwrap_or_default().into();
        match redirects.send(BrowserRedirect { query, page }).await {
            Ok(()) => shown.await.unwrap_or_else(|_| Page::already_over()),
            Err(_over) => Page::already_over(),
        }
    };
    Ok(page.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_free() {
        let error = std::io::Error::from_raw_os_error(24);
        insta::assert_snapshot!(cannot_listen(0, &error).text(), @"
        exit code 1
        error: the browser's redirect cannot be received
          because no port of this machine can be listened on: Too many open files (os error 24)
        hint: raise the limit of open files (`ulimit -n`)
        ");
    }
}
