//! Which answers refuse the token.

use std::sync::Arc;

use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::body_rule::{BodyRule, BodyRules};
use crate::http::challenge::{self, Verdict};

/// Which answers refuse the token.
///
/// By default those with the status 401 that are [about the token](crate::middleware::challenge), and those
/// with `grpc-status` 16. `H` is what a predicate of the head sees.
pub struct RefusalRules<H = Parts> {
    /// In place of 401.
    statuses: Option<Vec<StatusCode>>,
    also: Vec<StatusCode>,
    by_head: Vec<HeadPredicate<H>>,
    pub(super) by_body: Option<Arc<BodyRules>>,
}

type HeadPredicate<H> = Arc<dyn Fn(&H) -> bool + Send + Sync>;

impl<H> RefusalRules<H> {
    /// These statuses refuse the token, in place of 401.
    ///
    /// A challenge that comes with one means what it means at a 401: `insufficient_scope` and
    /// `invalid_request` are handed back without a refresh, and a step-up (RFC 9470) is typed.
    pub fn status_codes(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = Some(statuses.into_iter().collect());
        self
    }

    /// These statuses refuse the token too.
    pub fn also_status_codes(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.also.extend(statuses);
        self
    }

    /// Answers for which the predicate is true refuse the token too. The predicate sees every
    /// answer that its status leaves open, and should be quick.
    pub fn refused_when(mut self, refused: impl Fn(&H) -> bool + Send + Sync + 'static) -> Self {
        self.by_head.push(Arc::new(refused));
        self
    }

    /// Answers whose body matches the rule refuse the token too. See [`BodyRule`].
    pub fn refused_when_body(mut self, rule: BodyRule) -> Self {
        self.body_rules().rules.push(rule);
        self
    }

    /// A path of the upstream that a GET is sent to before a verdict by body is believed. See
    /// [`BodyRule`].
    pub fn probe(mut self, path: impl Into<Arc<str>>) -> Self {
        self.body_rules().probe = Some(path.into());
        self
    }

    fn body_rules(&mut self) -> &mut BodyRules {
        Arc::make_mut(self.by_body.get_or_insert_default())
    }

    /// What an answer with this head says about the token, bodies aside.
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
    /// The rules without any setting, for predicates of [`Parts`].
    pub fn new() -> Self {
        Self::default()
    }

    /// What an answer says about the token, its body aside. The answer comes back as it was.
    #[inline]
    pub fn judge<B>(&self, answer: Response<B>) -> (Response<B>, Verdict) {
        let verdict = self.judge_status(answer.status(), answer.headers());
        if self.by_head.is_empty() || verdict != Verdict::None {
            return (answer, verdict);
        }
        let (parts, body) = answer.into_parts();
        let verdict = if self.matches(&parts) {
            Verdict::RefreshToken
        } else {
            Verdict::None
        };
        (Response::from_parts(parts, body), verdict)
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
