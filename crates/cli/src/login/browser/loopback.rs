//! The redirect address on this machine (RFC 8252 section 7.3).

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use token_rotator::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::page::Page;
use crate::command_error::{CommandError, port_hint};

const PATH: &str = "/callback";

/// How long a browser may take over the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// How long the last page has on its way to the browser.
const LAST_PAGE: Duration = Duration::from_secs(2);

/// A server for one sign-in, on an address that no other machine reaches.
pub(super) struct Loopback {
    redirect_uri: String,
    redirects: mpsc::Receiver<Redirect>,
    /// Dropped, it tells the server to end.
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// A request for the redirect address, whose browser waits for a page.
pub(super) struct Redirect {
    query: SecretString,
    page: oneshot::Sender<Page>,
}

impl Loopback {
    /// Listens on this port; 0 takes a free one.
    pub(super) async fn listen(port: u16) -> Result<Self, CommandError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| nowhere(port, &error))?;
        let (sender, redirects) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        Ok(Self {
            redirect_uri: format!("http://{address}{PATH}"),
            redirects,
            end,
            serving: tokio::spawn(serve(listener, sender, ended)),
        })
    }

    /// The address itself, for the issuer and the browser.
    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits for the next redirect, whoever sent it. Dropping the future loses none.
    pub(super) async fn redirect(&mut self) -> Redirect {
        match self.redirects.recv().await {
            Some(redirect) => redirect,
            // The server ends with this alone; else nobody would come any more.
            None => std::future::pending().await,
        }
    }

    /// Waits until the browser has its page, then listens no longer.
    pub(super) async fn finish(self) {
        drop(self.redirects);
        drop(self.end);
        // It panics with nobody but itself.
        let _ = self.serving.await;
    }
}

fn nowhere(port: u16, error: &std::io::Error) -> CommandError {
    let place = match port {
        0 => "no port of this machine can be listened on".to_owned(),
        port => format!("port {port} of this machine cannot be listened on"),
    };
    CommandError::new("the browser has nowhere to come back to")
        .why(format!("{place}: {error}"))
        .hint(
            "end what listens there, or choose another port with `--redirect-port`; 0 takes a free one",
        )
        .hint_of(port_hint(error))
}

impl Redirect {
    pub(super) fn query(&self) -> &str {
        self.query.expose_secret()
    }

    /// Lets the browser show this.
    pub(super) fn show(self, page: Page) {
        // A browser that has left needs none.
        let _ = self.page.send(page);
    }
}

async fn serve(
    listener: TcpListener,
    redirects: mpsc::Sender<Redirect>,
    mut ended: oneshot::Receiver<()>,
) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut ended => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely, which takes a moment to pass.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let redirects = redirects.clone();
        let service = service_fn(move |request| answer(request, redirects.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Whoever breaks off is not told.
        tokio::spawn(connections.watch(connection));
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_PAGE, connections.shutdown()).await;
}

async fn answer(
    request: Request<Incoming>,
    redirects: mpsc::Sender<Redirect>,
) -> Result<Response<String>, Infallible> {
    let page = if request.uri().path() != PATH {
        Page::nothing_here()
    } else if request.method() != Method::GET {
        Page::only_get()
    } else {
        let (page, shown) = oneshot::channel();
        let query = request.uri().query().unwrap_or_default().into();
        match redirects.send(Redirect { query, page }).await {
            Ok(()) => shown.await.unwrap_or_else(|_| Page::over()),
            Err(_over) => Page::over(),
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
        insta::assert_snapshot!(nowhere(0, &error).text(), @"
        exit code 1
        error: the browser has nowhere to come back to
          because no port of this machine can be listened on: Too many open files (os error 24)
        hint: raise the limit of open files (`ulimit -n`)
        ");
    }
}
