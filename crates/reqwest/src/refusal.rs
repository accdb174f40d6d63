//! Is this answer a refusal of the token?

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use reqwest::{Response, ResponseBuilderExt as _};
use token_rotator::challenge::{StepUp, Verdict, judge};

/// The longest body that is read to be judged.
const JUDGED_BYTES_MAX: usize = 64 * 1024;

/// What counts as a refusal.
#[derive(Clone)]
pub(crate) struct Refusals {
    pub(crate) statuses: Option<Vec<StatusCode>>,
    pub(crate) by_head: Vec<ByHead>,
    pub(crate) by_body: Vec<ByBody>,
}

type ByHead = Arc<dyn Fn(&Response) -> bool + Send + Sync>;
type ByBody = Arc<dyn Fn(StatusCode, &[u8]) -> bool + Send + Sync>;

/// What an answer says about the token.
pub(crate) enum Judgement {
    Fine,
    Refused,
    StepUp(StepUp),
}

impl Refusals {
    pub(crate) fn of_401() -> Self {
        Self {
            statuses: None,
            by_head: Vec::new(),
            by_body: Vec::new(),
        }
    }

    /// Judges the answer to a request that carried the token, or was free to go without one
    /// (`bare`). May read the body, and then puts it back.
    pub(crate) async fn judge(
        &self,
        response: Response,
        bare: bool,
    ) -> Result<(Response, Judgement), reqwest::Error> {
        match self.by_challenge(&response) {
            Verdict::RefreshToken => return Ok((response, Judgement::Refused)),
            // There is no token yet that it could speak of: the first one may do.
            Verdict::NotAboutToken { .. } if bare => return Ok((response, Judgement::Refused)),
            Verdict::NotAboutToken { .. } => return Ok((response, Judgement::Fine)),
            Verdict::StepUp(step_up) => return Ok((response, Judgement::StepUp(step_up))),
            _ => {}
        }
        if self.by_head.iter().any(|refused| refused(&response)) {
            return Ok((response, Judgement::Refused));
        }
        if self.by_body.is_empty() || !is_json(response.headers()) {
            return Ok((response, Judgement::Fine));
        }
        let status = response.status();
        let (response, body) = peek(response).await?;
        let refused =
            body.is_some_and(|body| self.by_body.iter().any(|refused| refused(status, &body)));
        let judgement = if refused {
            Judgement::Refused
        } else {
            Judgement::Fine
        };
        Ok((response, judgement))
    }

    fn by_challenge(&self, response: &Response) -> Verdict {
        let status = response.status();
        let listed = match &self.statuses {
            None => status == StatusCode::UNAUTHORIZED,
            Some(statuses) => statuses.contains(&status),
        };
        if listed {
            // Whatever the status, a challenge that comes with it means what it means at a 401.
            judge(StatusCode::UNAUTHORIZED, response.headers())
        } else {
            Verdict::None
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    })
}

/// The answer as it was, and its body if that is short enough to be judged.
async fn peek(response: Response) -> Result<(Response, Option<Vec<u8>>), reqwest::Error> {
    let url = response.url().clone();
    let (mut parts, mut body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let (mut read, mut seen) = (VecDeque::new(), Vec::new());
    let mut whole = false;
    while seen.len() <= JUDGED_BYTES_MAX && !whole {
        match body.frame().await {
            None => whole = true,
            Some(frame) => {
                let frame = frame?;
                seen.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
                read.push_back(frame);
            }
        }
    }
    // The only way to tell reqwest a URL is through an extension that only this can make.
    if let Ok(carrier) = http::Response::builder().url(url).body(()) {
        parts.extensions.extend(carrier.into_parts().0.extensions);
    }
    let again = Again { read, rest: body };
    let response = http::Response::from_parts(parts, reqwest::Body::wrap(again)).into();
    Ok((response, whole.then_some(seen)))
}

/// A body of which a part was read already.
struct Again {
    read: VecDeque<Frame<Bytes>>,
    rest: reqwest::Body,
}

impl Body for Again {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.read.iter().filter_map(Frame::data_ref);
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
