//! Rules that read the body of an answer, and how their verdicts are confirmed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::refusal::RefusalRules;
use crate::http::challenge::Verdict;
use crate::rotator::Rotator;
use crate::token::Pass;

/// The longest body that is judged.
const JUDGED_BYTES: usize = 64 * 1024;
/// How long no second refresh confirms a verdict: the session's interval of early refreshes.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);

/// A rule for APIs that refuse a token in the body of an answer, whatever its status.
///
/// A rule applies to answers to GET and HEAD, of its content type, with a body of at most 64 KiB.
/// Other answers pass unjudged.
///
/// An empty list may be a refusal or the truth, so a match is confirmed before it counts:
///
/// - With a [probe](RefusalRules::probe), by a GET to that path with the same token. If the head of
///   its answer refuses the token, the match counts. If the probe succeeds, the answer is the
///   caller's.
/// - Without a probe, or where the probe fails, by a refresh: at most one in 10 s.
///
/// A match of the replay is the truth and is handed back.
#[derive(Clone)]
pub struct BodyRule {
    content_type: Box<str>,
    methods: Vec<Method>,
    refused: Predicate,
}

type Predicate = Arc<dyn Fn(StatusCode, &[u8]) -> bool + Send + Sync>;

impl BodyRule {
    /// A rule for bodies of this content type. `application/json` includes `+json` types.
    pub fn new(
        content_type: impl Into<Box<str>>,
        refused: impl Fn(StatusCode, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            content_type: content_type.into(),
            methods: vec![Method::GET, Method::HEAD],
            refused: Arc::new(refused),
        }
    }

    /// A rule for JSON bodies.
    pub fn json(refused: impl Fn(StatusCode, &[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self::new("application/json", refused)
    }

    /// The rule applies to these methods too. The answers may come after the request took effect:
    /// name only methods that are safe to repeat here.
    pub fn also_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods.extend(methods);
        self
    }

    fn applies(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.methods.contains(method) && self.is_type(headers)
    }

    fn is_type(&self, headers: &HeaderMap) -> bool {
        let kind = headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_json = |kind: &str| kind.to_ascii_lowercase().ends_with("+json");
        kind.eq_ignore_ascii_case(&self.content_type)
            || (&*self.content_type == "application/json" && is_json(kind))
    }
}

impl std::fmt::Debug for BodyRule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("BodyRule")
            .field("content_type", &self.content_type)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

/// All rules for bodies and how they are confirmed.
#[derive(Clone, Default)]
pub(super) struct BodyRules {
    pub(super) rules: Vec<BodyRule>,
    pub(super) probe: Option<Arc<str>>,
    confirmed: Arc<Mutex<Option<Confirmed>>>,
}

/// The last token that a refresh was started for, to confirm a verdict.
#[derive(Clone, Copy)]
struct Confirmed {
    generation: u64,
    at: Duration,
}

impl BodyRules {
    /// Whether a refresh may confirm the verdict on this token.
    fn may_refresh(&self, rotator: &Rotator, generation: u64) -> bool {
        let now = rotator.session.clock.steady();
        let newer = rotator.session.usable();
        let mut last = self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = last.is_some_and(|last| last.generation == generation);
        // With a newer token there is no refresh, and a refresh for this token is shared.
        if known || newer.is_some_and(|newer| newer.generation() > generation) {
            return true;
        }
        let free = last.is_none_or(|last| now.saturating_sub(last.at) >= CONFIRM_INTERVAL);
        if free {
            *last = Some(Confirmed {
                generation,
                at: now,
            });
        }
        free
    }
}

impl<H> RefusalRules<H> {
    /// Whether any rule reads bodies.
    #[inline]
    pub fn reads_bodies(&self) -> bool {
        self.by_body.is_some()
    }

    /// Whether the body of an answer with these headers is judged, if it is short enough.
    pub fn reads_body_of(&self, method: &Method, headers: &HeaderMap) -> bool {
        let mut rules = self.by_body.iter().flat_map(|bodies| &bodies.rules);
        rules.any(|rule| rule.applies(method, headers))
    }

