//! The compile-time states of a builder: where the client gets its tokens from.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use token_rotator::store::{Binding, Fingerprint};
use token_rotator::{
    Refreshed, Rotator, RotatorBuilder, SessionKey, SourceError, TokenSet, TokenSource,
};

use crate::error::BuildError;
use crate::hooks::{AfterHooks, HookReporter};
use crate::parse::{Parser, decode};
use crate::refresh::{EndpointSettings, EndpointSource, RefreshCall, RefreshFn};

/// The builder has no way to get tokens yet.
#[derive(Debug)]
pub struct Unset(pub(crate) ());

/// The builder has a parser for answers of the type `T`.
pub struct WithParser<T> {
    pub(crate) parser: Parser<T>,
    pub(crate) refresh: Option<RefreshFn<T>>,
    pub(crate) after: AfterHooks<T>,
    decode: fn(&[u8]) -> Result<T, String>,
}

/// The builder has a [`TokenSource`].
pub struct WithSource {
    pub(crate) builder: RotatorBuilder,
    pub(crate) after: AfterHooks<TokenSet>,
}

/// The builder has the caller's [`Rotator`].
#[derive(Debug)]
pub struct WithRotator(pub(crate) Rotator);

impl<T: DeserializeOwned + Send + Sync + 'static> WithParser<T> {
    pub(crate) fn new(parser: Parser<T>) -> Self {
        Self {
            parser,
            refresh: None,
            after: AfterHooks::none(),
            decode,
        }
    }
}

impl WithSource {
    pub(crate) fn new(source: impl TokenSource) -> Self {
        Self {
            builder: Rotator::builder(WithAnswer(source)),
            after: AfterHooks::none(),
        }
    }
}

/// States in which a builder can build. Sealed.
#[diagnostic::on_unimplemented(
    message = "the builder has no way to read the access token from the refresh answer",
    label = "call `on_refresh_success(|data: &RefreshResponse| &data.access_token)` or `bearer_field(\"accessToken\")` before this",
    note = "or call `token_source` or `rotator`"
)]
pub trait CanBuild: sealed::CanBuild {}

impl<T: Send + Sync + 'static> CanBuild for WithParser<T> {}
impl CanBuild for WithSource {}
impl CanBuild for WithRotator {}

/// States in which the type of the refresh answer is known. Sealed.
#[diagnostic::on_unimplemented(
    message = "the type of the refresh answer is not known yet",
    label = "call `on_refresh_success` or `bearer_field` before this; if you give a rotator, set the hooks on its own builder",
    note = "the hook's argument is what the parser reads the token from"
)]
pub trait HasAnswer: sealed::HasAnswer<Self::Answer> {
    /// The value that after-hooks get.
    type Answer: Send + Sync + 'static;
}

impl<T: Send + Sync + 'static> HasAnswer for WithParser<T> {
    type Answer = T;
}

impl HasAnswer for WithSource {
    type Answer = TokenSet;
}

pub(crate) mod sealed {
    use super::{AfterHooks, BuildError, EndpointSettings, HookReporter, RotatorSetup};

    pub trait CanBuild {
        /// Whether the client needs a refresh endpoint, and so the default one if none was set.
        #[doc(hidden)]
        fn needs_endpoint(&self) -> bool;
        #[doc(hidden)]
        fn setup(
            self,
            settings: EndpointSettings,
            reporter: &HookReporter,
        ) -> Result<RotatorSetup, BuildError>;
    }

    pub trait HasAnswer<T> {
        #[doc(hidden)]
        fn after_hooks(&mut self) -> &mut AfterHooks<T>;
    }
}

/// A rotator, or the builder that gets the client's settings.
pub enum RotatorSetup {
    Builder(RotatorBuilder),
    /// Builder with a refresh endpoint, whose answers may set cookies.
    Endpoint(RotatorBuilder),
    Built(Rotator),
}

