//! Opens a connection to an upstream: TCP or unix socket, TLS, and the choice of protocol.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, DEFAULT_VERSIONS};
use rustls_platform_verifier::Verifier;
use socket2::SockRef;
use token_rotator::Origin;
use token_rotator::middleware::proxies::ProxyAddress;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{CompanyProxy, Stream};
use crate::keep_alive;
use crate::route::{Protocol, Route};

/// Opens connections to one upstream.
pub(crate) struct UpstreamConnector {
    host: String,
    port: u16,
    #[cfg_attr(not(unix), allow(dead_code))]
    socket: Option<PathBuf>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    protocol: Protocol,
    proxy: Option<CompanyProxy>,
}

/// Use of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Requests,
    /// An upgrade, which needs a connection of bytes to the upstream itself.
    Upgrade,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the upstream cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("the proxy {0} cannot be used: {1}")]
    Proxy(String, std::io::Error),
    #[error("the proxy {0} answered CONNECT with {1}")]
    ProxyStatus(String, u16),
    #[error("the proxy {0} does not accept the credentials for it")]
    ProxyCredentials(String),
    #[error("the upstream did not connect in time")]
    TimedOut,
    #[error("the upstream does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
}

impl ConnectError {
    /// Returns the action for the cause, or `None` if the cause has no known action.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Proxy(..) | Self::ProxyStatus(..) => Some(
                "correct `proxy` of the route or `HTTPS_PROXY`, or add the upstream to `NO_PROXY`",
            ),
            Self::ProxyCredentials(_) => Some(
                "write user name and password into `proxy` of the route or into `HTTPS_PROXY`, as in \
                 `http://user:password@host:port`",
            ),
            Self::Io(_) | Self::TimedOut | Self::Http(_) => None,
        }
    }
}

impl UpstreamConnector {
    /// Creates a connector. Without `proxy` it connects to the upstream itself.
    pub(crate) fn new(
        route: &Route,
        origin: &Origin,
        proxy: Option<&ProxyAddress>,
    ) -> Result<Self, String> {
        let host = origin.host().to_string();
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = if origin.scheme() == "https" {
            let name = ServerName::try_from(bare.clone()).map_err(|error| error.to_string())?;
            Some((TlsConnector::from(tls_config(route)?), name))
        } else {
            None
        };
        Ok(Self {
            host: bare,
            port: origin.port(),
            socket: route.upstream_socket.clone(),
            tls,
            protocol: route.protocol,
            proxy: proxy.map(CompanyProxy::new),
        })
    }

    /// Returns the proxy that gets requests with absolute URIs (RFC 9112 section 3.2.2). Returns `None`
    /// if requests go to the upstream itself, or through a tunnel.
    pub(crate) fn forwarding_proxy(&self) -> Option<&CompanyProxy> {
        let forwards = self.tls.is_none() && self.protocol != Protocol::Http2;
        self.proxy.as_ref().filter(|_| forwards)
    }

    /// Returns whether the upstream speaks HTTP/2, or `None` if only a connection can tell.
    pub(crate) fn speaks_http2(&self) -> Option<bool> {
        match self.protocol {
            Protocol::Auto => self.tls.is_none().then_some(false),
            Protocol::Http1 => Some(false),
            Protocol::Http2 => Some(true),
        }
    }

    /// Opens a connection. Returns the stream and whether it speaks HTTP/2.
    ///
    /// *Waits* until `deadline` at most.
    pub(crate) async fn connect(
        &self,
        deadline: Instant,
        purpose: Purpose,
    ) -> Result<(Stream, bool), ConnectError> {
        match tokio::time::timeout_at(deadline, self.open(purpose)).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    async fn open(&self, purpose: Purpose) -> Result<(Stream, bool), ConnectError> {
        let http2_without_tls = self.protocol == Protocol::Http2;
        #[cfg(unix)]
        if let Some(path) = &self.socket {
            let stream = tokio::net::UnixStream::connect(path).await?;
            return Ok((Stream::Unix(stream), http2_without_tls));
        }
        let tcp = self.open_tcp(purpose).await?;
        let Some((connector, name)) = &self.tls else {
            return Ok((Stream::Tcp(tcp), http2_without_tls));
        };
        let tls = connector.connect(name.clone(), tcp).await?;
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Stream::Tls(Box::new(tls)), http2))
    }

    /// Opens a TCP connection to the upstream, through a tunnel if there is a proxy. Returns a
    /// connection to the proxy if it gets absolute URIs.
    async fn open_tcp(&self, purpose: Purpose) -> Result<TcpStream, ConnectError> {
        let prepared = |tcp: TcpStream| {
            tcp.set_nodelay(true)?;
            keep_alive::enable(&SockRef::from(&tcp))?;
            Ok::<_, std::io::Error>(tcp)
        };
        let Some(proxy) = &self.proxy else {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
            return Ok(prepared(tcp)?);
        };
        let failed = |error| ConnectError::Proxy(proxy.shown(), error);
        let tcp = TcpStream::connect((proxy.host.as_str(), proxy.port)).await;
        let mut tcp = tcp.and_then(prepared).map_err(failed)?;
        if self.forwarding_proxy().is_none() || purpose == Purpose::Upgrade {
            let host = &self.host;
            let brackets = if host.contains(':') {
                ["[", "]"]
            } else {
                ["", ""]
            };
            let authority = format!("{}{host}{}:{}", brackets[0], brackets[1], self.port);
            proxy.open_tunnel(&mut tcp, &authority).await?;
        }
        Ok(tcp)
    }
}

fn tls_config(route: &Route) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = route.extra_roots.iter().cloned().map(CertificateDer::from);
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
        .map_err(|error| error.to_string())?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(DEFAULT_VERSIONS)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = match route.protocol {
        Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}