    /// Judges the body of an answer that its head leaves open, and confirms the verdict. Returns
    /// the answer as it was, and whether it refuses the token.
    ///
    /// `pass` is what the request carried, `replayed` whether this answers the replay. `probe` sends
    /// a GET to a path with the same token; it answers with the verdict on the head, or with `None`
    /// if the answer is neither a success nor a refusal.
    ///
    /// Waits for the body (64 KiB at most) and for the probe.
    pub async fn judge_body<B, F>(
        &self,
        rotator: &Rotator,
        (pass, replayed): (&Pass, bool),
        method: &Method,
        answer: Response<B>,
        probe: impl FnOnce(Arc<str>) -> F,
    ) -> (Response<PeekedBody<B>>, bool)
    where
        B: Body<Data = Bytes> + Unpin,
        F: Future<Output = Option<Verdict>>,
    {
        let fits = answer.body().size_hint().lower() <= JUDGED_BYTES as u64;
        let reads = fits && self.reads_body_of(method, answer.headers());
        let (head, body) = answer.into_parts();
        let mut body = PeekedBody::from(body);
        let whole = if reads { body.peek().await } else { None };
        let matched = whole.is_some_and(|whole| {
            let bodies = self.by_body.iter();
            let mut rules = bodies.flat_map(|bodies| &bodies.rules);
            rules.any(|rule| {
                rule.applies(method, &head.headers) && (rule.refused)(head.status, &whole)
            })
        });
        let refused = matched && !replayed && self.confirm(rotator, pass, probe).await;
        (Response::from_parts(head, body), refused)
    }

    async fn confirm<F>(
        &self,
        rotator: &Rotator,
        pass: &Pass,
        probe: impl FnOnce(Arc<str>) -> F,
    ) -> bool
    where
        F: Future<Output = Option<Verdict>>,
    {
        let (Some(token), Some(bodies)) = (pass.token(), &self.by_body) else {
            return true;
        };
        if let Some(path) = &bodies.probe {
            match probe(Arc::clone(path)).await {
                Some(Verdict::RefreshToken) => return true,
                Some(_) => return false,
                None => {}
            }
        }
        bodies.may_refresh(rotator, token.generation())
    }

    /// What the answer to a probe says: `None` if it is neither a success nor a refusal.
    pub fn judge_probe(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        head: &H,
    ) -> Option<Verdict> {
        match self.judge_head(status, headers, head) {
            Verdict::None if !status.is_success() => None,
            verdict => Some(verdict),
        }
    }
}

/// A body of which the beginning may have been read already. It reads as the body that it was.
pub struct PeekedBody<B: Body<Data = Bytes>> {
    read: VecDeque<Result<Frame<Bytes>, B::Error>>,
    rest: B,
}

impl<B: Body<Data = Bytes> + Unpin> PeekedBody<B> {
    /// Reads the body up to the limit; the bytes if that was all of it.
    async fn peek(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() <= JUDGED_BYTES {
            let frame = poll_fn(|context| Pin::new(&mut self.rest).poll_frame(context)).await;
            match &frame {
                None => return Some(bytes),
                Some(Ok(frame)) => {
                    bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                Some(Err(_)) => bytes.resize(JUDGED_BYTES + 1, 0),
            }
            self.read.extend(frame);
        }
        None
    }
}

impl<B: Body<Data = Bytes>> From<B> for PeekedBody<B> {
    fn from(rest: B) -> Self {
        Self {
            read: VecDeque::new(),
            rest,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Unpin for PeekedBody<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for PeekedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let frames = self.read.iter().flatten();
        let data = frames.filter_map(Frame::data_ref);
        let read: u64 = data.map(|data| data.len() as u64).sum();
        let mut hint = self.rest.size_hint();
        let (lower, upper) = (hint.lower(), hint.upper());
        if let Some(upper) = upper {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(lower.saturating_add(read));
        hint
    }
}

impl<B: Body<Data = Bytes>> std::fmt::Debug for PeekedBody<B> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PeekedBody")
            .field("frames", &self.read.len())
            .finish_non_exhaustive()
    }
}
