//! Bytes as they are: callers and upstreams that say exactly what a test wants said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(10);

/// An upstream that answers each request, in order, with the next bytes of its script, the last
/// one for ever, and keeps what it was sent.
pub(crate) struct Upstream {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn answering(script: &[&str]) -> Self {
        let script: Vec<String> = script.iter().map(|&answer| answer.to_owned()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, script.clone(), Arc::clone(&seen)));
            }
        });
        Self { url, heads, task }
    }

    async fn serve(mut stream: TcpStream, script: Vec<String>, seen: Arc<Mutex<Vec<String>>>) {
        while let Some(head) = read_head(&mut stream).await {
            let number = {
                let mut seen = seen.lock().expect("no panic");
                seen.push(head);
                seen.len() - 1
            };
            let answer = &script[number.min(script.len() - 1)];
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            let switched = answer.starts_with("HTTP/1.1 101");
            let closes = answer.contains("connection: close");
            if switched {
                let (mut read, mut write) = stream.split();
                // The other end's end is the end of this.
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

    /// The heads of the requests that came in, in small letters.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A message's head, in small letters; `None` at the end of the stream.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

/// A caller.
pub(crate) struct Caller(pub(crate) TcpStream);

impl Caller {
    pub(crate) async fn to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        Self(stream.expect("a connection"))
    }

    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// The head of the next answer.
    pub(crate) async fn head(&mut self) -> String {
        let head = tokio::time::timeout(PATIENCE, read_head(&mut self.0)).await;
        head.expect("in time").expect("an answer")
    }

    /// All that comes until the proxy closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        // A reset is an end as well.
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
