//! The event stream of the page: first the whole state, then the changes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::body::AdminBody;
use super::sessions::{SessionActivity, SessionSnapshot, wall_millis};
use super::timeline::{StormPosition, ViewerGuard};
use crate::routes::NamedSession;
use crate::worker::SharedState;

/// Least time between two messages. It combines the steps of a storm into few messages.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(40);

/// Time between two checks of the sessions. A token expires without an event.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Time without a message after which a comment is sent, to detect a closed connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Time for a reader to take a message before its connection is closed.
const READER_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns a stream of events, or `None` if the page has too many viewers.
///
/// Messages do not queue up: a slow reader gets fewer messages, each with all changes since the
/// previous message. The connection of a reader that takes no message is closed.
pub(crate) fn open(
    shared: &Arc<SharedState>,
    method: &Method,
    hang_up: &Arc<Notify>,
) -> Option<AdminBody> {
    if method == Method::HEAD {
        return Some(AdminBody::full(Bytes::new()));
    }
    let viewer = shared.timeline.add_viewer()?;
    let (sender, receiver) = mpsc::channel(1);
    let feed = Feed {
        shared: Arc::clone(shared),
        sender,
        sent: SentState::default(),
        _viewer: viewer,
    };
    let hang_up = Arc::clone(hang_up);
    tokio::spawn(async move {
        if feed.run().await == FeedEnd::ReaderStuck {
            hang_up.notify_one();
        }
    });
    Some(AdminBody::Events(receiver))
}

/// Returns the whole state as JSON.
pub(crate) fn state(shared: &SharedState) -> String {
    SentState::default().take_changes(shared).to_string()
}

struct Feed {
    shared: Arc<SharedState>,
    sender: mpsc::Sender<Bytes>,
    sent: SentState,
    _viewer: ViewerGuard,
}

#[derive(PartialEq)]
enum FeedEnd {
    /// The reader closed its connection.
    ReaderGone,
    /// The reader took no message for [`READER_TIMEOUT`].
    ReaderStuck,
}

