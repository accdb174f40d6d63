//! An HTTP proxy of a network, which records its requests.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A proxy on a free port of loopback. It opens tunnels (CONNECT) and forwards requests with absolute
/// URIs. Names under `.test` lead to loopback. Stops when it is dropped.
pub struct HttpProxy {
    address: String,
    record: Arc<Mutex<Vec<ProxiedRequest>>>,
    task: JoinHandle<()>,
}

/// A request that a proxy received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedRequest {
    /// Method and target: `CONNECT api.example.test:443`.
    pub line: String,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl HttpProxy {
    /// Starts a proxy. With `credentials` it answers 407 to requests whose `Proxy-Authorization` has
    /// another value.
    ///
    /// # Errors
    ///
    /// Fails if no port can be opened.
    pub async fn start(credentials: Option<&'static str>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let record = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&record);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorded = Arc::clone(&recorded);
                tokio::spawn(async move {
                    // A caller that closes early is no failure of the proxy.
                    let _ = serve(stream, credentials, &recorded).await;
                });
            }
        });
        Ok(Self {
            address,
            record,
            task,
        })
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The requests so far.
    ///
    /// # Panics
    ///
    /// Panics if a task of the proxy has panicked.
    pub fn record(&self) -> Vec<ProxiedRequest> {
        self.record.lock().expect("no panic").clone()
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut caller: TcpStream,
    credentials: Option<&str>,
    record: &Mutex<Vec<ProxiedRequest>>,
) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let head = read_head(&mut caller).await?;
    let (first, fields) = head.split_once("\r\n").ok_or_else(invalid)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(invalid());
    };
    let is_credential = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("proxy-authorization")
    };
    let authorization = fields.lines().find(is_credential);
    let authorization = authorization.and_then(|line| line.split_once(": "));
    let authorization = authorization.map(|(_, value)| value.to_owned());
    let is_accepted = credentials.is_none() || credentials == authorization.as_deref();
    record.lock().expect("no panic").push(ProxiedRequest {
        line: format!("{method} {target}"),
        authorization,
    });
    if !is_accepted {
        let refused = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\
                       connection: close\r\ncontent-length: 0\r\n\r\n";
        caller.write_all(refused.as_bytes()).await?;
        return caller.shutdown().await;
    }
    if method == "CONNECT" {
        let mut upstream = connect(target).await?;
        let opened = b"HTTP/1.1 200 Connection established\r\n\r\n";
        caller.write_all(opened).await?;
        copy_bidirectional(&mut caller, &mut upstream).await?;
        return Ok(());
    }
    let (authority, path) = target
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(invalid)?;
    let mut upstream = connect(authority).await?;
    let mut forwarded = format!("{method} /{path} HTTP/1.1\r\nconnection: close\r\n");
    for line in fields.lines().filter(|line| !is_credential(line)) {
        if !line.is_empty() && !line.to_ascii_lowercase().starts_with("connection:") {
            forwarded += line;
            forwarded += "\r\n";
        }
    }
    forwarded += "\r\n";
    upstream.write_all(forwarded.as_bytes()).await?;
    copy_bidirectional(&mut caller, &mut upstream).await?;
    Ok(())
}

async fn connect(authority: &str) -> io::Result<TcpStream> {
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let is_test = std::path::Path::new(host)
        .extension()
        .is_some_and(|last| last.eq_ignore_ascii_case("test"));
    let host = if is_test { "127.0.0.1" } else { host };
    TcpStream::connect(format!("{host}:{port}")).await
}

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}
