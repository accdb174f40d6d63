//! Locks and published values that callers and flights share. A model checker replaces the standard
//! library's primitives (`--cfg model_loom`, `--cfg model_shuttle`).

#[cfg(model_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(model_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(any(model_loom, model_shuttle)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

use std::sync::Arc;

/// Locks a mutex and ignores its poisoning. No code panics while a value of these mutexes is half
/// changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Locks a mutex of the standard library, which no model checker controls, and ignores its
/// poisoning.
pub(crate) fn lock_std<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A value with many readers and few writers.
#[cfg(not(model_loom))]
pub(crate) struct Published<T>(arc_swap::ArcSwapOption<T>);

#[cfg(not(model_loom))]
impl<T> Published<T> {
    pub(crate) fn empty() -> Self {
        Self(arc_swap::ArcSwapOption::empty())
    }

    pub(crate) fn replace(&self, value: Option<Arc<T>>) {
        self.0.store(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load().is_none()
    }

    /// Returns the value if `wanted` returns true. Clones the `Arc` only then.
    #[inline]
    pub(crate) fn get_if(&self, wanted: impl FnOnce(&T) -> bool) -> Option<Arc<T>> {
        let guard = self.0.load();
        match &*guard {
            Some(value) if wanted(value) => arc_swap::Guard::into_inner(guard),
            _ => None,
        }
    }
}

/// The published value in loom checks. loom does not support arc-swap. The check covers the order
/// in which readers see published values, and a lock gives the same order.
#[cfg(model_loom)]
pub(crate) struct Published<T>(Mutex<Option<Arc<T>>>);

#[cfg(model_loom)]
impl<T> Published<T> {
    pub(crate) fn empty() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn replace(&self, value: Option<Arc<T>>) {
        *lock(&self.0) = value;
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_none()
    }

    pub(crate) fn get_if(&self, wanted: impl FnOnce(&T) -> bool) -> Option<Arc<T>> {
        lock(&self.0).clone().filter(|value| wanted(value))
    }
}
