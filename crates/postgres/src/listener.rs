//! The one connection on which the server tells of changes.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, Error};
use tracing::debug;

use crate::connector::{Connector, Messages};
use crate::fault::Fault;
use token_rotator::news::{Listening, News};

/// The first wait before a lost connection is made again; it doubles.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How often the server is asked whether it is still there.
const CHECK: Duration = Duration::from_secs(20);

/// Connects when somebody listens for the first time, and from then on for as long as the store is
/// there.
pub(crate) struct Listener {
    heard: Arc<Heard>,
    place: Option<Arc<Place>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the connection has told.
#[derive(Default)]
struct Heard {
    news: News,
    /// The connection that a notification has come over, until somebody asks something on it.
    awake: Mutex<Option<Arc<Client>>>,
}

/// Where it listens to what.
pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) statement: String,
    pub(crate) address: String,
    pub(crate) limit: Duration,
    /// Whether calls go there too.
    pub(crate) for_calls: bool,
}

impl Listener {
    /// Without a place nothing is ever told.
    pub(crate) fn new(place: Option<Place>) -> Self {
        Self {
            heard: Arc::default(),
            place: place.map(Arc::new),
            task: Mutex::default(),
        }
    }

    /// Hears of this topic from now on. Whoever listens looks for themselves after that: what was
    /// told before the connection stands is told again when it does.
    pub(crate) fn listen(&self, topic: &str) -> Listening {
        let listening = self.heard.news.listen(topic);
        let Some(place) = &self.place else {
            return listening;
        };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        // The runtime it ran on may have ended.
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let run = run(Arc::clone(place), Arc::clone(&self.heard));
            *task = Some(tokio::spawn(run));
        }
        listening
    }

    /// The listening connection, for one call after each notification: what it tells of is sooner
    /// read over it than over a connection that has to wake up first. Never one that goes elsewhere
    /// than those for calls: as another role, with another search path, it might read another table.
    pub(crate) fn awake(&self) -> Option<Arc<Client>> {
        self.heard.awake().take()
    }
}

impl Heard {
    fn awake(&self) -> MutexGuard<'_, Option<Arc<Client>>> {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

async fn run(place: Arc<Place>, heard: Arc<Heard>) {
    let mut wait = AGAIN;
    loop {
        let connect = place.connector.listen(&place.config);
        match place.bounded(connect).await {
            Ok((client, messages)) => {
                let client = Arc::new(client);
                let keep = keep(&place, &client, &heard.news, || wait = AGAIN);
                let for_calls = place.for_calls.then_some(&client);
                // The connection goes on only while its messages are read.
                match select(pin!(keep), pin!(hear(messages, for_calls, &heard))).await {
                    Either::Left((fault, _)) => debug!(%fault, "listening ended"),
                    Either::Right(_) => debug!("the listening connection was lost"),
                }
                heard.awake().take();
            }
            Err(fault) => debug!(%fault, "cannot listen"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_MAX);
    }
}

/// Listens, and asks now and then whether the server is still there. Ends when it is not.
async fn keep(place: &Place, client: &Client, news: &News, listening: impl FnOnce()) -> Fault {
    if let Err(fault) = place.bounded(client.batch_execute(&place.statement)).await {
        return fault;
    }
    debug!("listening");
    listening();
    news.tell_all();
    loop {
        tokio::time::sleep(CHECK).await;
        if let Err(fault) = place.bounded(client.check_connection()).await {
            return fault;
        }
    }
}

/// Hands messages on until the connection is lost.
async fn hear(mut messages: Messages, client: Option<&Arc<Client>>, heard: &Heard) {
    while let Some(Ok(message)) = messages.next().await {
        if let AsyncMessage::Notification(message) = message {
            *heard.awake() = client.cloned();
            heard.news.tell(message.payload());
        }
    }
}

impl Place {
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(answer) => answer.map_err(|error| Fault::new(error, &self.address)),
            Err(_) => Err(Fault::timed_out(self.limit, &self.address)),
        }
    }
}
