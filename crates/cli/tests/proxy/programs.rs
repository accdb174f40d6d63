//! Programs that send a part of a browser's headers use the proxy as before.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use token_rotator_testkit::Upstream;

use crate::sidecar::Sidecar;
use crate::tools::{missing, python_with, works};
use crate::user::User;

/// Connects with websocket-client, which sends the target's own `Origin`. The script is the upstream too:
/// it prints its port, reads the proxy's URL, and then connects.
const WEBSOCKET: &str = r#"
import base64, hashlib, socket, sys, threading, websocket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
proxy = sys.stdin.readline().strip().replace("http:", "ws:")
def serve():
    connection, _ = server.accept()
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    fields = {name.lower(): value for name, value in fields.items()}
    assert fields["authorization"].startswith("Bearer "), fields
    key = fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    connection.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").encode() + b"\x81\x02hi")
    connection.recv(10)
threading.Thread(target=serve, daemon=True).start()
socket = websocket.create_connection(proxy + "/socket", timeout=20)
assert socket.recv() == "hi"
socket.close()
"#;

fn assert_success(output: &Output, program: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_node_and_requests_are_served() {
    let node = works(Path::new("node"), &["-e", "fetch"]);
    let curl = works(Path::new("curl"), &["--version"]);
    let python = python_with("requests");
    if missing("curl", curl)
        || missing("Node.js 18 or newer", node)
        || missing("Python with `requests`", python.is_some())
    {
        return;
    }
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let url = format!("{}/echo", proxy.url);
    let fetch = format!(
        "for (const method of ['GET', 'POST', 'DELETE']) {{ \
           const answer = await fetch('{url}', {{ method }}); \
           if (answer.status !== 200) throw new Error(answer.status); }}"
    );
    let requests = format!(
        "import requests\n\
         for method in ['GET', 'POST', 'DELETE']: \
         requests.request(method, '{url}').raise_for_status()"
    );
    let python = python.expect("checked above");
    for (program, arguments) in [
        (
            Path::new("curl"),
            vec![
                "--fail",
                "--silent",
                "--noproxy",
                "*",
                "--request",
                "POST",
                &url,
            ],
        ),
        (Path::new("node"), vec!["--input-type=module", "-e", &fetch]),
        (&python, vec!["-c", &requests]),
    ] {
        let mut command = Command::new(program);
        command.args(arguments).env("NO_PROXY", "*");
        let output = command.output().expect("it runs");
        assert_success(&output, &program.display().to_string());
    }
    assert_eq!(upstream.record().len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_client_is_served() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let Some(python) = python_with("websocket") else {
        println!("skipped: Python has no `websocket-client`");
        return;
    };
    let mut script = Command::new(python)
        .args(["-c", WEBSOCKET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut port = String::new();
    let mut out = BufReader::new(script.stdout.take().expect("its output"));
    out.read_line(&mut port).expect("its port");
    let upstream = format!("http://127.0.0.1:{}", port.trim());
    let user = User::signed_in().await;
    let proxy = Sidecar::start_with(&user, &["--upstream", &upstream]);
    let mut stdin = script.stdin.take().expect("its input");
    writeln!(stdin, "{}", proxy.url).expect("written");
    let output = script.wait_with_output().expect("it ended");
    assert_success(&output, "websocket-client");
}
