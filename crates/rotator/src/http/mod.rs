//! HTTP as the rotation sees it: where a token may go, what an answer says about it, what follows.
//!
//! - [`origin`]: the origins that a token may be sent to.
//! - [`challenge`]: what `WWW-Authenticate` and `grpc-status` say about a token.
//! - `refusal`, `body_rule`: which answers refuse the token.
//! - `exchange`: the request protocol, without any IO.
//! - `packed`, `drain`: the copy of a request's head; the rest of a refused answer.

mod body_rule;
pub mod challenge;
mod drain;
mod exchange;
pub(crate) mod origin;
mod packed;
mod refusal;

pub use body_rule::{BodyRule, PeekedBody};
pub use exchange::{Exchange, Next, Settled, endpoint, endpoint_of};
pub use packed::PackedHead;
pub use refusal::RefusalRules;
