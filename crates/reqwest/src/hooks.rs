//! The user's hooks: none of them can break the session.

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

/// How long an asynchronous `on_refresh_failed` may take.
const FAILED_HOOK_LIMIT: Duration = Duration::from_secs(5);

/// What a hook may return: nothing, or a [`Result`] whose error is reported as an
/// [`Event::HookFailed`].
#[diagnostic::on_unimplemented(
    message = "a hook returns nothing or a `Result<(), E>`, not `{Self}`",
    note = "end the closure's last expression with `;`"
)]
pub trait HookResult {
    /// The error in its own words.
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

/// The hooks that run after a refresh, in the order they were given.
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

    /// Runs them all in their order, each to its end, whatever each does; whoever stops waiting for
    /// them stops none. The rotator reports the first panic or the errors, and if it has given up
    /// waiting by then, they are reported here.
    pub(crate) async fn run(self: Arc<Self>, answer: Arc<T>, said: Said) -> Result<(), String> {
        let (done, ended) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(late) = done.send(self.run_all(answer).await) {
                said.outcome("after_refresh", late);
            }
        });
        match ended.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_gone) => Err("the runtime ended before the hooks did".to_owned()),
        }
    }

    async fn run_all(&self, answer: Arc<T>) -> Outcome {
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

/// How hooks ended: with a panic, or what they returned.
type Outcome = std::thread::Result<Result<(), String>>;

/// Whoever is told about everything.
pub(crate) type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// Whoever is told that the session is over.
#[derive(Clone)]
pub(crate) enum FailedHook {
    Sync(Arc<dyn Fn(&RefreshError) + Send + Sync>),
    Async(Arc<dyn Fn(RefreshError) -> BoxFuture<'static, ()> + Send + Sync>),
}

impl FailedHook {
    pub(crate) fn new<R: HookResult>(
        hook: impl Fn(&RefreshError) -> R + Send + Sync + 'static,
        listeners: Said,
    ) -> Self {
        Self::Sync(Arc::new(move |error| {
            let outcome = catch_unwind(AssertUnwindSafe(|| hook(error).into_result()));
            listeners.outcome(FAILED_HOOK, outcome);
        }))
    }

    pub(crate) fn new_async<F, Fut>(hook: F, listeners: Said) -> Self
    where
        F: Fn(RefreshError) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        let hook = Arc::new(hook);
        Self::Async(Arc::new(move |error| {
            let (hook, listeners) = (Arc::clone(&hook), listeners.clone());
            Box::pin(async move {
                let call = AssertUnwindSafe(async { hook(error).await.into_result() });
                let limited = tokio::time::timeout(FAILED_HOOK_LIMIT, call.catch_unwind());
                match limited.await {
                    Ok(outcome) => listeners.outcome(FAILED_HOOK, outcome),
                    Err(_elapsed) => listeners.problem(
                        FAILED_HOOK,
                        HookProblem::TimedOut {
                            after: FAILED_HOOK_LIMIT,
                        },
                    ),
                }
            })
        }))
    }

    /// Runs it if this event is the end of the session.
    pub(crate) fn hear(&self, event: &Event) {
        let Event::Ended { error } = event else {
            return;
        };
        match self {
            Self::Sync(hook) => hook(error),
            Self::Async(hook) => {
                // A session ends in a flight, and flights run in a runtime.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(hook(error.clone()));
                }
            }
        }
    }
}

/// The listeners, for what the rotator cannot know: that a hook of this crate failed. Filled when
/// the client is built.
#[derive(Clone, Default)]
pub struct Said(Arc<std::sync::OnceLock<Vec<Listener>>>);

impl Said {
    /// To these from now on.
    pub(crate) fn to(&self, listeners: Vec<Listener>) {
        // A builder builds once.
        let _ = self.0.set(listeners);
    }

    fn outcome(&self, hook: &'static str, outcome: Outcome) {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(message)) => self.problem(hook, HookProblem::Failed { message }),
            Err(_panic) => self.problem(hook, HookProblem::Panicked),
        }
    }

    fn problem(&self, hook: &'static str, problem: HookProblem) {
        let event = Event::HookFailed { hook, problem };
        tracing::debug!(target: "token_rotator", ?event);
        for listener in self.0.get().into_iter().flatten() {
            // A listener that panics harms nobody else, and the rotator reports its panics anyway.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(&event)));
        }
    }
}
