//! Builder methods that choose where tokens come from.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use token_rotator::{Rotator, SourceError, TokenSource};

use crate::access_token::IntoAccessToken;
use crate::builder::ClientBuilder;
use crate::parse::{self, Parser};
use crate::refresh::RefreshCall;
use crate::state::{Unset, WithParser, WithRotator, WithSource};

impl ClientBuilder<Unset> {
    /// Reads the access token from the refresh answer. The client deserializes the answer's JSON
    /// into the closure's argument type.
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
    /// The client reads the token's lifetime in seconds from `expiresIn` or `expires_in` of the
    /// answer. If the answer has neither and the token is a JWT, the client reads the lifetime from
    /// the token.
    ///
    /// A parser is not a hook: if it panics or finds no token, the refresh fails. The session stays
    /// signed in.
    pub fn on_refresh_success<T, R>(
        self,
        parser: impl Fn(&T) -> &R + Send + Sync + 'static,
    ) -> ClientBuilder<WithParser<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        R: ?Sized,
        for<'a> &'a R: IntoAccessToken,
    {
        self.reads(Parser::new(move |answer| {
            parser(answer).into_access_token()
        }))
    }

    /// Reads the access token from the refresh answer with a closure that returns a value: a token
    /// with its lifetime, an [`Option`], a [`Result`], or any other [`IntoAccessToken`]. A lifetime
    /// from the closure overrides the answer's fields.
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
    ) -> ClientBuilder<WithParser<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        R: IntoAccessToken,
    {
        self.reads(Parser::new(move |answer| {
            parser(answer).into_access_token()
        }))
    }

    /// Reads the access token from the refresh answer with an asynchronous closure. Its time counts
    /// towards the 15 s of a refresh.
    pub fn on_refresh_success_async<T, F, Fut>(self, parser: F) -> ClientBuilder<WithParser<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoAccessToken> + Send + 'static,
    {
        self.reads(Parser::new_async(parser))
    }

    /// Reads the access token from this field of the refresh answer. The lifetime in seconds comes
    /// from `expiresIn` or `expires_in` of the same object. Dots separate nested fields:
    /// `data.accessToken`.
    ///
    /// Hooks get the answer as a [`serde_json::Value`].
    pub fn bearer_field(self, name: impl Into<String>) -> ClientBuilder<WithParser<Value>> {
        let name = name.into();
        self.reads(Parser::new(move |answer| parse::field(&name, answer)))
    }

    /// Gets tokens from this source instead of a refresh endpoint. After-hooks get the token set.
    ///
    /// The client may send its first requests without a token. If every request needs one, as with
    /// client credentials, build a [`Rotator`] and call [`rotator`](Self::rotator).
    pub fn token_source(self, source: impl TokenSource) -> ClientBuilder<WithSource> {
        self.with_state(|Unset(())| WithSource::new(source))
    }

    /// Uses this rotator with its source, store, coordinator, origins, header and listeners.
    /// `build` fails if a setting of the rotator is also set here.
    pub fn rotator(self, rotator: Rotator) -> ClientBuilder<WithRotator> {
        self.with_state(|Unset(())| WithRotator(rotator))
    }

    fn reads<T>(self, parser: Parser<T>) -> ClientBuilder<WithParser<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.with_state(|Unset(())| WithParser::new(parser))
    }
}

impl<T: Send + Sync + 'static> ClientBuilder<WithParser<T>> {
    /// Refreshes with this closure instead of the POST to the refresh endpoint, for another
    /// transport or body. The parser reads the closure's result.
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
    /// The closure must not repeat a request that may have been sent. It must not use the client
    /// whose session it refreshes: such a request fails at once.
    pub fn refresh_with<F, Fut>(mut self, refresh: F) -> Self
    where
        F: Fn(RefreshCall<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, SourceError>> + Send + 'static,
    {
        self.state.refresh = Some(Box::new(move |call| Box::pin(refresh(call))));
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
