//! The way to an upstream through an HTTP proxy of the network (RFC 9110 section 9.3.6).

use http::{HeaderValue, StatusCode};
use token_rotator::middleware::proxies::ProxyAddress;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::ConnectError;

/// Longest answer to CONNECT.
const HEAD_BYTES: usize = 16 * 1024;

/// A proxy of the network, and the credentials that only this proxy gets.
pub(crate) struct CompanyProxy {
    pub(super) host: String,
    pub(super) port: u16,
    pub(crate) authorization: Option<HeaderValue>,
}

impl CompanyProxy {
    pub(super) fn new(address: &ProxyAddress) -> Self {
        Self {
            host: address.host().to_owned(),
            port: address.port(),
            authorization: address.authorization(),
        }
    }

    /// Asks the proxy on `stream` for a tunnel to `authority`, which is `host:port`.
    pub(super) async fn open_tunnel<S>(
        &self,
        stream: &mut S,
        authority: &str,
    ) -> Result<(), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut head = format!(
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: token-rotator\r\n"
        )
        .into_bytes();
        if let Some(value) = &self.authorization {
            head.extend_from_slice(b"proxy-authorization: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let failed = |error| ConnectError::Proxy(self.shown(), error);
        stream.write_all(&head).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let answer = read_head(stream).await.map_err(failed)?;
        let refused = |status| ConnectError::ProxyStatus(self.shown(), status);
        match status_of(&answer) {
            Some(status) if status.is_success() => Ok(()),
            Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => Err(self.wants_credentials()),
            Some(status) => Err(refused(status.as_u16())),
            None => Err(refused(0)),
        }
    }

    /// Returns the error for a 407.
    pub(crate) fn wants_credentials(&self) -> ConnectError {
        ConnectError::ProxyCredentials(self.shown())
    }

    /// Returns host and port for messages.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Reads one byte after the other, because the bytes after the head belong to the tunnel.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES {
            return Err(std::io::Error::other("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status_of(head: &[u8]) -> Option<StatusCode> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    StatusCode::from_bytes(rest.get(2..5)?).ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// Returns the outcome of CONNECT for this answer, and what the proxy received.
    async fn connect(answer: &'static [u8]) -> (Result<Vec<u8>, ConnectError>, String) {
        let address = "http://me:hunter2@proxy:3128".parse().expect("an address");
        let proxy = CompanyProxy::new(&address);
        let (mut near, mut far) = duplex(64 * 1024);
        far.write_all(answer).await.expect("written");
        far.shutdown().await.expect("shut down");
        let opened = proxy.open_tunnel(&mut near, "api.example.com:443").await;
        let mut rest = Vec::new();
        if opened.is_ok() {
            near.read_to_end(&mut rest).await.expect("read");
        }
        drop(near);
        let mut received = String::new();
        far.read_to_string(&mut received).await.expect("text");
        (opened.map(|()| rest), received)
    }

    #[tokio::test]
    async fn a_tunnel_begins_after_the_head() {
        let answer = b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\nhello";
        let (opened, received) = connect(answer).await;
        assert_eq!(opened.expect("a tunnel"), b"hello");
        assert_eq!(
            received,
            "CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com:443\r\n\
             user-agent: token-rotator\r\nproxy-authorization: Basic bWU6aHVudGVyMg==\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn a_refusal_names_the_proxy_and_no_password() {
        let long: &'static [u8] = vec![b'x'; 2 * HEAD_BYTES].leak();
        for (answer, text) in [
            (
                &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
                "the proxy proxy:3128 does not accept the credentials for it",
            ),
            (
                b"HTTP/1.0 403 Forbidden\r\n\r\n",
                "the proxy proxy:3128 answered CONNECT with 403",
            ),
            (
                b"HTTP/1.1 301 Moved\r\n\r\n",
                "the proxy proxy:3128 answered CONNECT with 301",
            ),
            (
                b"SSH-2.0-OpenSSH\r\n\r\n",
                "the proxy proxy:3128 answered CONNECT with 0",
            ),
            (
                b"HTTP/1.1 200 OK\r\n",
                "the proxy proxy:3128 cannot be used",
            ),
            (
                long,
                "the proxy proxy:3128 cannot be used: its answer is too long",
            ),
        ] {
            let (opened, _) = connect(answer).await;
            let error = opened.expect_err("refused");
            let shown = format!("{error} {error:?}");
            assert!(shown.starts_with(text), "{shown}");
            assert!(
                !shown.contains("hunter2") && !shown.contains("bWU6"),
                "{shown}"
            );
        }
    }
}
