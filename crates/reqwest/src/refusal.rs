//! What an answer says about the token.

use std::sync::Arc;

use http::Method;
use reqwest::{Body, Response, ResponseBuilderExt as _};
use token_rotator::middleware::Exchange;
use token_rotator::middleware::challenge::Verdict;

use crate::client::Core;

impl Core {
    /// Judges an answer; may read its body, and then puts the body back.
    pub(crate) async fn judge<F>(
        &self,
        response: Response,
        method: &Method,
        exchange: &Exchange,
        probe: impl FnOnce(Arc<str>) -> F,
    ) -> (Response, Verdict)
    where
        F: Future<Output = Option<Verdict>>,
    {
        let (rules, headers) = (&self.refusals, response.headers());
        let verdict = rules.judge_head(response.status(), headers, &response);
        if verdict != Verdict::None || !rules.reads_body_of(method, headers) {
            return (response, verdict);
        }
        let url = response.url().clone();
        let carried = (exchange.pass(), exchange.is_replayed());
        let answer = http::Response::<Body>::from(response);
        let judged = rules.judge_body(&self.rotator, carried, method, answer, probe);
        let (mut answer, refused) = judged.await;
        // reqwest takes a URL only through an extension that this builder alone can make.
        if let Ok(carrier) = http::Response::builder().url(url).body(()) {
            answer
                .extensions_mut()
                .extend(carrier.into_parts().0.extensions);
        }
        let verdict = if refused {
            Verdict::RefreshToken
        } else {
            verdict
        };
        (answer.map(Body::wrap).into(), verdict)
    }
}
