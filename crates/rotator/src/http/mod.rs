//! The HTTP side of the rotation: allowed origins, the judgement of answers, the request protocol.
//!
//! - [`origin`]: the origins that a token may be sent to.
//! - [`proxies`]: the HTTP proxies of the environment, and the hosts reached without one.
//! - [`challenge`]: what `WWW-Authenticate` and `grpc-status` say about a token.
//! - `refusal`, `body_rule`, `probe`: the rules that decide which answers refuse the token.
//! - `peeked`: a body that was read in part to judge it.
//! - `exchange`: the request protocol, without any IO.
//! - `packed`: the copy of a request's head for a replay.
//! - `certificate`: certificates that the local clock calls invalid.
//! - `drain`: reads the rest of a refused answer.

mod body_rule;
mod certificate;
pub mod challenge;
mod drain;
mod exchange;
pub(crate) mod origin;
mod packed;
mod peeked;
mod probe;
pub mod proxies;
mod refusal;

pub use body_rule::BodyRule;
pub use certificate::certificate_hint;
pub use exchange::{Exchange, Next, endpoint, endpoint_of};
pub use packed::PackedHead;
pub use peeked::PeekedBody;
pub use probe::ProbePath;
pub use refusal::RefusalRules;
