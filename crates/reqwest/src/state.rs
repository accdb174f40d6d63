//! What a builder has been told so far about getting tokens. The compiler keeps it.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use token_rotator::{
    Refreshed, Rotator, RotatorBuilder, SessionKey, SourceError, TokenSet, TokenSource,
};

use crate::error::BuildError;
use crate::hooks::{AfterHooks, Said};
use crate::parse::{Parser, decode};
use crate::refresh::{Attempt, EndpointSource, RefreshCall, Way};

/// Nothing yet.
#[derive(Debug)]
pub struct Unset(pub(crate) ());

/// Reads tokens from answers of the type `T`.
pub struct Reads<T> {
    pub(crate) parser: Parser<T>,
    pub(crate) attempt: Option<Attempt<T>>,
    pub(crate) after: AfterHooks<T>,
    decode: fn(&[u8]) -> Result<T, String>,
}

/// Gets tokens from a [`TokenSource`].
pub struct Sourced {
    pub(crate) builder: RotatorBuilder,
    pub(crate) after: AfterHooks<TokenSet>,
}

/// Goes by a [`Rotator`] that was built elsewhere.
#[derive(Debug)]
pub struct BringsRotator(pub(crate) Rotator);

impl<T: DeserializeOwned + Send + Sync + 'static> Reads<T> {
    pub(crate) fn new(parser: Parser<T>) -> Self {
        Self {
            parser,
            attempt: None,
            after: AfterHooks::none(),
            decode,
        }
    }
}

impl Sourced {
    pub(crate) fn new(source: impl TokenSource) -> Self {
        Self {
            builder: Rotator::builder(Answering(source)),
            after: AfterHooks::none(),
        }
    }
}

/// The states of a builder in which it can build. Sealed.
#[diagnostic::on_unimplemented(
    message = "this client does not know yet how to read the access token out of the refresh answer",
    label = "call `on_refresh_success(|data: &RefreshResponse| &data.access_token)` or `bearer_field(\"accessToken\")` before this",
    note = "or bring a whole `token_source` or `rotator`"
)]
pub trait Ready: sealed::Ready {}

impl<T: Send + Sync + 'static> Ready for Reads<T> {}
impl Ready for Sourced {}
impl Ready for BringsRotator {}

/// The states of a builder in which the type of the refresh answer is known. Sealed.
#[diagnostic::on_unimplemented(
    message = "the type of the refresh answer is not known yet",
    label = "call `on_refresh_success` or `bearer_field` before this; where a rotator is brought, its own builder takes the hooks",
    note = "the hook's argument is what the parser reads the token from"
)]
pub trait Answers: sealed::Answers<Self::Answer> {
    /// What the after-hooks are given.
    type Answer: Send + Sync + 'static;
}

impl<T: Send + Sync + 'static> Answers for Reads<T> {
    type Answer = T;
}

impl Answers for Sourced {
    type Answer = TokenSet;
}

pub(crate) mod sealed {
    use super::{AfterHooks, Begun, BuildError, Said, Way};

    pub trait Ready {
        /// Where the refresh endpoint is asked; the default one if none was named.
        #[doc(hidden)]
        fn wants_endpoint(&self) -> bool;
        #[doc(hidden)]
        fn begin(self, way: Way, said: &Said) -> Result<Begun, BuildError>;
    }

    pub trait Answers<T> {
        #[doc(hidden)]
        fn after(&mut self) -> &mut AfterHooks<T>;
    }
}

/// What the settings are applied to.
pub enum Begun {
    Builder(RotatorBuilder),
    /// Of a refresh endpoint, whose answers may set cookies.
    Endpoint(RotatorBuilder),
    Built(Rotator),
}

impl<T: Send + Sync + 'static> sealed::Ready for Reads<T> {
    fn wants_endpoint(&self) -> bool {
        self.attempt.is_none()
    }

    fn begin(self, way: Way, said: &Said) -> Result<Begun, BuildError> {
        let attempt = self
            .attempt
            .unwrap_or_else(|| Box::new(|call| Box::pin(RefreshCall::ask_endpoint(call))));
        let builder = Rotator::builder(EndpointSource {
            way: Arc::new(way),
            decode: self.decode,
            attempt,
            parser: self.parser,
        });
        if self.after.is_empty() {
            return Ok(Begun::Endpoint(builder));
        }
        let (after, said) = (Arc::new(self.after), said.clone());
        let builder = builder.after_refresh(move |refreshed: Arc<Refreshed>| {
            let (after, said) = (Arc::clone(&after), said.clone());
            async move {
                let answer = refreshed.answer.clone();
                match answer.and_then(|answer| answer.downcast::<T>().ok()) {
                    Some(answer) => after.run(answer, said).await,
                    // Tokens adopted from elsewhere come without an answer.
                    None => Ok(()),
                }
            }
        });
        Ok(Begun::Endpoint(builder))
    }
}

impl<T: Send + Sync + 'static> sealed::Answers<T> for Reads<T> {
    fn after(&mut self) -> &mut AfterHooks<T> {
        &mut self.after
    }
}

impl sealed::Ready for Sourced {
    fn wants_endpoint(&self) -> bool {
        false
    }

    fn begin(self, _way: Way, said: &Said) -> Result<Begun, BuildError> {
        if self.after.is_empty() {
            return Ok(Begun::Builder(self.builder));
        }
        let (after, said) = (Arc::new(self.after), said.clone());
        let builder = self
            .builder
            .after_refresh(move |refreshed: Arc<Refreshed>| {
                let tokens = Arc::new(refreshed.tokens.clone());
                Arc::clone(&after).run(tokens, said.clone())
            });
        Ok(Begun::Builder(builder))
    }
}

impl sealed::Answers<TokenSet> for Sourced {
    fn after(&mut self) -> &mut AfterHooks<TokenSet> {
        &mut self.after
    }
}

impl sealed::Ready for BringsRotator {
    fn wants_endpoint(&self) -> bool {
        false
    }

    fn begin(self, _way: Way, _said: &Said) -> Result<Begun, BuildError> {
        Ok(Begun::Built(self.0))
    }
}

/// A source whose answers always reach the after-hook, which runs only where there is one.
struct Answering<S>(S);

impl<S: TokenSource> TokenSource for Answering<S> {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.0.refresh(last).await.map(answering)
    }

    async fn refresh_session(
        &self,
        session: &SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> Result<Refreshed, SourceError> {
        self.0.refresh_session(session, last).await.map(answering)
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.0.revoke(tokens).await
    }
}

fn answering(refreshed: Refreshed) -> Refreshed {
    if refreshed.answer.is_some() {
        return refreshed;
    }
    refreshed.with_answer(Arc::new(()))
}

impl<T> std::fmt::Debug for Reads<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reads").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sourced {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sourced").finish_non_exhaustive()
    }
}
