//! A request's body with a bounded copy for one replay.

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
use crate::timer::DeadlineTimer;

/// The body of the first or the second attempt.
pub(crate) enum Upload {
    Empty,
    Tee { tee: Arc<Tee>, attempt: u8 },
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the caller closed the connection early")]
    Caller,
    #[error("the caller paused for too long")]
    Idle,
    #[error("the body is too large")]
    TooLarge,
    #[error("a second attempt has replaced this one")]
    Superseded,
}

/// The caller's body and its copy, shared by both attempts.
pub(crate) struct Tee(Mutex<TeeState>);

/// Limits of one body.
pub(crate) struct BodyLimits {
    pub(crate) kept: usize,
    pub(crate) largest: Option<u64>,
    pub(crate) idle: Option<Duration>,
    /// Name of the token's header, to strip from trailers. `None` if the route forwards the
    /// caller's credentials.
    pub(crate) token: Option<HeaderName>,
}

struct TeeState {
    source: Incoming,
    attempt: u8,
    copy: Option<BodyCopy>,
    trailers: Option<HeaderMap>,
    /// Bytes of the copy that the second attempt has sent.
    replayed: usize,
    has_ended: bool,
    received: u64,
    error: Option<UploadError>,
    limits: BodyLimits,
    timer: DeadlineTimer,
}

/// The copy of a body. Its size counts towards the budget until it is dropped.
struct BodyCopy {
    bytes: Vec<u8>,
    budget: Arc<Budget>,
}

/// Memory for the copies of all bodies together, in bytes.
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

impl Drop for BodyCopy {
    fn drop(&mut self) {
        self.budget
            .used
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Tee {
    /// Wraps a caller's body. `is_copied` says whether to keep a copy for a replay.
    pub(crate) fn new(
        source: Incoming,
        limits: BodyLimits,
        is_copied: bool,
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let copy = is_copied.then(|| BodyCopy {
            bytes: Vec::new(),
            budget: Arc::clone(budget),
        });
        Arc::new(Self(Mutex::new(TeeState {
            source,
            attempt: 1,
            copy,
            trailers: None,
            replayed: 0,
            has_ended: false,
            received: 0,
            error: None,
            limits,
            timer: DeadlineTimer::default(),
        })))
    }

    /// Returns the body of the second attempt, or `None` if the copy is incomplete. The first
    /// attempt gets no more data afterwards.
    pub(crate) fn second_upload(self: &Arc<Self>) -> Option<Upload> {
        let mut state = self.state();
        if state.copy.is_none() || state.error.is_some() {
            return None;
        }
        state.attempt = 2;
        state.timer.set_at(None);
        drop(state);
        Some(Upload::Tee {
            tee: Arc::clone(self),
            attempt: 2,
        })
    }

    pub(crate) fn is_replayable(&self) -> bool {
        let state = self.state();
        state.copy.is_some() && state.error.is_none()
    }

    pub(crate) fn error(&self) -> Option<UploadError> {
        self.state().error
    }

    fn state(&self) -> MutexGuard<'_, TeeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TeeState {
    fn poll_frame(
        &mut self,
        attempt: u8,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if attempt != self.attempt {
            return Poll::Ready(Some(Err(UploadError::Superseded)));
        }
        if let Some(error) = self.error {
            return Poll::Ready(Some(Err(error)));
        }
        if attempt == 2
            && let Some(copy) = &self.copy
            && self.replayed < copy.bytes.len()
        {
            let rest = Bytes::copy_from_slice(&copy.bytes[self.replayed..]);
            self.replayed += rest.len();
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        if self.has_ended {
            return Poll::Ready(
                self.trailers
                    .take()
                    .map(|trailers| Ok(Frame::trailers(trailers))),
            );
        }
        let Poll::Ready(polled) = Pin::new(&mut self.source).poll_frame(context) else {
            // The idle limit counts only here, where the caller has sent no data. While the proxy
            // waits for the upstream or a token, it does not poll the body.
            self.timer.start(self.limits.idle);
            if self.timer.poll(context).is_ready() {
                return self.fail(UploadError::Idle);
            }
            return Poll::Pending;
        };
        self.timer.set_at(None);
        match polled {
            None => {
                self.has_ended = true;
                Poll::Ready(None)
            }
            Some(Err(_)) => self.fail(UploadError::Caller),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.received += data.len() as u64;
                    if self
                        .limits
                        .largest
                        .is_some_and(|largest| self.received > largest)
                    {
                        return self.fail(UploadError::TooLarge);
                    }
                    self.copy(data.len(), attempt, &frame);
                }
                Poll::Ready(Some(Ok(match frame.into_trailers() {
                    Ok(trailers) => self.finish(trailers, attempt),
                    Err(data) => data,
                })))
            }
        }
    }

    fn copy(&mut self, length: usize, attempt: u8, frame: &Frame<Bytes>) {
        // There is no third attempt, so data of the second attempt needs no copy.
        if attempt != 1 {
            return;
        }
        let Some(copy) = &mut self.copy else { return };
        let fits = copy.bytes.len() + length <= self.limits.kept && copy.budget.take(length);
        match frame.data_ref().filter(|_| fits) {
            Some(data) => copy.bytes.extend_from_slice(data),
            None => self.copy = None,
        }
    }

    fn finish(&mut self, mut trailers: HeaderMap, attempt: u8) -> Frame<Bytes> {
        self.has_ended = true;
        headers::strip_trailers(&mut trailers, self.limits.token.as_ref());
        if attempt == 1 {
            self.trailers = Some(trailers.clone());
        }
        Frame::trailers(trailers)
    }

    fn fail(&mut self, error: UploadError) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.error = Some(error);
        Poll::Ready(Some(Err(error)))
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
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
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
