//! Where tokens come from.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use token_rotator::{Rotator, SourceError, TokenSource};

use crate::builder::ClientBuilder;
use crate::fresh::IntoFresh;
use crate::parse::{self, Parser};
use crate::refresh::RefreshCall;
use crate::state::{BringsRotator, Reads, Sourced, Unset};

impl ClientBuilder<Unset> {
    /// Reads the access token out of the refresh answer. The closure's argument type is the type
    /// that the answer's JSON is read as.
    ///
    /// ```
    /// # use token_rotator_reqwest::Client;
    /// #[derive(serde::Deserialize)]
    /// struct RefreshResponse {
    ///     access_token: String,
    /// }
    ///
    /// let builder = Client::builder()
    ///     .on_refresh_success(|data: &RefreshResponse| &data.access_token);
    /// ```
    ///
    /// The token's lifetime is read from `expiresIn` or `expires_in` of the same answer, in seconds;
    /// where there is neither and the token is a JWT, from the token itself.
    ///
    /// A parser is not a hook: if it panics or finds nothing, the refresh has failed. Nobody is
    /// signed out by that.
    pub fn on_refresh_success<T, R>(
        self,
        parser: impl Fn(&T) -> &R + Send + Sync + 'static,
    ) -> ClientBuilder<Reads<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        R: ?Sized,
        for<'a> &'a R: IntoFresh,
    {
        self.reads(Parser::new(move |answer| parser(answer).into_fresh()))
    }

    /// The same for a closure that does not return a reference: a token with its lifetime, an
    /// [`Option`], a [`Result`]; everything that is [`IntoFresh`]. A lifetime of its own wins over the
    /// answer's fields.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use token_rotator_reqwest::Client;
    /// #[derive(serde::Deserialize)]
    /// struct RefreshResponse {
    ///     access_token: String,
    ///     expires_in: u64,
    /// }
    ///
    /// let builder = Client::builder().on_refresh_success_with(|data: &RefreshResponse| {
    ///     (data.access_token.clone(), Duration::from_secs(data.expires_in))
    /// });
    /// ```
    pub fn on_refresh_success_with<T, R>(
        self,
        parser: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> ClientBuilder<Reads<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        R: IntoFresh,
    {
        self.reads(Parser::new(move |answer| parser(answer).into_fresh()))
    }

    /// The same for a closure that has to wait for something. It counts towards the time that a
    /// refresh may take, 15 s.
    pub fn on_refresh_success_async<T, F, Fut>(self, parser: F) -> ClientBuilder<Reads<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoFresh> + Send + 'static,
    {
        self.reads(Parser::new_async(parser))
    }

    /// Reads the access token from this field of the refresh answer, and its lifetime in seconds
    /// from `expiresIn` or `expires_in` beside it. Dots lead into objects: `data.accessToken`.
    ///
    /// Hooks are given the answer as a [`serde_json::Value`].
    pub fn bearer_field(self, name: impl Into<String>) -> ClientBuilder<Reads<Value>> {
        let name = name.into();
        self.reads(Parser::new(move |answer| parse::field(&name, answer)))
    }

    /// Gets tokens from this source, in place of a refresh endpoint. After-hooks are given the token
    /// set.
    ///
    /// The client may send its first requests without a token; where that is of no use, as with
    /// client credentials, build a [`Rotator`] and bring that one.
    pub fn token_source(self, source: impl TokenSource) -> ClientBuilder<Sourced> {
        self.with_state(|Unset(())| Sourced::new(source))
    }

    /// Goes by this rotator: its source, store, coordinator, origins, header and listeners. What
    /// belongs to it cannot be set here.
    pub fn rotator(self, rotator: Rotator) -> ClientBuilder<BringsRotator> {
        self.with_state(|Unset(())| BringsRotator(rotator))
    }

    fn reads<T>(self, parser: Parser<T>) -> ClientBuilder<Reads<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.with_state(|Unset(())| Reads::new(parser))
    }
}

impl<T: Send + Sync + 'static> ClientBuilder<Reads<T>> {
    /// Refreshes with this closure in place of the POST to the refresh endpoint: another transport,
    /// another body. What it returns goes to the parser.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use token_rotator_reqwest::Client;
    /// # #[derive(Serialize)] struct Device { device: &'static str }
    /// # #[derive(Deserialize)] struct RefreshResponse { access_token: String }
    /// let builder = Client::builder()
    ///     .base_url("https://api.example.com")
    ///     .on_refresh_success(|data: &RefreshResponse| &data.access_token)
    ///     .refresh_with(|call| async move {
    ///         let request = call.post("/v2/token/refresh")?.json(&Device { device: "phone" });
    ///         call.send(request).await
    ///     });
    /// ```
    ///
    /// It must not repeat a request that may have been sent, and it must not use the client it
    /// refreshes for: such a call fails at once.
    pub fn refresh_with<F, Fut>(mut self, refresh: F) -> Self
    where
        F: Fn(RefreshCall<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, SourceError>> + Send + 'static,
    {
        self.state.attempt = Some(Box::new(move |call| Box::pin(refresh(call))));
        self
    }
}

impl<State> ClientBuilder<State> {
    fn with_state<Next>(self, next: impl FnOnce(State) -> Next) -> ClientBuilder<Next> {
        ClientBuilder {
            settings: self.settings,
            state: next(self.state),
        }
    }
}
