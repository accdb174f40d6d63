//! The ways an issuer fails, by rule.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// What happens to one refresh request instead of a plain answer.
///
/// Those that *consume* present the refresh token to the ledger first, so that it is used up (or trips the alarm)
/// exactly as without the fault.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Waits this long, then goes on as usual: consumes and answers.
    Delay(Duration),
    /// This status with an empty body; consumes nothing. 429, 503, 500 and the like.
    Status {
        /// The status code, 200 to 599.
        status: u16,
        /// The value of `Retry-After`: seconds or an HTTP date (RFC 9110 section 10.2.3).
        retry_after: Option<String>,
    },
    /// Never answers, until the client goes; consumes nothing.
    Hang,
    /// Resets the connection (RST); consumes nothing.
    ResetBefore,
    /// Consumes, then resets the connection (RST).
    ResetAfter,
    /// Consumes, then closes the connection without an answer.
    AnswerLost,
    /// Consumes, then answers 200 with the first half of the JSON.
    MalformedJson,
    /// Consumes, then answers 200 with an empty body.
    EmptyBody,
    /// Answers 200 with `{"error": "invalid_grant"}`; consumes nothing.
    ErrorInside200,
    /// Consumes and answers, with this in place of the lifetime (`expires_in` or `expiresIn`).
    WrongExpiry(Value),
    /// Consumes and answers, with this in place of the token type. The cookie endpoint has none and answers as usual.
    TokenType(String),
    /// Redirects there (307); consumes nothing.
    Redirect(String),
    /// Answers 403 with an HTML page, as firewalls do; consumes nothing.
    HtmlForbidden,
    /// Answers this status with `{"error": ...}` (RFC 6749 section 5.2); consumes nothing.
    OAuthError {
        /// The status code, 200 to 599.
        status: u16,
        /// The error code.
        error: String,
    },
}

impl Fault {
    /// Happens to one refresh request.
    pub fn once(self) -> FaultRule {
        self.times(1)
    }

    /// Happens to this many refresh requests, one after the other.
    pub fn times(self, count: u64) -> FaultRule {
        FaultRule {
            fault: self,
            remaining: Some(count),
        }
    }

    /// Happens to every refresh request until [`Faults::clear`].
    pub fn always(self) -> FaultRule {
        FaultRule {
            fault: self,
            remaining: None,
        }
    }
}

/// A fault and how often it happens. Made by [`Fault::once`], [`Fault::times`] and [`Fault::always`].
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    fault: Fault,
    /// `None` is for ever.
    remaining: Option<u64>,
}

/// A fault alone happens once.
impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        fault.once()
    }
}

/// The faults to come, in the order they were pushed.
///
/// Refresh requests of both endpoints and client credentials requests draw one each after they passed the gate.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<VecDeque<FaultRule>>,
}

impl Faults {
    /// Adds a rule behind those that are there.
    pub fn push(&self, rule: impl Into<FaultRule>) {
        self.rules().push_back(rule.into());
    }

    /// Removes all rules: from now on requests are answered plainly.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// Whether every fault pushed has happened.
    pub fn is_empty(&self) -> bool {
        self.rules().iter().all(|rule| rule.remaining == Some(0))
    }

    pub(crate) fn draw(&self) -> Option<Fault> {
        let mut rules = self.rules();
        while let Some(rule) = rules.front_mut() {
            match &mut rule.remaining {
                None => return Some(rule.fault.clone()),
                Some(0) => {
                    rules.pop_front();
                }
                Some(1) => return rules.pop_front().map(|rule| rule.fault),
                Some(remaining) => {
                    *remaining -= 1;
                    return Some(rule.fault.clone());
                }
            }
        }
        None
    }

    fn rules(&self) -> MutexGuard<'_, VecDeque<FaultRule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Faults};

    #[test]
    fn rules_are_drawn_in_order_and_as_often_as_they_say() {
        let faults = Faults::default();
        faults.push(Fault::EmptyBody.times(2));
        faults.push(Fault::MalformedJson.times(0));
        faults.push(Fault::Hang);
        assert!(!faults.is_empty());
        assert_eq!(faults.draw(), Some(Fault::EmptyBody));
        assert_eq!(faults.draw(), Some(Fault::EmptyBody));
        assert_eq!(faults.draw(), Some(Fault::Hang));
        assert!(faults.is_empty());
        assert_eq!(faults.draw(), None);
    }

    #[test]
    fn always_ends_with_clear() {
        let faults = Faults::default();
        faults.push(Fault::Hang.always());
        for _ in 0..5 {
            assert_eq!(faults.draw(), Some(Fault::Hang));
        }
        assert!(!faults.is_empty());
        faults.clear();
        assert_eq!(faults.draw(), None);
    }
}
