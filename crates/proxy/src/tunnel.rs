//! Two connections that have become one.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::time::Instant;
use tokio_util::io::InspectReader;

use crate::timer::Alarm;

/// Hands bytes on in both directions until both have ended, one has broken off, or none has come
/// for so long.
pub(crate) async fn join<A, B>(mut a: A, mut b: B, patience: Option<Duration>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    // An end that breaks off ends the other: there is nobody left to tell.
    let Some(patience) = patience else {
        let _ = copy_bidirectional(&mut a, &mut b).await;
        return;
    };
    let moved = AtomicBool::new(false);
    let note = |bytes: &[u8]| {
        if !bytes.is_empty() {
            moved.store(true, Ordering::Relaxed);
        }
    };
    let (mut a, mut b) = (InspectReader::new(a, note), InspectReader::new(b, note));
    let mut copied = pin!(copy_bidirectional(&mut a, &mut b));
    let mut alarm = Alarm::default();
    alarm.start(Some(patience));
    poll_fn(|context| {
        if copied.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if moved.swap(false, Ordering::Relaxed) {
            alarm.set_at(Some(Instant::now() + patience));
        }
        alarm.poll(context)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Bytes in either direction alone put the end off; without a limit there is none.
    #[tokio::test(start_paused = true)]
    async fn either_direction_counts() {
        for swapped in [false, true] {
            let ((mut near, a), (b, mut far)) = (duplex(64), duplex(64));
            let began = Instant::now();
            let joined = tokio::spawn(async move {
                if swapped {
                    join(b, a, Some(PATIENCE)).await;
                } else {
                    join(a, b, Some(PATIENCE)).await;
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
    async fn without_a_limit_there_is_no_end() {
        let ((_near, a), (b, _far)) = (duplex(64), duplex(64));
        let day = Duration::from_secs(24 * 60 * 60);
        let joined = tokio::time::timeout(day, join(a, b, None)).await;
        assert!(joined.is_err());
    }
}
