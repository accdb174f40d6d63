//! A request's body on its way: a copy is kept, up to a cap, for one replay.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::headers;
use crate::timer::Alarm;

/// The body as it is sent, the first or the second time.
pub(crate) enum Upload {
    Empty,
    Tee { tee: Arc<Tee>, attempt: u8 },
}

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the caller broke off")]
    Caller,
    #[error("the caller paused for too long")]
    Idle,
    #[error("the body is too large")]
    TooLarge,
    #[error("this attempt was given up")]
    Superseded,
}

/// What both attempts share.
pub(crate) struct Tee(Mutex<State>);

/// What bounds a body.
pub(crate) struct Bounds {
    pub(crate) kept: usize,
    pub(crate) largest: Option<u64>,
    pub(crate) idle: Option<Duration>,
    /// The field that the token goes in, where the caller's own credentials do not pass.
    pub(crate) token: Option<HeaderName>,
}

struct State {
    source: Incoming,
    attempt: u8,
    copy: Option<Copy>,
    trailers: Option<HeaderMap>,
    /// How much of the copy the second attempt has sent.
    replayed: usize,
    ended: bool,
    received: u64,
    broken: Option<Broken>,
    bounds: Bounds,
    alarm: Alarm,
}

/// A copy, counted among all copies.
struct Copy {
    bytes: Vec<u8>,
    budget: Arc<Budget>,
}

/// What all copies together may take.
pub(crate) struct Budget {
    used: AtomicUsize,
    most: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
        }
    }

    pub(crate) fn limit(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.most.load(Ordering::Relaxed);
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.budget
            .used
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Tee {
    /// `copied`: whether a copy is begun at all.
    pub(crate) fn new(
        source: Incoming,
        bounds: Bounds,
        copied: bool,
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let copy = copied.then(|| Copy {
            bytes: Vec::new(),
            budget: Arc::clone(budget),
        });
        Arc::new(Self(Mutex::new(State {
            source,
            attempt: 1,
            copy,
            trailers: None,
            replayed: 0,
            ended: false,
            received: 0,
            broken: None,
            bounds,
            alarm: Alarm::default(),
        })))
    }

    /// The second attempt's body, if all that was sent so far is there to be sent again. From here
    /// on the first attempt gets nothing more.
    pub(crate) fn again(self: &Arc<Self>) -> Option<Upload> {
        let mut state = self.state();
        if state.copy.is_none() || state.broken.is_some() {
            return None;
        }
        state.attempt = 2;
        state.alarm.set_at(None);
        drop(state);
        Some(Upload::Tee {
            tee: Arc::clone(self),
            attempt: 2,
        })
    }

    pub(crate) fn replayable(&self) -> bool {
        let state = self.state();
        state.copy.is_some() && state.broken.is_none()
    }

    pub(crate) fn broken(&self) -> Option<Broken> {
        self.state().broken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_frame(
        &mut self,
        attempt: u8,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if attempt != self.attempt {
            return Poll::Ready(Some(Err(Broken::Superseded)));
        }
        if let Some(broken) = self.broken {
            return Poll::Ready(Some(Err(broken)));
        }
        if attempt == 2
            && let Some(copy) = &self.copy
            && self.replayed < copy.bytes.len()
        {
            let rest = Bytes::copy_from_slice(&copy.bytes[self.replayed..]);
            self.replayed += rest.len();
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        if self.ended {
            return Poll::Ready(
                self.trailers
                    .take()
                    .map(|trailers| Ok(Frame::trailers(trailers))),
            );
        }
        let Poll::Ready(polled) = Pin::new(&mut self.source).poll_frame(context) else {
            // From here on the caller is waited for. While the upstream, or a new token, is, the
            // body is not even asked for.
            self.alarm.start(self.bounds.idle);
            if self.alarm.poll(context).is_ready() {
                return self.fail(Broken::Idle);
            }
            return Poll::Pending;
        };
        self.alarm.set_at(None);
        match polled {
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(Err(_)) => self.fail(Broken::Caller),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.received += data.len() as u64;
                    if self
                        .bounds
                        .largest
                        .is_some_and(|largest| self.received > largest)
                    {
                        return self.fail(Broken::TooLarge);
                    }
                    self.keep(data.len(), attempt, &frame);
                }
                Poll::Ready(Some(Ok(match frame.into_trailers() {
                    Ok(trailers) => self.end(trailers, attempt),
                    Err(data) => data,
                })))
            }
        }
    }

    fn keep(&mut self, length: usize, attempt: u8, frame: &Frame<Bytes>) {
        // What comes in during the second attempt is sent once.
        if attempt != 1 {
            return;
        }
        let Some(copy) = &mut self.copy else { return };
        let fits = copy.bytes.len() + length <= self.bounds.kept && copy.budget.take(length);
        match frame.data_ref().filter(|_| fits) {
            Some(data) => copy.bytes.extend_from_slice(data),
            None => self.copy = None,
        }
    }

    fn end(&mut self, mut trailers: HeaderMap, attempt: u8) -> Frame<Bytes> {
        self.ended = true;
        headers::strip_trailers(&mut trailers, self.bounds.token.as_ref());
        if attempt == 1 {
            self.trailers = Some(trailers.clone());
        }
        Frame::trailers(trailers)
    }

    fn fail(&mut self, broken: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.broken = Some(broken);
        Poll::Ready(Some(Err(broken)))
    }
}

impl Upload {
    pub(crate) fn first(tee: &Arc<Tee>) -> Self {
        Self::Tee {
            tee: Arc::clone(tee),
            attempt: 1,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Tee { tee, attempt } => tee.state().poll_frame(*attempt, context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Tee { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Tee { tee, attempt } => {
                let state = tee.state();
                let mut hint = state.source.size_hint();
                if *attempt == 2
                    && let (Some(copy), Some(rest)) = (&state.copy, hint.exact())
                {
                    hint.set_exact(rest + (copy.bytes.len() - state.replayed) as u64);
                }
                hint
            }
        }
    }
}