impl Feed {
    async fn run(mut self) -> FeedEnd {
        let mut updates = self.shared.timeline.subscribe();
        let mut kind = "snapshot";
        loop {
            updates.borrow_and_update();
            let changes = self.sent.take_changes(&self.shared);
            // The snapshot is sent even if it is empty.
            if kind == "snapshot" || SentState::is_worth_sending(&changes) {
                let message = format!("event: {kind}\ndata: {changes}\n\n");
                if let Err(end) = self.send(message).await {
                    return end;
                }
                kind = "change";
            }
            sleep(MESSAGE_INTERVAL).await;
            let keep_alive = sleep(KEEP_ALIVE_INTERVAL);
            tokio::pin!(keep_alive);
            loop {
                tokio::select! {
                    _ = updates.changed() => break,
                    () = self.sender.closed() => return FeedEnd::ReaderGone,
                    () = sleep(SESSION_CHECK_INTERVAL) => if self.sent.sessions_changed(&self.shared) { break },
                    () = &mut keep_alive => {
                        if let Err(end) = self.send(":\n\n".to_owned()).await {
                            return end;
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn send(&self, message: String) -> Result<(), FeedEnd> {
        match timeout(READER_TIMEOUT, self.sender.send(Bytes::from(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(FeedEnd::ReaderGone),
            Err(_) => Err(FeedEnd::ReaderStuck),
        }
    }
}

/// The state that a reader has received.
#[derive(Default)]
struct SentState {
    sessions: Option<Vec<Value>>,
    storm: StormPosition,
}

impl SentState {
    /// Returns the changes as JSON and records them as sent.
    fn take_changes(&mut self, shared: &SharedState) -> Value {
        let mut changes = Map::new();
        let sessions = sessions(shared);
        if self.sessions.as_ref() != Some(&sessions) {
            self.sessions = Some(sessions.clone());
            changes.insert("sessions".to_owned(), Value::Array(sessions));
        }
        if let Some((storm, position)) = shared.timeline.storm(self.storm) {
            self.storm = position;
            changes.insert("storm".to_owned(), storm);
        }
        changes.insert("now".to_owned(), json!(shared.timeline.now()));
        changes.insert("wall".to_owned(), json!(wall_millis(SystemTime::now())));
        Value::Object(changes)
    }

    fn is_worth_sending(changes: &Value) -> bool {
        changes.get("sessions").is_some() || changes.get("storm").is_some()
    }

    fn sessions_changed(&self, shared: &SharedState) -> bool {
        self.sessions.as_ref() != Some(&sessions(shared))
    }
}

fn sessions(shared: &SharedState) -> Vec<Value> {
    let table = shared.table.load();
    let json = |session: &NamedSession| {
        // Reads the rotator first, so that the timeline's lock is not held while it is read.
        let now = SessionSnapshot::of(session);
        let read = |activity: &SessionActivity| activity.json(&now);
        shared.timeline.read(&session.name, read)
    };
    table.sessions().iter().map(json).collect()
}

#[cfg(test)]
mod tests {
    use token_rotator::Event;
    use tokio::time::Instant;

    use super::*;

    fn feed(shared: &Arc<SharedState>) -> (Feed, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(1);
        let feed = Feed {
            shared: Arc::clone(shared),
            sender,
            sent: SentState::default(),
            _viewer: shared.timeline.add_viewer().expect("room"),
        };
        (feed, receiver)
    }

    fn refreshed(shared: &SharedState, generation: u64) {
        let event = Event::Refreshed {
            flight: generation,
            generation,
            lifetime: None,
            took: Duration::from_millis(generation),
        };
        shared.timeline.record(&Arc::from("api"), &event);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_for_ten_seconds_is_disconnected() {
        let shared = SharedState::for_test();
        let (feed, receiver) = feed(&shared);
        let began = Instant::now();
        let ran = tokio::spawn(feed.run());
        // The channel holds one message; the next message finds it full.
        sleep(MESSAGE_INTERVAL).await;
        refreshed(&shared, 1);
        assert!(ran.await.expect("no panic") == FeedEnd::ReaderStuck);
        assert!(began.elapsed() >= READER_TIMEOUT && began.elapsed() < READER_TIMEOUT * 2);
        assert!(!shared.timeline.has_viewers(), "the viewer is removed");
        drop(receiver);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_fewer_messages_and_the_newest_state() {
        let shared = SharedState::for_test();
        let (feed, mut receiver) = feed(&shared);
        let ran = tokio::spawn(feed.run());
        for generation in 1..=50 {
            refreshed(&shared, generation);
            sleep(MESSAGE_INTERVAL).await;
        }
        let (mut messages, mut last) = (0, String::new());
        while let Ok(Some(message)) = timeout(Duration::from_secs(1), receiver.recv()).await {
            messages += 1;
            last = String::from_utf8(message.to_vec()).expect("text");
        }
        assert!((2..5).contains(&messages), "{messages} messages");
        assert!(last.contains("\"generation\":50"), "{last}");
        drop(receiver);
        assert!(ran.await.expect("no panic") == FeedEnd::ReaderGone);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_sends_comments_to_detect_a_closed_connection() {
        let shared = SharedState::for_test();
        let (feed, mut receiver) = feed(&shared);
        let ran = tokio::spawn(feed.run());
        let first = receiver.recv().await.expect("a message");
        assert!(first.starts_with(b"event: snapshot\ndata: {"));
        let began = Instant::now();
        assert_eq!(receiver.recv().await.expect("a message"), ":\n\n");
        assert!(began.elapsed() >= KEEP_ALIVE_INTERVAL);
        drop(receiver);
        assert!(ran.await.expect("no panic") == FeedEnd::ReaderGone);
    }
}
