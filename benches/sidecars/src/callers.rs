//! Callers of the API through a proxy.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, COOKIE, HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::proxies::Proxy;

/// The time limit of an answer, and of a proxy to serve its first request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The callers of one proxy. Each caller has a connection of its own.
pub(crate) struct Callers {
    authority: String,
    /// All callers are the same user, for a proxy with a session for each user.
    cookies: Option<String>,
}

type Connection = SendRequest<Empty<Bytes>>;

impl Callers {
    pub(crate) fn of(proxy: &Proxy) -> Self {
        Self {
            authority: proxy.authority.clone(),
            cookies: proxy.cookies.clone(),
        }
    }

    /// Calls until the API has answered a request. Errors: no answer within 30 s.
    pub(crate) async fn until_served(&self) -> Result<(), Box<dyn Error>> {
        let begin = Instant::now();
        loop {
            let answer = self.one().await;
            if answer == Some(200) {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("it serves no caller; last status: {answer:?}").into());
            }
            // Envoy does not report that it has its first token.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes one call. Returns `None` without an answer.
    pub(crate) async fn one(&self) -> Option<u16> {
        let connection = self.connect().await.ok()?;
        call(connection, self.request()).await
    }

    /// Makes this number of calls at once, over open connections. Errors: the proxy accepts no connection.
    pub(crate) async fn together(&self, callers: u32) -> Result<Vec<Option<u16>>, Box<dyn Error>> {
        let barrier = Arc::new(Barrier::new(callers as usize));
        let mut requests = JoinSet::new();
        for _ in 0..callers {
            let connection = self.connect().await?;
            let (barrier, request) = (Arc::clone(&barrier), self.request());
            requests.spawn(async move {
                barrier.wait().await;
                call(connection, request).await
            });
        }
        Ok(requests.join_all().await)
    }

    async fn connect(&self) -> Result<Connection, Box<dyn Error>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        // The task ends with the sender.
        tokio::spawn(driver);
        Ok(sender)
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::get("/echo")
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json");
        if let Some(cookies) = &self.cookies {
            request = request.header(COOKIE, cookies);
        }
        request
            .body(Empty::new())
            .expect("a proxy's address and cookies are words of HTTP")
    }
}

async fn call(mut connection: Connection, request: Request<Empty<Bytes>>) -> Option<u16> {
    let answer = async {
        let answer = connection.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.ok()?;
        Some(status)
    };
    timeout(PATIENCE, answer).await.ok()?
}
