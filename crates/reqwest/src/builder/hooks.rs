//! What the user wants to be told.

use std::sync::Arc;

use token_rotator::{Event, RefreshError};

use crate::builder::ClientBuilder;
use crate::hooks::{FailedHook, HookResult};
use crate::state::Answers;

impl<State> ClientBuilder<State> {
    /// Runs this after each refresh, with the answer that the parser read. Call it for each hook.
    ///
    /// The new token is served already, and whoever waited for the refresh is held back until all
    /// after-hooks have ended, at most 5 s. A call made from here uses the new token. A panic or an
    /// error is an [`Event::HookFailed`] and no more.
    ///
    /// The hooks run one after the other, in a task of their own, each to its end. If they take longer
    /// than the 5 s, that is an [`Event::HookFailed`] and the waiters go, but the hooks are not cut
    /// off; the next refresh may have begun by the time they end, and
    /// [`shutdown`](crate::Client::shutdown) does not wait for them.
    ///
    /// It must not block; what waits goes into
    /// [`on_after_refresh_async`](Self::on_after_refresh_async).
    pub fn on_after_refresh<R: HookResult>(
        mut self,
        hook: impl Fn(&State::Answer) -> R + Send + Sync + 'static,
    ) -> Self
    where
        State: Answers,
    {
        self.state.after().push(hook);
        self
    }

    /// The same for a hook that waits for something.
    pub fn on_after_refresh_async<F, Fut>(mut self, hook: F) -> Self
    where
        State: Answers,
        F: Fn(Arc<State::Answer>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        self.state.after().push_async(hook);
        self
    }

    /// Runs this when the session is over: the endpoint will not refresh it again, so somebody has
    /// to sign in. Once for each sign-in. Whatever else can go wrong with a refresh passes, and is
    /// an event ([`on_event`](Self::on_event)).
    ///
    /// Runs before those who waited are told. A panic or an error is an [`Event::HookFailed`].
    pub fn on_refresh_failed<R: HookResult>(
        mut self,
        hook: impl Fn(&RefreshError) -> R + Send + Sync + 'static,
    ) -> Self {
        let said = self.settings.said.clone();
        self.settings.failed.push(FailedHook::new(hook, said));
        self
    }

    /// The same for a hook that waits for something; nobody waits for it. It may take 5 s
    /// and is then dropped, which is an [`Event::HookFailed`].
    pub fn on_refresh_failed_async<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(RefreshError) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        let said = self.settings.said.clone();
        self.settings.failed.push(FailedHook::new_async(hook, said));
        self
    }

    /// Calls this with everything that happens. Call it for each listener. No event holds a token;
    /// a listener that panics harms nobody.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.listeners.push(Arc::new(listener));
        self
    }
}
