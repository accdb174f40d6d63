//! The token source: exchanges the last token set for the next one.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::error::SourceError;
use crate::store::{Binding, Fingerprint, SessionKey};
use crate::token::token_set::TokenSet;

/// Exchanges the last token set for the next one.
///
/// A rotator calls the source under the lease, one call at a time, in a separate task. After
/// [`source_timeout`](crate::RotatorBuilder::source_timeout) the rotator drops the future, and the
/// outcome counts as uncertain.
///
/// A source must not repeat a request whose bytes may have been sent. The rotator decides about
/// that by the issuer's [`Profile`](crate::Profile).
///
/// Closures from `Option<Arc<TokenSet>>` to a future of `Result<TokenSet, SourceError>` implement
/// this trait.
pub trait TokenSource: Send + Sync + 'static {
    /// Makes one attempt at a refresh. `last` is `None` if there is no token set yet.
    ///
    /// If the source calls its own rotator, the call fails at once with
    /// [`TokenError::Reentrant`](crate::TokenError::Reentrant). Otherwise it would wait for itself.
    /// A call from a task that the source spawns, for example by `tokio::spawn`, cannot be detected:
    /// it waits for this refresh until
    /// [`source_timeout`](crate::RotatorBuilder::source_timeout), and the refresh fails with
    /// [`RefreshError::TimedOut`](crate::RefreshError::TimedOut).
    fn refresh(
        &self,
        last: Option<Arc<TokenSet>>,
    ) -> impl Future<Output = Result<Refreshed, SourceError>> + Send;

    /// Makes one attempt at a refresh for one of
    /// [many sessions](crate::RotatorBuilder::build_many).
    ///
    /// For sources that treat sessions differently, for example by scope or resource. Default:
    /// calls [`refresh`](Self::refresh).
    fn refresh_session(
        &self,
        _session: &SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> impl Future<Output = Result<Refreshed, SourceError>> + Send {
        self.refresh(last)
    }

    /// Revokes this grant at the issuer (RFC 7009). Default: does nothing.
    ///
    /// A rotator calls it after a sign-out, and for tokens that arrive after the sign-out. The
    /// rotator does not repeat a failed call.
    fn revoke(
        &self,
        _tokens: Arc<TokenSet>,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Identifies the configuration of this source. Default: `None`.
    ///
    /// A *misconfigured* failure, and an answer with unusable content, hold only for processes with
    /// the same fingerprint. Without a fingerprint they hold only on the host where they happened.
    fn fingerprint(&self, _session: &SessionKey) -> Option<Fingerprint> {
        None
    }

    /// Returns the addresses that the next refresh would be sent to. Sends no token. Default:
    /// `None`: a source without an address does not bind the session.
    ///
    /// A rotator calls it under the lease, before it presents the refresh token. The source may
    /// discover the addresses.
    fn binding(
        &self,
        _session: &SessionKey,
    ) -> impl Future<Output = Result<Option<Binding>, SourceError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Returns the addresses that [`revoke`](Self::revoke) would send tokens to. Sends no token.
    /// Default: those of [`binding`](Self::binding).
    fn binding_to_revoke(
        &self,
        session: &SessionKey,
    ) -> impl Future<Output = Result<Option<Binding>, SourceError>> + Send {
        self.binding(session)
    }

    /// Returns the addresses that are known without a request. Default: `None`.
    ///
    /// A rotator seals them at a sign-in. Without them, the first refresh seals the addresses that
    /// [`binding`](Self::binding) returns.
    fn known_binding(&self, _session: &SessionKey) -> Option<Binding> {
        None
    }
}

impl<F, Fut, R> TokenSource for F
where
    F: Fn(Option<Arc<TokenSet>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, SourceError>> + Send,
    R: Into<Refreshed>,
{
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self(last).await.map(Into::into)
    }
}

/// The result of a successful refresh.
#[derive(Clone)]
#[non_exhaustive]
pub struct Refreshed {
    /// The next token set.
    pub tokens: TokenSet,
    /// The answer in the source's own type, for the
    /// [after-hook](crate::RotatorBuilder::after_refresh). `None` if the source gives none.
    pub answer: Option<Arc<dyn Any + Send + Sync>>,
}

impl Refreshed {
    /// A result with these tokens and without an answer.
    pub fn new(tokens: TokenSet) -> Self {
        Self {
            tokens,
            answer: None,
        }
    }

    /// Sets the answer in the source's own type.
    pub fn with_answer(mut self, answer: Arc<dyn Any + Send + Sync>) -> Self {
        self.answer = Some(answer);
        self
    }
}

impl From<TokenSet> for Refreshed {
    fn from(tokens: TokenSet) -> Self {
        Self::new(tokens)
    }
}

impl std::fmt::Debug for Refreshed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Refreshed")
            .field("tokens", &self.tokens)
            .field("answer", &self.answer.is_some())
            .finish()
    }
}