impl<T: Send + Sync + 'static> sealed::CanBuild for WithParser<T> {
    fn needs_endpoint(&self) -> bool {
        self.refresh.is_none()
    }

    fn setup(
        self,
        settings: EndpointSettings,
        reporter: &HookReporter,
    ) -> Result<RotatorSetup, BuildError> {
        let refresh = self
            .refresh
            .unwrap_or_else(|| Box::new(|call| Box::pin(RefreshCall::post_to_endpoint(call))));
        let builder = Rotator::builder(EndpointSource {
            settings: Arc::new(settings),
            decode: self.decode,
            refresh,
            parser: self.parser,
        });
        if self.after.is_empty() {
            return Ok(RotatorSetup::Endpoint(builder));
        }
        let (after, reporter) = (Arc::new(self.after), reporter.clone());
        let builder = builder.after_refresh(move |refreshed: Arc<Refreshed>| {
            let (after, reporter) = (Arc::clone(&after), reporter.clone());
            async move {
                let answer = refreshed.answer.clone();
                match answer.and_then(|answer| answer.downcast::<T>().ok()) {
                    Some(answer) => after.run(answer, reporter).await,
                    // Tokens that were adopted from another process have no answer.
                    None => Ok(()),
                }
            }
        });
        Ok(RotatorSetup::Endpoint(builder))
    }
}

impl<T: Send + Sync + 'static> sealed::HasAnswer<T> for WithParser<T> {
    fn after_hooks(&mut self) -> &mut AfterHooks<T> {
        &mut self.after
    }
}

impl sealed::CanBuild for WithSource {
    fn needs_endpoint(&self) -> bool {
        false
    }

    fn setup(
        self,
        _settings: EndpointSettings,
        reporter: &HookReporter,
    ) -> Result<RotatorSetup, BuildError> {
        if self.after.is_empty() {
            return Ok(RotatorSetup::Builder(self.builder));
        }
        let (after, reporter) = (Arc::new(self.after), reporter.clone());
        let builder = self
            .builder
            .after_refresh(move |refreshed: Arc<Refreshed>| {
                let tokens = Arc::new(refreshed.tokens.clone());
                Arc::clone(&after).run(tokens, reporter.clone())
            });
        Ok(RotatorSetup::Builder(builder))
    }
}

impl sealed::HasAnswer<TokenSet> for WithSource {
    fn after_hooks(&mut self) -> &mut AfterHooks<TokenSet> {
        &mut self.after
    }
}

impl sealed::CanBuild for WithRotator {
    fn needs_endpoint(&self) -> bool {
        false
    }

    fn setup(
        self,
        _settings: EndpointSettings,
        _reporter: &HookReporter,
    ) -> Result<RotatorSetup, BuildError> {
        Ok(RotatorSetup::Built(self.0))
    }
}

/// Adds an empty answer to tokens without one, because after-hooks run only for tokens with an
/// answer.
struct WithAnswer<S>(S);

impl<S: TokenSource> TokenSource for WithAnswer<S> {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.0.refresh(last).await.map(with_answer)
    }

    async fn refresh_session(
        &self,
        session: &SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> Result<Refreshed, SourceError> {
        self.0.refresh_session(session, last).await.map(with_answer)
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.0.revoke(tokens).await
    }

    fn fingerprint(&self, session: &SessionKey) -> Option<Fingerprint> {
        self.0.fingerprint(session)
    }

    async fn binding(&self, session: &SessionKey) -> Result<Option<Binding>, SourceError> {
        self.0.binding(session).await
    }

    async fn binding_to_revoke(
        &self,
        session: &SessionKey,
    ) -> Result<Option<Binding>, SourceError> {
        self.0.binding_to_revoke(session).await
    }

    fn known_binding(&self, session: &SessionKey) -> Option<Binding> {
        self.0.known_binding(session)
    }
}

fn with_answer(refreshed: Refreshed) -> Refreshed {
    if refreshed.answer.is_some() {
        return refreshed;
    }
    refreshed.with_answer(Arc::new(()))
}

impl<T> std::fmt::Debug for WithParser<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WithParser").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WithSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WithSource").finish_non_exhaustive()
    }
}
