//! The rules that decide which answers refuse the token.

use std::sync::Arc;

use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::body_rule::{BodyRule, BodyRules};
use super::probe::ProbePath;
use crate::http::challenge::{self, Verdict};

/// Decides which answers refuse the token.
///
/// By default an answer refuses the token if its status is 401 and it is
/// [about the token](crate::middleware::challenge), or if its `grpc-status` is 16. `H` is the type
/// of the head that predicates read.
pub struct RefusalRules<H = Parts> {
    /// The statuses that replace 401.
    statuses: Option<Vec<StatusCode>>,
    /// The statuses that refuse the token in addition.
    also: Vec<StatusCode>,
    by_head: Vec<HeadPredicate<H>>,
    pub(super) by_body: Option<Arc<BodyRules>>,
}

type HeadPredicate<H> = Arc<dyn Fn(&H) -> bool + Send + Sync>;

impl<H> RefusalRules<H> {
    /// Replaces 401 by these statuses: answers with one of them refuse the token.
    ///
    /// The challenge of such an answer is judged like the challenge of a 401. After
    /// `insufficient_scope` and `invalid_request` the caller gets the answer without a refresh. A
    /// step-up (RFC 9470) becomes a typed error.
    pub fn status_codes(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = Some(statuses.into_iter().collect());
        self
    }

    /// Adds statuses: answers with one of them refuse the token too.
    pub fn also_status_codes(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.also.extend(statuses);
        self
    }

    /// Adds a predicate: answers for which it returns true refuse the token too.
    ///
    /// The predicate runs for every answer that its status does not decide, so it should be quick.
    pub fn refused_when(mut self, refused: impl Fn(&H) -> bool + Send + Sync + 'static) -> Self {
        self.by_head.push(Arc::new(refused));
        self
    }

    /// Adds a rule for bodies: answers whose body matches it refuse the token too. See
    /// [`BodyRule`].
    pub fn refused_when_body(mut self, rule: BodyRule) -> Self {
        self.body_rules().rules.push(rule);
        self
    }

    /// Sets the path of the upstream whose answer to a GET confirms a verdict by body. See
    /// [`BodyRule`].
    pub fn probe(mut self, path: ProbePath) -> Self {
        self.body_rules().probe = Some(path);
        self
    }

    fn body_rules(&mut self) -> &mut BodyRules {
        Arc::make_mut(self.by_body.get_or_insert_default())
    }

    /// Judges an answer by its head, without its body.
    #[inline]
    pub fn judge_head(&self, status: StatusCode, headers: &HeaderMap, head: &H) -> Verdict {
        match self.judge_status(status, headers) {
            Verdict::None if self.matches(head) => Verdict::RefreshToken,
            verdict => verdict,
        }
    }

    #[inline]
    fn judge_status(&self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        let listed = match &self.statuses {
            None => status == StatusCode::UNAUTHORIZED,
            Some(statuses) => statuses.contains(&status),
        };
        if listed || self.also.contains(&status) {
            challenge::judge_refusal(headers)
        } else if challenge::judge_grpc(headers) {
            Verdict::RefreshToken
        } else {
            Verdict::None
        }
    }

    fn matches(&self, head: &H) -> bool {
        self.by_head.iter().any(|refused| refused(head))
    }
}

impl RefusalRules {
    /// The default rules, for predicates of [`Parts`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges an answer by its head, without its body. Leaves the answer unchanged.
    #[inline]
    pub fn judge<B>(&self, answer: &mut Response<B>) -> Verdict {
        match self.judge_status(answer.status(), answer.headers()) {
            Verdict::None if !self.by_head.is_empty() && self.matches_head(answer) => {
                Verdict::RefreshToken
            }
            verdict => verdict,
        }
    }

    /// Applies the predicates to the head. They read [`Parts`], so headers and extensions move into
    /// `Parts` and back.
    fn matches_head<B>(&self, answer: &mut Response<B>) -> bool {
        let (mut head, ()) = Response::new(()).into_parts();
        (head.status, head.version) = (answer.status(), answer.version());
        let mut swap = |head: &mut Parts| {
            std::mem::swap(&mut head.headers, answer.headers_mut());
            std::mem::swap(&mut head.extensions, answer.extensions_mut());
        };
        swap(&mut head);
        let matches = self.matches(&head);
        swap(&mut head);
        matches
    }
}

impl<H> Default for RefusalRules<H> {
    fn default() -> Self {
        Self {
            statuses: None,
            also: Vec::new(),
            by_head: Vec::new(),
            by_body: None,
        }
    }
}

impl<H> Clone for RefusalRules<H> {
    fn clone(&self) -> Self {
        Self {
            statuses: self.statuses.clone(),
            also: self.also.clone(),
            by_head: self.by_head.clone(),
            by_body: self.by_body.clone(),
        }
    }
}

impl<H> std::fmt::Debug for RefusalRules<H> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RefusalRules")
            .field("status_codes", &self.statuses)
            .field("also_status_codes", &self.also)
            .finish_non_exhaustive()
    }
}
