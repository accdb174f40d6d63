//! Limits how often the same line is logged: a caller must not fill the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time for which a cause is logged once.
const PERIOD: Duration = Duration::from_secs(60);

/// Number of different causes that are logged in a period.
const CAUSES: usize = 5;

/// Limits one kind of line. Each cause is logged at once, and then once a minute while it lasts. The
/// lines left out are counted.
pub(crate) struct LogLimit {
    /// The text of the line.
    pub(crate) line: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// End of the current period.
    until: Option<Instant>,
    /// The causes that were logged in the period.
    causes: Vec<String>,
    left_out: u64,
}

impl LogLimit {
    pub(crate) const fn new(line: &'static str) -> Self {
        let state = State {
            until: None,
            causes: Vec::new(),
            left_out: 0,
        };
        Self {
            line,
            state: Mutex::new(state),
        }
    }

    /// Whether a line with this cause is logged now. If not, the line is counted.
    pub(crate) fn permits(&self, cause: &str) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        if state.until.is_none_or(|until| until <= now) {
            state.until = Some(now + PERIOD);
            state.causes.clear();
        }
        let is_new =
            state.causes.len() < CAUSES && !state.causes.iter().any(|known| known == cause);
        if is_new {
            state.causes.push(cause.to_owned());
        } else {
            state.left_out += 1;
        }
        is_new
    }

    /// Returns the number of lines left out, once, after the end of their period.
    fn take_left_out(&self) -> Option<u64> {
        let mut state = self.state();
        if state.left_out == 0 || state.until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        Some(std::mem::take(&mut state.left_out))
    }

    /// Logs the number of lines left out, if their period has ended.
    pub(crate) fn summarise(&self, route: Option<&str>) {
        if let Some(count) = self.take_left_out() {
            tracing::warn!(
                route,
                count,
                line = self.line,
                "lines were left out of the log"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_cause_is_logged_once_a_minute_and_the_rest_is_counted() {
        let limit = LogLimit::new("a line");
        assert!(limit.permits("a"));
        assert!((0..1_000).all(|_| !limit.permits("a")));
        assert!(limit.permits("b"), "another cause is logged at once");
        assert_eq!(limit.take_left_out(), None, "the period has not ended");
        tokio::time::advance(PERIOD).await;
        assert_eq!(limit.take_left_out(), Some(1_000));
        assert_eq!(limit.take_left_out(), None);
        assert!(limit.permits("a"), "a cause that lasts is logged again");
        // Lines that are left out are counted even if the next period has begun.
        assert!(!limit.permits("a"));
        tokio::time::advance(PERIOD).await;
        assert!(limit.permits("c"));
        tokio::time::advance(PERIOD).await;
        assert_eq!(limit.take_left_out(), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_invents_causes_fills_no_log() {
        let limit = LogLimit::new("a line");
        let logged = (0..1_000).filter(|number| limit.permits(&number.to_string()));
        assert_eq!(logged.count(), CAUSES);
    }
}
