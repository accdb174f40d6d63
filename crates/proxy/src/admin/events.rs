//! What the page is told: first all there is, then what has changed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::body::AdminBody;
use super::sessions::{Notes, SessionNow, wall_millis};
use super::timeline::{Seen, Watching};
use crate::routes::NamedSession;
use crate::worker::Shared;

/// Between two messages, so that a storm is told in pictures and not step by step.
const PICTURE: Duration = Duration::from_millis(40);

/// How often sessions are looked at where nothing has happened: a token expires without a word.
const LOOK: Duration = Duration::from_millis(500);

/// How long nothing is said, before something is said to see whether anybody listens.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a reader may take a message before its connection is closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream of events; `None`: there are too many.
///
/// There is no queue to fill: a reader that is slow gets fewer messages, each with all that has
/// changed since the one before, and one that stands still is hung up on.
pub(crate) fn open(
    shared: &Arc<Shared>,
    method: &Method,
    hang_up: &Arc<Notify>,
) -> Option<AdminBody> {
    if method == Method::HEAD {
        return Some(AdminBody::full(Bytes::new()));
    }
    let watching = shared.timeline.watch()?;
    let (sender, receiver) = mpsc::channel(1);
    let feed = Feed {
        shared: Arc::clone(shared),
        sender,
        told: Told::default(),
        _watching: watching,
    };
    let hang_up = Arc::clone(hang_up);
    tokio::spawn(async move {
        if feed.run().await == End::Stuck {
            hang_up.notify_one();
        }
    });
    Some(AdminBody::Events(receiver))
}

/// All there is, once.
pub(crate) fn state(shared: &Shared) -> String {
    Told::default().news(shared).to_string()
}

struct Feed {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Bytes>,
    told: Told,
    _watching: Watching,
}

#[derive(PartialEq)]
enum End {
    Gone,
    Stuck,
}

impl Feed {
    async fn run(mut self) -> End {
        let mut changed = self.shared.timeline.subscribe();
        let mut kind = "snapshot";
        loop {
            changed.borrow_and_update();
            let news = self.told.news(&self.shared);
            // The first message tells even that there is nothing.
            if kind == "snapshot" || Told::is_worth_telling(&news) {
                let message = format!("event: {kind}\ndata: {news}\n\n");
                if let Err(end) = self.say(message).await {
                    return end;
                }
                kind = "change";
            }
            sleep(PICTURE).await;
            let silence = sleep(SILENCE);
            tokio::pin!(silence);
            loop {
                tokio::select! {
                    _ = changed.changed() => break,
                    () = self.sender.closed() => return End::Gone,
                    () = sleep(LOOK) => if self.told.sessions_changed(&self.shared) { break },
                    () = &mut silence => {
                        if let Err(end) = self.say(":\n\n".to_owned()).await {
                            return end;
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn say(&self, message: String) -> Result<(), End> {
        match timeout(PATIENCE, self.sender.send(Bytes::from(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Stuck),
        }
    }
}

/// What somebody was told already.
#[derive(Default)]
struct Told {
    sessions: Option<Vec<Value>>,
    storm: Seen,
}

impl Told {
    /// What is new, written down as told.
    fn news(&mut self, shared: &Shared) -> Value {
        let mut news = Map::new();
        let sessions = sessions(shared);
        if self.sessions.as_ref() != Some(&sessions) {
            self.sessions = Some(sessions.clone());
            news.insert("sessions".to_owned(), Value::Array(sessions));
        }
        if let Some((storm, seen)) = shared.timeline.storm(self.storm) {
            self.storm = seen;
            news.insert("storm".to_owned(), storm);
        }
        news.insert("now".to_owned(), json!(shared.timeline.now()));
        news.insert("wall".to_owned(), json!(wall_millis(SystemTime::now())));
        Value::Object(news)
    }

    fn is_worth_telling(news: &Value) -> bool {
        news.get("sessions").is_some() || news.get("storm").is_some()
    }

    fn sessions_changed(&self, shared: &Shared) -> bool {
        self.sessions.as_ref() != Some(&sessions(shared))
    }
}

fn sessions(shared: &Shared) -> Vec<Value> {
    let table = shared.table.load();
    let json = |session: &NamedSession| {
        // The rotator first: nothing of it is asked while the timeline is held.
        let now = SessionNow::of(session);
        let read = |notes: &Notes| notes.json(&now);
        shared.timeline.read(&session.name, read)
    };
    table.sessions().iter().map(json).collect()
}

#[cfg(test)]
mod tests {
    use token_rotator::Event;
    use tokio::time::Instant;

    use super::*;

    fn feed(shared: &Arc<Shared>) -> (Feed, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(1);
        let feed = Feed {
            shared: Arc::clone(shared),
            sender,
            told: Told::default(),
            _watching: shared.timeline.watch().expect("room"),
        };
        (feed, receiver)
    }

    fn refreshed(shared: &Shared, generation: u64) {
        let event = Event::Refreshed {
            flight: generation,
            generation,
            lifetime: None,
            took: Duration::from_millis(generation),
        };
        shared.timeline.note(&Arc::from("api"), &event);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_for_ten_seconds_is_hung_up_on() {
        let shared = Shared::for_test();
        let (feed, receiver) = feed(&shared);
        let began = Instant::now();
        let ran = tokio::spawn(feed.run());
        // One message waits to be taken; the next finds no room.
        sleep(PICTURE).await;
        refreshed(&shared, 1);
        assert!(ran.await.expect("no panic") == End::Stuck);
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 2);
        assert!(!shared.timeline.is_watched(), "there is room again");
        drop(receiver);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_fewer_messages_and_the_newest_state() {
        let shared = Shared::for_test();
        let (feed, mut receiver) = feed(&shared);
        let ran = tokio::spawn(feed.run());
        for generation in 1..=50 {
            refreshed(&shared, generation);
            sleep(PICTURE).await;
        }
        let (mut messages, mut last) = (0, String::new());
        while let Ok(Some(message)) = timeout(Duration::from_secs(1), receiver.recv()).await {
            messages += 1;
            last = String::from_utf8(message.to_vec()).expect("text");
        }
        assert!((2..5).contains(&messages), "{messages} messages");
        assert!(last.contains("\"generation\":50"), "{last}");
        drop(receiver);
        assert!(ran.await.expect("no panic") == End::Gone);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_to_see_whether_anybody_listens() {
        let shared = Shared::for_test();
        let (feed, mut receiver) = feed(&shared);
        let ran = tokio::spawn(feed.run());
        let first = receiver.recv().await.expect("a message");
        assert!(first.starts_with(b"event: snapshot\ndata: {"));
        let began = Instant::now();
        assert_eq!(receiver.recv().await.expect("a message"), ":\n\n");
        assert!(began.elapsed() >= SILENCE);
        drop(receiver);
        assert!(ran.await.expect("no panic") == End::Gone);
    }
}