/// A [`TokenSource`] of any type, for programs that choose the source at run time.
///
/// Cheap to clone. All clones are the same source.
///
/// ```
/// use token_rotator::{BoxedSource, SourceError, TokenSet};
///
/// let sources: Vec<BoxedSource> = vec![
///     BoxedSource::new(|_| async { Ok::<_, SourceError>(TokenSet::bearer("token")) }),
///     BoxedSource::new(|_| async { Err::<TokenSet, _>(SourceError::terminal("signed out")) }),
/// ];
/// # assert_eq!(sources.len(), 2);
/// ```
#[derive(Clone)]
pub struct BoxedSource(Arc<dyn DynSource>);

impl BoxedSource {
    /// Erases the type of this source.
    pub fn new(source: impl TokenSource) -> Self {
        Self(Arc::new(source))
    }
}

impl TokenSource for BoxedSource {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        DynSource::refresh(&*self.0, last).await
    }

    async fn refresh_session(
        &self,
        session: &SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> Result<Refreshed, SourceError> {
        DynSource::refresh_session(&*self.0, session, last).await
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        DynSource::revoke(&*self.0, tokens).await
    }

    fn fingerprint(&self, session: &SessionKey) -> Option<Fingerprint> {
        DynSource::fingerprint(&*self.0, session)
    }

    async fn binding(&self, session: &SessionKey) -> Result<Option<Binding>, SourceError> {
        DynSource::binding(&*self.0, session).await
    }

    async fn binding_to_revoke(
        &self,
        session: &SessionKey,
    ) -> Result<Option<Binding>, SourceError> {
        DynSource::binding_to_revoke(&*self.0, session).await
    }

    fn known_binding(&self, session: &SessionKey) -> Option<Binding> {
        DynSource::known_binding(&*self.0, session)
    }
}

impl std::fmt::Debug for BoxedSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("BoxedSource").finish_non_exhaustive()
    }
}

/// A token source whose type is erased.
pub(crate) trait DynSource: Send + Sync + 'static {
    fn refresh(&self, last: Option<Arc<TokenSet>>)
    -> BoxFuture<'_, Result<Refreshed, SourceError>>;
    fn refresh_session<'a>(
        &'a self,
        session: &'a SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> BoxFuture<'a, Result<Refreshed, SourceError>>;
    fn revoke(&self, tokens: Arc<TokenSet>) -> BoxFuture<'_, Result<(), SourceError>>;
    fn fingerprint(&self, session: &SessionKey) -> Option<Fingerprint>;
    fn binding<'a>(
        &'a self,
        session: &'a SessionKey,
    ) -> BoxFuture<'a, Result<Option<Binding>, SourceError>>;
    fn binding_to_revoke<'a>(
        &'a self,
        session: &'a SessionKey,
    ) -> BoxFuture<'a, Result<Option<Binding>, SourceError>>;
    fn known_binding(&self, session: &SessionKey) -> Option<Binding>;
}

impl<S: TokenSource> DynSource for S {
    fn refresh(
        &self,
        last: Option<Arc<TokenSet>>,
    ) -> BoxFuture<'_, Result<Refreshed, SourceError>> {
        Box::pin(TokenSource::refresh(self, last))
    }

    fn refresh_session<'a>(
        &'a self,
        session: &'a SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> BoxFuture<'a, Result<Refreshed, SourceError>> {
        Box::pin(TokenSource::refresh_session(self, session, last))
    }

    fn revoke(&self, tokens: Arc<TokenSet>) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(TokenSource::revoke(self, tokens))
    }

    fn fingerprint(&self, session: &SessionKey) -> Option<Fingerprint> {
        TokenSource::fingerprint(self, session)
    }

    fn binding<'a>(
        &'a self,
        session: &'a SessionKey,
    ) -> BoxFuture<'a, Result<Option<Binding>, SourceError>> {
        Box::pin(TokenSource::binding(self, session))
    }

    fn binding_to_revoke<'a>(
        &'a self,
        session: &'a SessionKey,
    ) -> BoxFuture<'a, Result<Option<Binding>, SourceError>> {
        Box::pin(TokenSource::binding_to_revoke(self, session))
    }

    fn known_binding(&self, session: &SessionKey) -> Option<Binding> {
        TokenSource::known_binding(self, session)
    }
}
