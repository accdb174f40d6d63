//! The one connection on which the server tells of changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::PubSub;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::link::Link;
use token_rotator::news::{Listening, News};

/// The first wait before a lost subscription is made again; it doubles.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// After so long without a message the server is asked whether it is still there.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Subscribes when somebody listens for the first time, and from then on for as long as the store
/// is there.
pub(crate) struct Subscriber {
    link: Arc<Link>,
    channel: Arc<str>,
    news: Arc<News>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Subscriber {
    pub(crate) fn new(link: Arc<Link>, channel: String) -> Self {
        Self {
            link,
            channel: channel.into(),
            news: Arc::default(),
            task: Mutex::default(),
        }
    }

    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// Hears of this topic from now on. Whoever listens looks for themselves after that: what was
    /// told before the subscription stands is told again when it does.
    pub(crate) fn listen(&self, topic: &str) -> Listening {
        let listening = self.news.listen(topic);
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        // The runtime it ran on may have ended.
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let (link, news) = (Arc::clone(&self.link), Arc::clone(&self.news));
            *task = Some(tokio::spawn(run(link, Arc::clone(&self.channel), news)));
        }
        listening
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

async fn run(link: Arc<Link>, channel: Arc<str>, news: Arc<News>) {
    let mut wait = AGAIN;
    loop {
        match link.subscription(&channel).await {
            Ok(subscription) => {
                wait = AGAIN;
                debug!(channel = &*channel, "subscribed");
                news.tell_all();
                hear(subscription, &link, &news).await;
                debug!(channel = &*channel, "the subscription was lost");
            }
            Err(fault) => debug!(channel = &*channel, %fault, "cannot subscribe"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_MAX);
    }
}

/// Hands messages on until the connection is lost.
async fn hear(subscription: PubSub, link: &Link, news: &News) {
    let (mut sink, mut messages) = subscription.split();
    loop {
        match tokio::time::timeout(SILENCE_MAX, messages.next()).await {
            Ok(Some(message)) => match message.get_payload::<String>() {
                Ok(topic) => news.tell(&topic),
                Err(_) => news.tell_all(),
            },
            Ok(None) => return,
            Err(_) => {
                let ping = sink.ping::<redis::Value>();
                match tokio::time::timeout(link.limit(), ping).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                }
            }
        }
    }
}
