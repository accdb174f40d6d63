//! Rules that judge the body of an answer, and the confirmation of their verdicts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;

use super::peeked::PeekedBody;
use super::probe::ProbePath;
use super::refusal::RefusalRules;
use crate::http::challenge::Verdict;
use crate::rotator::Rotator;
use crate::token::Pass;

/// The longest body that is judged, in bytes.
const JUDGED_BYTES: usize = 64 * 1024;
/// The longest wait for the end of a body. An answer with a longer body passes unjudged.
const JUDGED_TIME: Duration = Duration::from_secs(5);

/// A rule for APIs that refuse a token in the body of an answer, whatever its status.
///
/// A rule applies to uncompressed answers to GET and HEAD, of its content type, with a body of at most 64 KiB that
/// ends within 5 s. All other answers pass unjudged.
///
/// An empty list may be a refusal or the truth, so a match is confirmed before it counts:
///
/// - A [probe](RefusalRules::probe) is a GET to its path with the same token. If the head of the
///   probe's answer refuses the token, the match counts. If the probe succeeds, the caller gets the
///   answer.
/// - Without a probe, or if the probe fails, a refresh confirms the match. A session has at most one
///   such refresh in 10 s, the interval of its early refreshes. The token is served until that refresh succeeds.
///
/// A match in the answer to the replay does not count: the caller gets that answer.
#[derive(Clone)]
pub struct BodyRule {
    content_type: Box<str>,
    methods: Vec<Method>,
    refused: Predicate,
}

type Predicate = Arc<dyn Fn(StatusCode, &[u8]) -> bool + Send + Sync>;

impl BodyRule {
    /// A rule for bodies of this content type. `application/json` includes `+json` types.
    ///
    /// `refused` gets the status and the body, and returns whether they refuse the token.
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

    /// Applies the rule to these methods too.
    ///
    /// Name only methods whose requests are safe to repeat: a request may have taken effect before
    /// its answer matches the rule.
    pub fn also_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods.extend(methods);
        self
    }

    /// Returns whether the rule judges an answer with these headers. It judges no compressed body.
    fn applies(&self, method: &Method, headers: &HeaderMap) -> bool {
        let encoding = headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return false;
        }
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next());
        let kind = kind.unwrap_or_default().trim().to_ascii_lowercase();
        let expected = &*self.content_type;
        let matches =
            kind == expected || (expected == "application/json" && kind.ends_with("+json"));
        matches && self.methods.contains(method)
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

/// All rules for bodies, and the path that confirms their matches.
#[derive(Clone, Default)]
pub(super) struct BodyRules {
    pub(super) rules: Vec<BodyRule>,
    pub(super) probe: Option<ProbePath>,
}

/// Marks an answer whose body matched a rule, in its extensions: a refresh is to confirm the match.
#[derive(Clone, Copy)]
pub(super) struct Unconfirmed;

/// Whether a match of a body rule counts.
enum Confirmation {
    Refused,
    Accepted,
    ByRefresh,
}

impl<H> RefusalRules<H> {
    /// Whether any rule reads bodies.
    #[inline]
    pub fn reads_bodies(&self) -> bool {
        self.by_body.is_some()
    }

    /// Whether a rule judges the body of an answer with these headers. Bodies of more than 64 KiB
    /// pass unjudged in any case.
    pub fn reads_body_of(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.rules_for(method, headers).next().is_some()
    }

    fn rules_for(&self, method: &Method, headers: &HeaderMap) -> impl Iterator<Item = &BodyRule> {
        let rules = self.by_body.iter().flat_map(|bodies| &bodies.rules);
        rules.filter(move |rule| rule.applies(method, headers))
    }

    /// Judges the body of an answer whose head refuses nothing, and confirms the verdict. Returns
    /// the unchanged answer, and whether it refuses the token.
    ///
    /// - `pass`: the token that the request carried, if any.
    /// - `replayed`: whether the answer is the answer to the replay.
    /// - `probe`: sends a GET to the path with the same token and returns the verdict on the
    ///   answer's head. It returns `None` if the answer is neither a success nor a refusal.
    ///
    /// *Waits* for the body (64 KiB and 5 s at most) and for the probe.
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
        let body = if self.reads_body_of(method, answer.headers()) {
            let body = answer.body_mut().peek(JUDGED_BYTES);
            let body = rotator.session.runtime.timeout(JUDGED_TIME, body).await;
            body.ok().flatten().flatten()
        } else {
            None
        };
        let matched = body.is_some_and(|body| {
            let mut rules = self.rules_for(method, answer.headers());
            rules.any(|rule| (rule.refused)(answer.status(), &body))
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
        if rotator.session.may_confirm(token.stamp()) {
            Confirmation::ByRefresh
        } else {
            Confirmation::Accepted
        }
    }

    /// Judges the answer to a probe. Returns `None` if it is neither a success nor a refusal.
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
