//! Copies bytes between the two connections of an upgraded request.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::time::Instant;
use tokio_util::io::InspectReader;

use crate::timer::DeadlineTimer;

/// Copies bytes in both directions. Ends when both sides have ended, one side fails, or no byte
/// arrives for `idle_timeout`.
pub(crate) async fn join<A, B>(mut a: A, mut b: B, idle_timeout: Option<Duration>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    // An error is dropped: closing both streams is the only possible reaction.
    let Some(idle_timeout) = idle_timeout else {
        let _ = copy_bidirectional(&mut a, &mut b).await;
        return;
    };
    let has_progress = AtomicBool::new(false);
    let mark_progress = |bytes: &[u8]| {
        if !bytes.is_empty() {
            has_progress.store(true, Ordering::Relaxed);
        }
    };
    let (mut a, mut b) = (
        InspectReader::new(a, mark_progress),
        InspectReader::new(b, mark_progress),
    );
    let mut copied = pin!(copy_bidirectional(&mut a, &mut b));
    let mut timer = DeadlineTimer::default();
    timer.start(Some(idle_timeout));
    poll_fn(|context| {
        if copied.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if has_progress.swap(false, Ordering::Relaxed) {
            timer.set_at(Some(Instant::now() + idle_timeout));
        }
        timer.poll(context)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

    /// Property: bytes in either direction restart the idle time.
    #[tokio::test(start_paused = true)]
    async fn bytes_in_either_direction_restart_the_idle_time() {
        for swapped in [false, true] {
            let ((mut near, a), (b, mut far)) = (duplex(64), duplex(64));
            let began = Instant::now();
            let joined = tokio::spawn(async move {
                if swapped {
                    join(b, a, Some(IDLE_TIMEOUT)).await;
                } else {
                    join(a, b, Some(IDLE_TIMEOUT)).await;
                }
            });
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                near.write_all(b"x").await.expect("sent");
                assert_eq!(far.read_u8().await.expect("received"), b'x');
            }
            joined.await.expect("no panic");
            assert_eq!(began.elapsed().as_secs(), 5 * 9 + 10);
            assert_eq!(far.read(&mut [0]).await.expect("the end"), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_the_tunnel_stays_open() {
        let ((_near, a), (b, _far)) = (duplex(64), duplex(64));
        let day = Duration::from_secs(24 * 60 * 60);
        let joined = tokio::time::timeout(day, join(a, b, None)).await;
        assert!(joined.is_err());
    }
}
