//! For those who write stores: what a server tells of, handed on to whoever in this process waits
//! for it, and the pace at which they look all the same, in case a message was lost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime;
use crate::runtime::sync::lock_std;

/// The first wait of a look that nothing has told of; it doubles.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The longest such wait.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// Who waits for what. One for each store: topics are its sessions.
#[derive(Debug, Default)]
pub struct News {
    topics: Mutex<HashMap<String, watch::Sender<()>>>,
}

/// Hears of one topic from the moment it was made, also what was told while nobody waited.
#[derive(Debug)]
pub struct Listening {
    told: watch::Receiver<()>,
    pause: Duration,
}

impl News {
    /// Listens to this topic from now on.
    pub fn listen(&self, topic: &str) -> Listening {
        let mut topics = self.topics();
        topics.retain(|_, sender| sender.receiver_count() > 0);
        let sender = topics.entry(topic.to_owned());
        Listening {
            told: sender.or_insert_with(|| watch::Sender::new(())).subscribe(),
            pause: LOOK_AGAIN,
        }
    }

    /// Something has happened to this topic.
    pub fn tell(&self, topic: &str) {
        if let Some(sender) = self.topics().get(topic) {
            sender.send_replace(());
        }
    }

    /// Something may have been missed: everybody is to look.
    pub fn tell_all(&self) {
        for sender in self.topics().values() {
            sender.send_replace(());
        }
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        lock_std(&self.topics)
    }
}

impl Listening {
    /// Ends when something was told since the last time, and when it is time to look all the same
    /// (after 250 ms at first, a second later, counted in looks that nothing has told of), but waits
    /// no longer than `at_most`. Whether something was told.
    pub async fn heard(&mut self, at_most: Duration) -> bool {
        let pause = self.pause.min(at_most);
        let told = async {
            if self.told.changed().await.is_err() {
                // The store is gone; whoever still waits goes by the clock.
                std::future::pending::<()>().await;
            }
        };
        let told = runtime::timeout(pause, told).await.is_some();
        if !told {
            self.pause = (self.pause * 2).min(LOOK_AGAIN_MAX);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was told before the wait is heard, once, and by those of its topic alone.
    #[tokio::test(start_paused = true)]
    async fn what_was_told_before_the_wait_is_heard() {
        const LONG: Duration = Duration::from_secs(60);
        let news = News::default();
        let (mut one, mut other) = (news.listen("one"), news.listen("other"));
        news.tell("one");
        assert!(one.heard(LONG).await);
        assert!(!one.heard(LONG).await, "heard twice");
        assert!(!other.heard(LONG).await, "another's");
        news.tell_all();
        assert!(one.heard(LONG).await && other.heard(LONG).await);
    }

    /// Where nothing is told it is time to look after a quarter of a second, then less often; and
    /// never later than asked for.
    #[tokio::test(start_paused = true)]
    async fn it_is_looked_for_all_the_same() {
        let news = News::default();
        let mut listening = news.listen("one");
        for (at_most, waited) in [
            (9_000, 250),
            (9_000, 500),
            (9_000, 1_000),
            (9_000, 1_000),
            (7, 7),
        ] {
            let begun = tokio::time::Instant::now();
            assert!(!listening.heard(Duration::from_millis(at_most)).await);
            // The timer's wheel has teeth of a millisecond.
            let over = begun
                .elapsed()
                .saturating_sub(Duration::from_millis(waited));
            assert!(over <= Duration::from_millis(1), "{over:?} after {waited}");
        }
    }

    /// Whoever was told something that did not help looks again as soon as if nothing had been told.
    #[tokio::test(start_paused = true)]
    async fn what_is_told_puts_off_no_look() {
        const LONG: Duration = Duration::from_secs(60);
        let news = News::default();
        let mut listening = news.listen("one");
        for _ in 0..3 {
            news.tell("one");
            assert!(listening.heard(LONG).await);
        }
        let begun = tokio::time::Instant::now();
        assert!(!listening.heard(LONG).await);
        assert!(begun.elapsed() < LOOK_AGAIN * 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn nobody_left_is_forgotten() {
        let news = News::default();
        drop(news.listen("one"));
        let _other = news.listen("other");
        assert_eq!(news.topics().len(), 1);
    }
}
