//! Reads the rest of a refused answer.

use std::pin::pin;
use std::time::Duration;

use http_body::Body;

use crate::rotator::Rotator;

/// The most bytes of an answer that are read.
const DRAIN_BYTES: usize = 16 * 1024;
/// The longest time that an answer is read.
const DRAIN_TIME: Duration = Duration::from_millis(50);

impl Rotator {
    /// Reads the rest of an answer that is not handed on, at most 16 KiB for at most 50 ms. The
    /// connection of a fully read answer can be used again.
    pub(crate) async fn drain<B: Body>(&self, body: B) {
        let rest = async {
            let mut body = pin!(body);
            let mut left = DRAIN_BYTES;
            while let Some(Ok(frame)) =
                std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
            {
                let read = frame.data_ref().map_or(0, bytes::Buf::remaining);
                // An empty frame counts too: a body that is always ready leaves the timer no turn.
                match left.checked_sub(read.max(1)) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        // Without a timer the body is dropped unread, which closes its connection.
        let _ = self.session.runtime.timeout(DRAIN_TIME, rest).await;
    }
}
