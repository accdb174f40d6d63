//! TLS by rustls (feature `rustls`): certificates of the platform, or of a file.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::client::TlsStream;

/// Certificates for connections with TLS. Without any, the platform decides which servers it trusts.
#[derive(Clone, Default)]
pub struct TlsCertificates {
    roots: Option<Vec<u8>>,
    client: Option<Arc<ClientCertificate>>,
}

/// A certificate with its chain, and its key (PEM).
struct ClientCertificate {
    chain: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

/// The certificates cannot be used. The message shows no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateProblem(String);

impl TlsCertificates {
    /// Trusts servers with a certificate of these authorities (PEM), in place of those of the platform.
    pub fn roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Presents this certificate with its chain, and its key, to the server (PEM).
    pub fn client(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client = Some(Arc::new(ClientCertificate {
            chain: certificate.into(),
            key: zeroize::Zeroizing::new(key.into()),
        }));
        self
    }

    /// Builds the connector. `checks_name`: the certificate must name the host.
    pub(crate) fn connector(
        &self,
        checks_name: bool,
    ) -> Result<RustlsConnector, CertificateProblem> {
        let problem = |error: &dyn std::fmt::Display| CertificateProblem(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if let Some(pem) = &self.roots {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| problem(&error))?;
                roots.add(certificate).map_err(|error| problem(&error))?;
            }
            let roots = Arc::new(roots);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| problem(&error))?
        } else {
            let verifier = Verifier::new(Arc::clone(&provider));
            Arc::new(verifier.map_err(|error| problem(&error))?)
        };
        let verifier: Arc<dyn ServerCertVerifier> = if checks_name {
            verifier
        } else {
            Arc::new(AnyName(verifier))
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| problem(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some(client) = &self.client else {
            return Ok(RustlsConnector(Arc::new(config.with_no_client_auth())));
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&client.chain).collect();
        let chain = chain.map_err(|error| problem(&error))?;
        // The text of the error could quote the key.
        let key = PrivateKeyDer::from_pem_slice(&client.key)
            .map_err(|_| problem(&"the key of the client certificate is no PEM"))?;
        let config = config
            .with_client_auth_cert(chain, key)
            .map_err(|error| problem(&error))?;
        Ok(RustlsConnector(Arc::new(config)))
    }
}

impl std::fmt::Debug for TlsCertificates {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TlsCertificates")
            .field("roots", &self.roots.is_some())
            .field("client", &self.client.is_some())
            .finish()
    }
}

/// Accepts a certificate of a trusted authority whatever host it names (`sslmode=verify-ca`).
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The verifier checks the name last.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Makes connections with TLS.
#[derive(Clone)]
pub(crate) struct RustlsConnector(Arc<ClientConfig>);

/// One connection to a host.
pub(crate) struct HostConnector {
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl<S> MakeTlsConnect<S> for RustlsConnector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = EncryptedStream<S>;
    type TlsConnect = HostConnector;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<HostConnector> {
        let name = ServerName::try_from(host.to_owned());
        // A socket has no host name. Its connections use no TLS, and this name is not used.
        let host = name.or_else(|_| ServerName::try_from("localhost"));
        Ok(HostConnector {
            config: Arc::clone(&self.0),
            host: host.map_err(io::Error::other)?,
        })
    }
}

impl<S> TlsConnect<S> for HostConnector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = EncryptedStream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<EncryptedStream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connector = tokio_rustls::TlsConnector::from(self.config);
        Box::pin(async move {
            let stream = connector.connect(self.host, stream).await?;
            Ok(EncryptedStream(stream))
        })
    }
}

/// A connection with TLS. It offers no channel binding, so the server falls back to SCRAM without it.
pub(crate) struct EncryptedStream<S>(TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for EncryptedStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for EncryptedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for EncryptedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
