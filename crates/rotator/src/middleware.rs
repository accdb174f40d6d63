//! The parts of the rotation for authors of HTTP clients and middleware.
//!
//! - [`Exchange`]: the request protocol without IO. It gives a request its token and decides the
//!   next step after each answer.
//! - [`RefusalRules`]: decide which answers refuse the token.
//! - [`PackedHead`]: keeps a request's head for the replay.
//! - [`drain`]: reads the rest of a refused answer.
//! - [`certificate_hint`]: names the clock if a certificate is not valid at its time.
//! - [`proxies`]: the HTTP proxies of the environment; [`is_loopback_host`]: hosts that need none.
//! - [`RotatorExt`]: gives access to the rotator's header name, origins and listeners.
//!
//! The [`tower`](crate::tower) layer, `token-rotator-reqwest` and `token-rotator-proxy` use these
//! parts.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use token_rotator::middleware::challenge::Verdict;
//! use token_rotator::middleware::{Exchange, Next, RefusalRules, endpoint_of};
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
//!     let mut answer = send(&request);
//!     let verdict = rules.judge(&mut answer);
//!     if verdict == Verdict::None {
//!         exchange.accepted(&rotator, answer.status(), answer.headers());
//!     }
//!     match exchange.settle(&rotator, verdict, answer.extensions_mut()) {
//!         Next::Replay => {
//!             if !exchange.renew(&rotator, endpoint, answer.extensions_mut()).await {
//!                 break answer; // no newer token
//!             }
//!         }
//!         _ => break answer,
//!     }
//! };
//! assert_eq!(answer.status(), 200);
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

use http::HeaderName;
use http_body::Body;
pub use token_rotator_core::Stamp;

pub use crate::http::challenge;
pub use crate::http::origin::is_loopback_host;
pub use crate::http::proxies;
pub use crate::http::{
    BodyRule, Exchange, Next, PackedHead, PeekedBody, ProbePath, RefusalRules, certificate_hint,
    endpoint, endpoint_of,
};
pub use crate::token::Pass;

use crate::event::Event;
use crate::http::origin::Origins;
use crate::rotator::Rotator;
use crate::token::Token;

/// Reads the rest of an answer that is not handed on, at most 16 KiB for at most 50 ms. The
/// connection of a fully read answer can be used again.
pub async fn drain<B: Body>(rotator: &Rotator, body: B) {
    rotator.drain(body).await;
}

/// The methods of a [`Rotator`] that clients and middleware call in addition to an [`Exchange`].
///
/// The trait is sealed: only [`Rotator`] implements it, so new methods are additions.
pub trait RotatorExt: sealed::Sealed {
    /// The header that carries the token.
    fn header_name(&self) -> &HeaderName;

    /// The origins to which a token may be sent.
    fn origins(&self) -> &Origins;

    /// The access token. Returns `None` if it is not usable now. Starts no refresh.
    ///
    /// For status pages. A request takes its token from [`Rotator::token`] or [`Exchange`].
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
