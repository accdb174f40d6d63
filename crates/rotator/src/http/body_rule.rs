//! Rules that read the body of an answer, and how their verdicts are confirmed.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;

use super::peeked::PeekedBody;
use super::probe::ProbePath;
use super::refusal::RefusalRules;
use crate::http::challenge::Verdict;
use crate::rotator::Rotator;
use crate::token::Pass;

/// The longest body that is judged.
const JUDGED_BYTES: usize = 64 * 1024;
/// How long an answer waits for the end of its body. Longer ones pass unjudged.
const JUDGED_TIME: Duration = Duration::from_secs(5);
/// How long no second refresh confirms a verdict: the session's interval of early refreshes.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);

/// A rule for APIs that refuse a token in the body of an answer, whatever its status.
///
/// A rule applies to answers to GET and HEAD, of its content type, with a body of at most 64 KiB that
/// ends within 5 s. Other answers pass unjudged.
///
/// An empty list may be a refusal or the truth, so a match is confirmed before it counts:
///
/// - With a [probe](RefusalRules::probe), by a GET to that path with the same token. If the head of
///   its answer refuses the token, the match counts. If the probe succeeds, the answer is the
///   caller's.
/// - Without a probe, or where the probe fails, by a refresh: at most one in 10 s. The token is served
///   until that refresh succeeds.
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
            content_type: content_type.into().to_ascii_lowercase().into(),
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
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next());
        let kind = kind.unwrap_or_default().trim().to_ascii_lowercase();
        let own = &*self.content_type;
        let is_own = kind == own || (own == "application/json" && kind.ends_with("+json"));
        is_own && self.methods.contains(method)
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
    pub(super) probe: Option<ProbePath>,
    confirmed: Arc<Mutex<Option<Confirmed>>>,
}

/// In the extensions of an answer: its body matched a rule, and a refresh is to confirm the match.
#[derive(Clone, Copy)]
pub(super) struct Unconfirmed;

/// The last token that a refresh was started for, to confirm a verdict.
#[derive(Clone, Copy)]
struct Confirmed {
    generation: u64,
    at: Duration,
}

/// What became of a match.
enum Confirmation {
    Refused,
    Accepted,
    ByRefresh,
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
        self.rules_for(method, headers).next().is_some()
    }

    fn rules_for(&self, method: &Method, headers: &HeaderMap) -> impl Iterator<Item = &BodyRule> {
        let rules = self.by_body.iter().flat_map(|bodies| &bodies.rules);
        rules.filter(move |rule| rule.applies(method, headers))
    }

    /// Judges the body of an answer that its head leaves open, and confirms the verdict. Returns
    /// the answer as it was, and whether it refuses the token.
    ///
    /// `pass` is what the request carried, `replayed` whether this answers the replay. `probe` sends
    /// a GET to a path with the same token; it answers with the verdict on the head, or with `None`
    /// if the answer is neither a success nor a refusal.
    ///
    /// Waits for the body (64 KiB and 5 s at most) and for the probe.
    pub async fn judge_body<B, F>(
        &self,
        rotator: &Rotator,
        (pass, replayed): (&Pass, bool),
        method: &Method,
        answer: Response<B>,
        probe: impl FnOnce(ProbePath) -> F,
    ) -> (Response<PeekedBody<B>>, bool)
    where
        B: Body<Data = Bytes> + Unpin,
        F: Future<Output = Option<Verdict>>,
    {
        let mut answer = answer.map(PeekedBody::from);
        let whole = if self.reads_body_of(method, answer.headers()) {
            let whole = answer.body_mut().peek(JUDGED_BYTES);
            let whole = rotator.session.runtime.timeout(JUDGED_TIME, whole).await;
            whole.ok().flatten().flatten()
        } else {
            None
        };
        let matched = whole.is_some_and(|whole| {
            let mut rules = self.rules_for(method, answer.headers());
            rules.any(|rule| (rule.refused)(answer.status(), &whole))
        });
        if !matched || replayed {
            return (answer, false);
        }
        let refused = match self.confirm(rotator, pass, probe).await {
            Confirmation::Refused => true,
            Confirmation::Accepted => false,
            Confirmation::ByRefresh => {
                answer.extensions_mut().insert(Unconfirmed);
                true
            }
        };
        (answer, refused)
    }

    async fn confirm<F>(
        &self,
        rotator: &Rotator,
        pass: &Pass,
        probe: impl FnOnce(ProbePath) -> F,
    ) -> Confirmation
    where
        F: Future<Output = Option<Verdict>>,
    {
        let (Some(token), Some(bodies)) = (pass.token(), &self.by_body) else {
            return Confirmation::Refused;
        };
        if let Some(path) = &bodies.probe {
            match probe(path.clone()).await {
                Some(Verdict::RefreshToken) => return Confirmation::Refused,
                Some(_) => return Confirmation::Accepted,
                None => {}
            }
        }
        if bodies.may_refresh(rotator, token.generation()) {
            Confirmation::ByRefresh
        } else {
            Confirmation::Accepted
        }
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
