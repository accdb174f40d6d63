//! TCP keep-alive, which detects a peer that vanished without closing its connection.

use std::io;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

/// How long nothing is heard of a peer before the kernel asks whether it is there.
const QUIET: Duration = Duration::from_secs(60);

/// Between two questions; most systems ask eight or nine times.
const AGAIN: Duration = Duration::from_secs(8);

/// Has the kernel see to it that the other end of a TCP connection is still there (RFC 9293
/// section 3.8.4). Of a listener's, all that it accepts have it too.
pub(crate) fn watch(socket: &Socket) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new().with_time(QUIET).with_interval(AGAIN);
    socket.set_tcp_keepalive(&keep_alive)
}
