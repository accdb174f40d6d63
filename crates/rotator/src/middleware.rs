//! What authors of HTTP clients and middleware build the rotation from.
//!
//! [`Exchange`] is the request protocol without IO: it gives a request its token and decides what
//! follows from each answer. [`RefusalRules`] say which answers refuse the token, and
//! [`PackedHead`] keeps a request's head for the replay. [`drain`] empties a refused answer.
//! [`RotatorExt`] gives access to the rotator's header name, origins and listeners. The
//! [`tower`](crate::tower) layer, `token-rotator-reqwest` and `token-rotator-proxy` are built from
//! these parts.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use token_rotator::middleware::challenge::Verdict;
//! use token_rotator::middleware::{Exchange, RefusalRules, Settled, endpoint_of};
//! use token_rotator::{Rotator, SourceError, TokenSet};
//!
//! # let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("token")) };
//! # let send = |_: &http::Request<()>| http::Response::new(());
//! let rotator = Rotator::builder(source).origin("https://api.example.com").build()?;
//! let mut request = http::Request::get("https://api.example.com/orders").body(())?;
//! let endpoint = endpoint_of(request.uri());
//! let rules = RefusalRules::new();
//!
//! // The request can be sent twice: it has no body.
//! let mut exchange = Exchange::begin(&rotator, Ok(())).await?;
//! let answer = loop {
//!     exchange.apply(&rotator, request.headers_mut());
//!     let (mut answer, verdict) = rules.judge(send(&request));
//!     if verdict == Verdict::None {
//!         exchange.accepted(&rotator, answer.status(), answer.headers());
//!     }
//!     match exchange.settle(&rotator, verdict, answer.extensions_mut()) {
//!         Settled::Replay => {
//!             if !exchange.renew(&rotator, endpoint, answer.extensions_mut()).await {
//!                 break answer; // no newer token
//!             }
//!         }
//!         Settled::Answered | Settled::Refused => break answer,
//!     }
//! };
//! assert_eq!(answer.status(), 200);
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

use http::HeaderName;
use http_body::Body;
pub use token_rotator_core::Stamp;

pub use crate::http::challenge;
pub use crate::http::{
    BodyRule, Exchange, Next, PackedHead, PeekedBody, ProbePath, RefusalRules, endpoint,
    endpoint_of,
};
pub use crate::token::Pass;

use crate::event::Event;
use crate::http::origin::Origins;
use crate::rotator::Rotator;
use crate::token::Token;

/// Reads the rest of an answer that is not handed on, so that its connection can be used again: at
/// most 16 KiB, for at most 50 ms.
pub async fn drain<B: Body>(rotator: &Rotator, body: B) {
    rotator.drain(body).await;
}

/// The parts of a [`Rotator`] that clients and middleware use beside an [`Exchange`].
///
/// [`Rotator`] alone implements it, so new methods are additions.
pub trait RotatorExt: sealed::Sealed {
    /// The header that carries the token.
    fn header_name(&self) -> &HeaderName;

    /// The origins that a token may be sent to.
    fn origins(&self) -> &Origins;

    /// The access token, if it is usable now. Starts no refresh: for status pages. A request takes
    /// its token from [`Rotator::token`] or [`Exchange`].
    fn access_token(&self) -> Option<Token>;

    /// Calls the listeners of the rotator with this event.
    fn emit(&self, event: &Event);
}

impl RotatorExt for Rotator {
    #[inline]
    fn header_name(&self) -> &HeaderName {
        &self.session.placement.name
    }

    #[inline]
    fn origins(&self) -> &Origins {
        &self.session.origins
    }

    fn access_token(&self) -> Option<Token> {
        self.session.usable()
    }

    fn emit(&self, event: &Event) {
        self.session.emit(event);
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Rotator {}
}
