//! Detects peers that are gone without closing their connection.

use std::io;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

/// Time without data from a peer before the kernel sends the first probe.
const FIRST_PROBE_AFTER: Duration = Duration::from_secs(60);

/// Time between two probes. Most systems send eight or nine probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(8);

/// Enables TCP keep-alive probes on a socket (RFC 9293 section 3.8.4). Connections that a listener
/// accepts inherit the setting.
pub(crate) fn enable(socket: &Socket) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new()
        .with_time(FIRST_PROBE_AFTER)
        .with_interval(PROBE_INTERVAL);
    socket.set_tcp_keepalive(&keep_alive)
}
