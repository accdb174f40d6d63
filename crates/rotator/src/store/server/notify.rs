//! Passes a server's notifications to the waiting tasks of this process. The tasks also poll,
//! because a notification may be lost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime;
use crate::runtime::sync::lock_std;

/// The first pause between two polls. Each poll without a notification doubles it.
const POLL_MIN: Duration = Duration::from_millis(250);
/// The longest pause between two polls.
const POLL_MAX: Duration = Duration::from_secs(1);

/// The subscriptions of one store, by topic.
#[derive(Debug, Default)]
pub struct ChangeNotifier {
    topics: Mutex<HashMap<String, watch::Sender<()>>>,
}

/// Receives the notifications of one topic. It keeps a notification that arrives while no task
/// waits.
#[derive(Debug)]
pub struct Subscription {
    notified: watch::Receiver<()>,
    pause: Duration,
}

impl ChangeNotifier {
    /// Subscribes to this topic.
    pub fn subscribe(&self, topic: &str) -> Subscription {
        let mut topics = self.topics();
        topics.retain(|_, sender| sender.receiver_count() > 0);
        let sender = topics.entry(topic.to_owned());
        Subscription {
            notified: sender.or_insert_with(|| watch::Sender::new(())).subscribe(),
            pause: POLL_MIN,
        }
    }

    /// Notifies the subscriptions of this topic.
    pub fn notify(&self, topic: &str) {
        if let Some(sender) = self.topics().get(topic) {
            sender.send_replace(());
        }
    }

    /// Notifies every subscription, because a notification may have been lost.
    pub fn notify_all(&self) {
        for sender in self.topics().values() {
            sender.send_replace(());
        }
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        lock_std(&self.topics)
    }
}

impl Subscription {
    /// Waits for a notification since the last call, or until the next poll is due, but at most
    /// `at_most`. Returns whether there was a notification.
    ///
    /// The first poll is due after 250 ms. Each poll doubles the pause, up to 1 s. Notifications do
    /// not lengthen it.
    pub async fn changed(&mut self, at_most: Duration) -> bool {
        let pause = self.pause.min(at_most);
        let notified = async {
            if self.notified.changed().await.is_err() {
                // The store was dropped, so no notification follows. The subscription only polls.
                std::future::pending::<()>().await;
            }
        };
        let notified = runtime::timeout(pause, notified).await.is_some();
        if !notified {
            self.pause = (self.pause * 2).min(POLL_MAX);
        }
        notified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: a notification that arrives before the wait ends the wait, once and only for its
    /// topic.
    #[tokio::test(start_paused = true)]
    async fn a_notification_before_the_wait_ends_it() {
        const LONG: Duration = Duration::from_secs(60);
        let changes = ChangeNotifier::default();
        let (mut one, mut other) = (changes.subscribe("one"), changes.subscribe("other"));
        changes.notify("one");
        assert!(one.changed(LONG).await);
        assert!(!one.changed(LONG).await, "notified twice");
        assert!(!other.changed(LONG).await, "notified of another topic");
        changes.notify_all();
        assert!(one.changed(LONG).await && other.changed(LONG).await);
    }

    /// Property: without notifications the first poll is due after 250 ms. The pause doubles up to
    /// 1 s and never exceeds the caller's limit.
    #[tokio::test(start_paused = true)]
    async fn polls_become_less_frequent() {
        let changes = ChangeNotifier::default();
        let mut subscription = changes.subscribe("one");
        for (at_most, waited) in [
            (9_000, 250),
            (9_000, 500),
            (9_000, 1_000),
            (9_000, 1_000),
            (7, 7),
        ] {
            let begun = tokio::time::Instant::now();
            assert!(!subscription.changed(Duration::from_millis(at_most)).await);
            // Tokio's timer counts in milliseconds.
            let over = begun
                .elapsed()
                .saturating_sub(Duration::from_millis(waited));
            assert!(over <= Duration::from_millis(1), "{over:?} after {waited}");
        }
    }

    /// Property: notifications do not delay the next poll.
    #[tokio::test(start_paused = true)]
    async fn notifications_do_not_delay_the_next_poll() {
        const LONG: Duration = Duration::from_secs(60);
        let changes = ChangeNotifier::default();
        let mut subscription = changes.subscribe("one");
        for _ in 0..3 {
            changes.notify("one");
            assert!(subscription.changed(LONG).await);
        }
        let begun = tokio::time::Instant::now();
        assert!(!subscription.changed(LONG).await);
        assert!(begun.elapsed() < POLL_MIN * 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn topics_without_subscriptions_are_removed() {
        let changes = ChangeNotifier::default();
        drop(changes.subscribe("one"));
        let _other = changes.subscribe("other");
        assert_eq!(changes.topics().len(), 1);
    }
}
