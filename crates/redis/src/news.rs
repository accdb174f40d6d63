//! What the server tells of, handed on to whoever in this process waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Who waits for what.
#[derive(Default)]
pub(crate) struct News {
    topics: Mutex<HashMap<String, watch::Sender<()>>>,
}

/// Hears of one topic from the moment it was made, also what was told while nobody waited.
pub(crate) struct Listening(watch::Receiver<()>);

impl News {
    pub(crate) fn listen(&self, topic: &str) -> Listening {
        let mut topics = self.topics();
        topics.retain(|_, sender| sender.receiver_count() > 0);
        let sender = topics.entry(topic.to_owned());
        Listening(sender.or_insert_with(|| watch::Sender::new(())).subscribe())
    }

    pub(crate) fn tell(&self, topic: &str) {
        if let Some(sender) = self.topics().get(topic) {
            sender.send_replace(());
        }
    }

    /// Something may have been missed: everybody is to look.
    pub(crate) fn tell_all(&self) {
        for sender in self.topics().values() {
            sender.send_replace(());
        }
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Ends when something was told since the last time.
    pub(crate) async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone; whoever still waits goes by the clock.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_was_told_before_the_wait_is_heard() {
        let news = News::default();
        let (mut one, mut other) = (news.listen("one"), news.listen("other"));
        news.tell("one");
        assert!(one.heard().now_or_never().is_some());
        assert!(one.heard().now_or_never().is_none(), "heard twice");
        assert!(other.heard().now_or_never().is_none(), "another's");
        news.tell_all();
        assert!(one.heard().now_or_never().is_some());
        assert!(other.heard().now_or_never().is_some());
    }

    #[test]
    fn nobody_left_is_forgotten() {
        let news = News::default();
        drop(news.listen("one"));
        let _other = news.listen("other");
        assert_eq!(news.topics().len(), 1);
    }
}
