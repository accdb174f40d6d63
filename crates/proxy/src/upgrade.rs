//! Requests that go on in another protocol, `WebSocket` above all (RFC 9110 section 7.8).

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::client::conn::http1::Builder;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use token_rotator::Pass;
use tokio::io::copy_bidirectional;

use crate::body::AnswerBody;
use crate::connection::Slot;
use crate::forward::{Exchange, Head, drain};
use crate::headers;
use crate::problem::Problem;
use crate::tee::Upload;

/// Sends the handshake with its token, and once more with the next one if it is refused.
pub(crate) async fn run(
    exchange: &Exchange<'_>,
    head: Head,
    request: Request<Upload>,
    protocol: HeaderValue,
    caller: Option<OnUpgrade>,
    pass: &Pass,
) -> Result<Response<AnswerBody>, Problem> {
    let answer = handshake(exchange, request, &protocol).await?;
    if !exchange.is_refusal(&answer) {
        return Ok(go_on(exchange, answer, caller));
    }
    let Some(newer) = exchange.newer(pass).await else {
        exchange.target.stats.handed_back();
        return Ok(go_on(exchange, answer, caller));
    };
    drain(answer.into_body()).await;
    let mut request = head.request(Upload::Empty);
    newer.apply(exchange.target.rotator.header_name(), request.headers_mut());
    exchange.replaying(&newer);
    let answer = handshake(exchange, request, &protocol).await?;
    exchange.judge_replay(&answer, &newer);
    Ok(go_on(exchange, answer, caller))
}

/// Sends the handshake as it is.
pub(crate) async fn once(
    exchange: &Exchange<'_>,
    request: Request<Upload>,
    protocol: HeaderValue,
    caller: Option<OnUpgrade>,
) -> Result<Response<AnswerBody>, Problem> {
    let answer = handshake(exchange, request, &protocol).await?;
    Ok(go_on(exchange, answer, caller))
}

/// On a connection of its own, which is never used for anything else.
async fn handshake(
    exchange: &Exchange<'_>,
    mut request: Request<Upload>,
    protocol: &HeaderValue,
) -> Result<Response<hyper::body::Incoming>, Problem> {
    let (stream, http2) = exchange.connect().await?;
    if http2 {
        return Err(Problem::bad_request(
            "The upstream speaks HTTP/2, where there is no `Upgrade`",
        ));
    }
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
    let (mut sender, connection) = Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| exchange.failed(&error.into()))?;
    tokio::spawn(connection.with_upgrades());
    let answer = sender.send_request(request);
    let answer = match exchange.answer_timeout() {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => return Err(Problem::TIMEOUT),
        },
    };
    answer.map_err(|error| exchange.failed(&error.into()))
}

/// Joins both ends once both have switched.
fn go_on(
    exchange: &Exchange<'_>,
    mut answer: Response<hyper::body::Incoming>,
    caller: Option<OnUpgrade>,
) -> Response<AnswerBody> {
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = answer.headers().get(UPGRADE).cloned();
    headers::strip_hop_by_hop(answer.headers_mut());
    let (Some(caller), true) = (caller, switched) else {
        return answer.map(AnswerBody::Http2);
    };
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
    let upstream = hyper::upgrade::on(&mut answer);
    let slot = Slot::keep(exchange.worker);
    tokio::spawn(async move {
        let _slot = slot;
        if let (Ok(upstream), Ok(caller)) = (upstream.await, caller.await) {
            // An end that breaks off ends the other: there is nobody left to tell.
            let _ =
                copy_bidirectional(&mut TokioIo::new(upstream), &mut TokioIo::new(caller)).await;
        }
    });
    answer.map(|_| AnswerBody::Empty)
}
