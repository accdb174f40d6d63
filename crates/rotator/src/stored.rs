//! Sign-ins, sign-outs and updates on their way into the store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use token_rotator_core::Stamp;

use crate::error::{StoreError, StoreErrorKind};
use crate::older::Older;
use crate::shared::Shared;
use crate::token_set::TokenSet;
use crate::unsaved::Unsaved;

impl Shared {
    /// Writes the sign-in or sign-out of this stamp into the store, in a task of its own.
    pub(crate) fn write(self: &Arc<Self>, stamp: Stamp) -> Stored {
        if self.store.is_none() {
            return Stored::done();
        }
        self.writing.store(true, Ordering::Release);
        let writing = Writing(Arc::clone(self));
        self.in_background(move |shared, done| async move {
            shared.keep_writing(stamp, done).await;
            drop(writing);
        })
    }

    /// Writes a newer token set of the sign-in of this stamp. It is kept before anything is
    /// awaited: a runtime that ends does not take it along.
    pub(crate) fn write_update(
        self: &Arc<Self>,
        stamp: Stamp,
        tokens: Arc<TokenSet>,
        before: Option<&TokenSet>,
    ) -> Stored {
        if self.store.is_none() {
            return Stored::done();
        }
        let (_, base, _) = self.board.known();
        let unsaved = Unsaved::new(stamp, base, tokens, Older::than_after(before));
        // Where somebody has signed in or out by now, there is nothing to be stored any more.
        let Some(pending) = self.remember_unsaved(unsaved) else {
            return Stored::done();
        };
        self.in_background(move |shared, done| async move {
            shared.save_update(pending, done).await;
        })
    }

    fn in_background<F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>, tokio::sync::oneshot::Sender<Result<(), StoreError>>) -> F
        + Send
        + 'static,
    ) -> Stored
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::clone(self);
        let busy = self.tasks.begin();
        let (done, stored) = tokio::sync::oneshot::channel();
        self.runtime.spawn(async move {
            let _busy = busy;
            work(shared, done).await;
        });
        Stored(Some(stored))
    }
}

/// A sign-in or sign-out is being written.
struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::Release);
    }
}

/// Ends when the store has taken a sign-in or sign-out.
///
/// An error says that it did not yet; it takes effect here all the same, and writing it is tried
/// again in the background. Dropping this changes nothing.
pub struct Stored(Option<tokio::sync::oneshot::Receiver<Result<(), StoreError>>>);

impl Stored {
    pub(crate) fn done() -> Self {
        Self(None)
    }
}

impl Future for Stored {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        Pin::new(receiver).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| {
                Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    "the runtime ended before the session was written to its store",
                ))
            })
        })
    }
}
