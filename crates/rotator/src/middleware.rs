//! What authors of HTTP clients and middleware build the rotation from.
//!
//! [`Exchange`] is the request protocol without IO, [`RefusalRules`] say which answers refuse the
//! token, and [`PackedHead`] keeps a request's head for the replay. [`drain`] empties a refused
//! answer. The [`tower`](crate::tower) layer, `token-rotator-reqwest` and `token-rotator-proxy` are
//! built from these parts.

use http_body::Body;

pub use crate::http::{
    BodyRule, Exchange, Next, PackedHead, PeekedBody, ProbePath, RefusalRules, endpoint,
    endpoint_of,
};
use crate::rotator::Rotator;

/// Reads the rest of an answer that is not handed on, so that its connection can be used again: at
/// most 16 KiB, for at most 50 ms.
pub async fn drain<B: Body>(rotator: &Rotator, body: B) {
    rotator.drain(body).await;
}
