//! Opens a connection to an upstream: TCP or unix socket, TLS, and the choice of protocol.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, DEFAULT_VERSIONS};
use rustls_platform_verifier::Verifier;
use socket2::SockRef;
use token_rotator::Origin;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::Stream;
use crate::config::{Protocol, Route};
use crate::keep_alive;

/// Opens connections to one upstream.
pub(crate) struct UpstreamConnector {
    host: String,
    port: u16,
    #[cfg_attr(not(unix), allow(dead_code))]
    socket: Option<PathBuf>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    protocol: Protocol,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the upstream cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("the upstream did not connect in time")]
    TimedOut,
    #[error("the upstream does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
}

impl UpstreamConnector {
    pub(crate) fn new(route: &Route, origin: &Origin) -> Result<Self, String> {
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
        })
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
    pub(crate) async fn connect(&self, deadline: Instant) -> Result<(Stream, bool), ConnectError> {
        match tokio::time::timeout_at(deadline, self.open()).await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    async fn open(&self) -> Result<(Stream, bool), std::io::Error> {
        let http2_without_tls = self.protocol == Protocol::Http2;
        #[cfg(unix)]
        if let Some(path) = &self.socket {
            let stream = tokio::net::UnixStream::connect(path).await?;
            return Ok((Stream::Unix(stream), http2_without_tls));
        }
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        keep_alive::enable(&SockRef::from(&tcp))?;
        let Some((connector, name)) = &self.tls else {
            return Ok((Stream::Tcp(tcp), http2_without_tls));
        };
        let tls = connector.connect(name.clone(), tcp).await?;
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Stream::Tls(Box::new(tls)), http2))
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
