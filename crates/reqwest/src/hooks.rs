//! The user's hooks. A panic or error of a hook does not affect the session.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use token_rotator::{Event, HookProblem, RefreshError};
use tokio::sync::oneshot;

/// The name of `on_refresh_failed` in events.
const FAILED_HOOK: &str = "on_refresh_failed";

/// Time limit of an asynchronous `on_refresh_failed`.
const FAILED_HOOK_LIMIT: Duration = Duration::from_secs(5);

/// The return value of a hook: `()`, or a [`Result`] whose error is reported as an
/// [`Event::HookFailed`].
#[diagnostic::on_unimplemented(
    message = "a hook returns nothing or a `Result<(), E>`, not `{Self}`",
    note = "end the closure's last expression with `;`"
)]
pub trait HookResult {
    /// Converts the error to its text.
    fn into_result(self) -> Result<(), String>;
}

impl HookResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> HookResult for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// The hooks that run after a refresh, in their order.
pub struct AfterHooks<T>(Vec<AfterHook<T>>);

type AfterHook<T> = Box<dyn Fn(Arc<T>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

impl<T: Send + Sync + 'static> AfterHooks<T> {
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push<R: HookResult>(&mut self, hook: impl Fn(&T) -> R + Send + Sync + 'static) {
        self.0.push(Box::new(move |answer| {
            let result = hook(&answer).into_result();
            Box::pin(std::future::ready(result))
        }));
    }

    pub(crate) fn push_async<F, Fut>(&mut self, hook: F)
    where
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        self.0.push(Box::new(move |answer| {
            Box::pin(hook(answer).map(HookResult::into_result))
        }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs all hooks in their order in a separate task. A panic or error of a hook does not stop
    /// the others. The rotator reports the first panic or the errors. If the rotator no longer
    /// waits, `reporter` reports them.
    ///
    /// *Cancellation* leaves the hooks running.
    pub(crate) async fn run(
        self: Arc<Self>,
        answer: Arc<T>,
        reporter: HookReporter,
    ) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(late) = sender.send(self.run_all(answer).await) {
                reporter.report_outcome("after_refresh", late);
            }
        });
        match receiver.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_dropped) => Err("the runtime ended before the hooks did".to_owned()),
        }
    }

    async fn run_all(&self, answer: Arc<T>) -> HookOutcome {
        let (mut panic, mut errors) = (None, Vec::new());
        for hook in &self.0 {
            let call = async { hook(Arc::clone(&answer)).await };
            match AssertUnwindSafe(call).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => errors.push(error),
                Err(payload) => panic = panic.or(Some(payload)),
            }
        }
        match panic {
            Some(payload) => Err(payload),
            None if errors.is_empty() => Ok(Ok(())),
            None => Ok(Err(errors.join("; "))),
        }
    }
}

/// The result of hooks, or a panic.
type HookOutcome = std::thread::Result<Result<(), String>>;

/// A listener for all events.
pub(crate) type EventListener = Arc<dyn Fn(&Event) + Send + Sync>;

/// A hook that runs when the session ends.
#[derive(Clone)]
pub(crate) enum FailedHook {
    Sync(Arc<dyn Fn(&RefreshError) + Send + Sync>),
    Async(Arc<dyn Fn(RefreshError) -> BoxFuture<'static, ()> + Send + Sync>),
}

impl FailedHook {
    pub(crate) fn new<R: HookResult>(
        hook: impl Fn(&RefreshError) -> R + Send + Sync + 'static,
        reporter: HookReporter,
    ) -> Self {
        Self::Sync(Arc::new(move |error| {
            let outcome = catch_unwind(AssertUnwindSafe(|| hook(error).into_result()));
            reporter.report_outcome(FAILED_HOOK, outcome);
        }))
    }

    pub(crate) fn new_async<F, Fut>(hook: F, reporter: HookReporter) -> Self
    where
        F: Fn(RefreshError) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        let hook = Arc::new(hook);
        Self::Async(Arc::new(move |error| {
            let (hook, reporter) = (Arc::clone(&hook), reporter.clone());
            Box::pin(async move {
                let call = AssertUnwindSafe(async { hook(error).await.into_result() });
                let limited = tokio::time::timeout(FAILED_HOOK_LIMIT, call.catch_unwind());
                match limited.await {
                    Ok(outcome) => reporter.report_outcome(FAILED_HOOK, outcome),
                    Err(_elapsed) => reporter.report(
                        FAILED_HOOK,
                        HookProblem::TimedOut {
                            after: FAILED_HOOK_LIMIT,
                        },
                    ),
                }
            })
        }))
    }

    /// Runs the hook if the event says that a user has to sign in: the session has ended, or the
    /// issuer refuses it without a reason.
    pub(crate) fn on_event(&self, event: &Event) {
        let (Event::Ended { error } | Event::RefusedWithoutReason { error }) = event else {
            return;
        };
        match self {
            Self::Sync(hook) => hook(error),
            Self::Async(hook) => {
                // A session ends in a flight, and flights run on a runtime.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(hook(error.clone()));
                }
            }
        }
    }
}

/// Reports failed hooks of this crate to the event listeners; the rotator does not run these hooks.
/// `build` sets the listeners.
#[derive(Clone, Default)]
pub struct HookReporter(Arc<std::sync::OnceLock<Vec<EventListener>>>);

impl HookReporter {
    /// Sets the listeners.
    pub(crate) fn set_listeners(&self, listeners: Vec<EventListener>) {
        // The call cannot fail, because a builder builds once.
        let _ = self.0.set(listeners);
    }

    fn report_outcome(&self, hook: &'static str, outcome: HookOutcome) {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(message)) => self.report(hook, HookProblem::Failed { message }),
            Err(_panic) => self.report(hook, HookProblem::Panicked),
        }
    }

    fn report(&self, hook: &'static str, problem: HookProblem) {
        let event = Event::HookFailed { hook, problem };
        tracing::debug!(target: "token_rotator", ?event);
        for listener in self.0.get().into_iter().flatten() {
            // A panic must not skip the other listeners. The rotator reports panics of listeners.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(&event)));
        }
    }
}
