//! A server of issuer metadata, without endpoints.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

/// Serves metadata with an authorization endpoint, a token endpoint and `more` until the test ends.
/// Returns the URL of the issuer.
pub(crate) fn serve(more: &Value) -> String {
    let (listener, issuer) = listen();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
    });
    let fields = document.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    respond_always(listener, "200 OK", document.to_string());
    issuer
}

/// Answers every request with 503 until the test ends. Returns the URL of the issuer.
pub(crate) fn serve_unavailable() -> String {
    let (listener, issuer) = listen();
    respond_always(listener, "503 Service Unavailable", String::new());
    issuer
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let issuer = format!("http://{}", listener.local_addr().expect("its address"));
    (listener, issuer)
}

fn respond_always(listener: TcpListener, status: &'static str, text: String) {
    std::thread::spawn(move || {
        // A closed connection is ignored.
        while let Ok((stream, _)) = listener.accept() {
            let _ = respond(&stream, status, &text);
        }
    });
}

fn respond(mut stream: &TcpStream, status: &str, text: &str) -> std::io::Result<()> {
    let lines = BufReader::new(stream).lines();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    )
}
