//! Raw connections: callers and upstreams that send exact bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(10);

/// An upstream that answers each request with the next bytes of its script and repeats the last
/// entry. It records the received heads.
pub(crate) struct RawUpstream {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl RawUpstream {
    pub(crate) async fn with_script(script: &[&str]) -> Self {
        let script: Vec<String> = script.iter().map(|&answer| answer.to_owned()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let recorded_heads = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(
                    stream,
                    script.clone(),
                    Arc::clone(&recorded_heads),
                ));
            }
        });
        Self { url, heads, task }
    }

    async fn serve(
        mut stream: TcpStream,
        script: Vec<String>,
        recorded_heads: Arc<Mutex<Vec<String>>>,
    ) {
        while let Some(head) = read_head(&mut stream).await {
            let number = {
                let mut recorded_heads = recorded_heads.lock().expect("no panic");
                recorded_heads.push(head);
                recorded_heads.len() - 1
            };
            let answer = &script[number.min(script.len() - 1)];
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            let switched = answer.starts_with("HTTP/1.1 101");
            let closes = answer.contains("connection: close");
            if switched {
                let (mut read, mut write) = stream.split();
                // The tunnel ends when the peer closes.
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }
            if switched || closes {
                return;
            }
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the heads of the received requests in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads the head of a message in lower case. Returns `None` at the end of the stream.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

/// A caller with a raw connection to the proxy.
pub(crate) struct Caller(pub(crate) TcpStream);

impl Caller {
    pub(crate) async fn to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        Self(stream.expect("a connection"))
    }

    pub(crate) async fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// Reads the head of the next answer.
    pub(crate) async fn head(&mut self) -> String {
        let head = tokio::time::timeout(PATIENCE, read_head(&mut self.0)).await;
        head.expect("in time").expect("an answer")
    }

    /// Reads everything until the proxy closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        // A reset counts as an end too.
        let _ = read.expect("the proxy closes");
        String::from_utf8_lossy(&rest).into_owned()
    }

    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut bytes)).await;
        read.expect("in time").expect("so many bytes");
        bytes
    }
}
