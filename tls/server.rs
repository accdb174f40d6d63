//! An https server with a certificate of its own authority.

use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What is wrong with the time of the server's certificate.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)] // Each test binary uses its own part.
pub(crate) enum WrongTime {
    NotYet,
    Expired,
}

/// The certificate of the authority.
pub(crate) struct Authority {
    pub(crate) pem: String,
    #[allow(dead_code)]
    pub(crate) der: Vec<u8>,
}

pub(crate) struct TlsServer {
    pub(crate) url: String,
    pub(crate) authority: Authority,
    paths: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    /// Starts a server on this machine, in the runtime of the test.
    pub(crate) async fn start(wrong: Option<WrongTime>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL calls a certificate self-signed if it has the name of its issuer.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority of the test");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");

        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        match wrong {
            Some(WrongTime::NotYet) => params.not_before = date_time_ymd(4000, 1, 1),
            Some(WrongTime::Expired) => params.not_after = date_time_ymd(2001, 1, 1),
            None => {}
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a certificate");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let paths = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&paths);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let answer = service_fn(move |request: Request<Incoming>| {
                        let path = request.uri().path().to_owned();
                        seen.lock().expect("a lock").push(path);
                        async {
                            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from("hello"))))
                        }
                    });
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self {
            url: format!("https://localhost:{port}"),
            authority: Authority {
                pem: authority.pem(),
                der: authority.der().to_vec(),
            },
            paths,
        }
    }

    /// Returns the paths of the requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.lock().expect("a lock").clone()
    }
}
