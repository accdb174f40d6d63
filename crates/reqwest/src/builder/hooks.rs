//! Builder methods for hooks and event listeners.

use std::sync::Arc;

use token_rotator::{Event, RefreshError};

use crate::builder::ClientBuilder;
use crate::hooks::{FailedHook, HookResult};
use crate::state::HasAnswer;

impl<State> ClientBuilder<State> {
    /// Runs this hook after each refresh, with the answer that the parser read. Call the method
    /// once for each hook.
    ///
    /// New requests already use the new token. Waiters of the refresh continue when all after-hooks
    /// have ended, after 5 s at most. A request from the hook uses the new token. A panic or an
    /// error of the hook is an [`Event::HookFailed`] and has no other effect.
    ///
    /// The hooks run one after the other in a separate task, each until it ends. If they take
    /// longer than 5 s, the waiters continue, and an [`Event::HookFailed`] reports it. The hooks
    /// are not cancelled. The next refresh may begin before they end, and
    /// [`shutdown`](crate::Client::shutdown) does not wait for them.
    ///
    /// The hook must not block; use [`on_after_refresh_async`](Self::on_after_refresh_async) for a
    /// hook that waits.
    pub fn on_after_refresh<R: HookResult>(
        mut self,
        hook: impl Fn(&State::Answer) -> R + Send + Sync + 'static,
    ) -> Self
    where
        State: HasAnswer,
    {
        self.state.after_hooks().push(hook);
        self
    }

    /// Runs this asynchronous hook after each refresh. The rules of
    /// [`on_after_refresh`](Self::on_after_refresh) apply.
    pub fn on_after_refresh_async<F, Fut>(mut self, hook: F) -> Self
    where
        State: HasAnswer,
        F: Fn(Arc<State::Answer>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        self.state.after_hooks().push_async(hook);
        self
    }

    /// Runs this hook when the session ends: the endpoint refuses every further refresh, and the
    /// user must sign in. The hook runs once for each sign-in. All other failures of a refresh are
    /// transient, and are events ([`on_event`](Self::on_event)).
    ///
    /// The hook runs before the waiters get their error. A panic or an error of the hook is an
    /// [`Event::HookFailed`].
    pub fn on_refresh_failed<R: HookResult>(
        mut self,
        hook: impl Fn(&RefreshError) -> R + Send + Sync + 'static,
    ) -> Self {
        let reporter = self.settings.hook_reporter.clone();
        self.settings
            .failed_hooks
            .push(FailedHook::new(hook, reporter));
        self
    }

    /// Runs this asynchronous hook when the session ends, as
    /// [`on_refresh_failed`](Self::on_refresh_failed) does. No caller waits for the hook. After 5 s
    /// the hook is cancelled, and an [`Event::HookFailed`] reports it.
    pub fn on_refresh_failed_async<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(RefreshError) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        let reporter = self.settings.hook_reporter.clone();
        self.settings
            .failed_hooks
            .push(FailedHook::new_async(hook, reporter));
        self
    }

    /// Calls this listener with every event. Call the method once for each listener. No event
    /// contains a token. A panic of a listener has no effect on requests.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.listeners.push(Arc::new(listener));
        self
    }
}
