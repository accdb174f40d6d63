//! An upstream that parses strictly, and records every byte sequence that another parser could read
//! differently.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Default)]
struct Observations {
    violations: Arc<Mutex<Vec<String>>>,
    requests: Arc<AtomicUsize>,
}

pub(crate) struct StrictUpstream {
    url: String,
    notes: Observations,
}

impl StrictUpstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let notes = Observations::default();
        let shared_notes = notes.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(notes.clone().serve(stream));
            }
        });
        Self {
            url,
            notes: shared_notes,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn requests(&self) -> usize {
        self.notes.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.notes.violations.lock().expect("no panic").clone()
    }
}

impl Observations {
    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        // If a body is incomplete, the connection ends: no later bytes are a request.
        while let Ok(Some(close)) = self.request(&mut stream).await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.get_mut().write_all(answer).await.is_err() || close {
                return;
            }
        }
    }

    async fn request(&self, stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<bool>> {
        let line = read_line(stream).await?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut lines = vec![line];
        while lines.last().is_some_and(|line| line != "\r\n") {
            lines.push(read_line(stream).await?);
            if lines.last().is_some_and(String::is_empty) {
                return Ok(None);
            }
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let whole = lines.concat();
        let plain = |line: &String| {
            line.ends_with("\r\n")
                && !line[..line.len() - 2].contains(['\r', '\n', '\0'])
                && !line.starts_with([' ', '\t'])
        };
        if !lines.iter().all(plain) {
            self.note("bare line ends, nulls or folded lines", &whole);
        }
        let fields: Vec<(String, String)> = lines[1..lines.len() - 1]
            .iter()
            .filter_map(|line| line.trim_end().split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let all = |wanted: &str| -> Vec<&str> {
            let named = fields.iter().filter(|(name, _)| name == wanted);
            named.map(|(_, value)| value.as_str()).collect()
        };
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        if lengths.len() + codings.len() > 1 || codings.iter().any(|coding| *coding != "chunked") {
            self.note("more than one framing", &whole);
        }
        if all("host").len() != 1 || all("authorization") != ["Bearer the-token"] {
            self.note("not one host and the one token", &whole);
        }
        let target = lines[0].split(' ').nth(1).unwrap_or_default();
        if target.contains("smuggled") || !target.starts_with('/') {
            self.note("a target that no test requested", &whole);
        }
        if codings.len() == 1 {
            self.chunks(stream, &whole).await?;
        } else if let Some(length) = lengths.first() {
            match length.parse() {
                Ok(length) => {
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await?;
                }
                Err(_) => self.note("a length that is none", &whole),
            }
        }
        Ok(Some(all("connection").contains(&"close")))
    }

    async fn chunks(&self, stream: &mut BufReader<TcpStream>, whole: &str) -> std::io::Result<()> {
        loop {
            let line = read_line(stream).await?;
            let size = line.strip_suffix("\r\n");
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let Some(size) = size else {
                if !line.is_empty() {
                    self.note("a chunk's size that is none", &format!("{whole}{line}"));
                }
                return Err(std::io::ErrorKind::InvalidData.into());
            };
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await?;
            if !chunk.ends_with(b"\r\n") {
                self.note("a chunk that is longer than it says", whole);
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn note(&self, what: &str, of: &str) {
        let note = format!("{what}: {of:?}");
        self.violations.lock().expect("no panic").push(note);
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}
