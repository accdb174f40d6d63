//! Faults of the issuer, and the rules that trigger them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// Changes how the issuer answers one refresh request.
///
/// A fault that *consumes* redeems the refresh token first. The token is then used up, or its reuse detected, exactly
/// as without the fault.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Waits this long, then continues as without a fault: consumes and responds.
    Delay(Duration),
    /// Responds with this status and an empty body, such as 429, 500 or 503; consumes nothing.
    Status {
        /// The status code, 200 to 599.
        status: u16,
        /// The value of `Retry-After`: seconds or an HTTP date (RFC 9110 section 10.2.3).
        retry_after: Option<String>,
    },
    /// Never responds; consumes nothing.
    Hang,
    /// Resets the connection (RST); consumes nothing.
    ResetBefore,
    /// Consumes, then resets the connection (RST).
    ResetAfter,
    /// Consumes, then closes the connection without a response.
    AnswerLost,
    /// Consumes, then responds with 200 and the first half of the JSON.
    MalformedJson,
    /// Consumes, then responds with 200 and an empty body.
    EmptyBody,
    /// Responds with 200 and `{"error": "invalid_grant"}`; consumes nothing.
    ErrorInside200,
    /// Consumes and responds, with this value in place of the lifetime (`expires_in` or `expiresIn`).
    WrongExpiry(Value),
    /// Consumes and responds, with this value in place of the token type. The cookie endpoint sends no token type and
    /// responds as without a fault.
    TokenType(String),
    /// Redirects to this URL (307); consumes nothing.
    Redirect(String),
    /// Responds with 403 and an HTML page, as firewalls do; consumes nothing.
    HtmlForbidden,
    /// Responds with this status and body, as a gateway or another issuer does; consumes nothing. A body that begins
    /// with `<` is HTML, every other body is JSON.
    Body {
        /// The status code, 200 to 599.
        status: u16,
        /// The body.
        body: String,
    },
    /// Responds with this status and `{"error": ...}` (RFC 6749 section 5.2); consumes nothing.
    OAuthError {
        /// The status code, 200 to 599.
        status: u16,
        /// The OAuth error code.
        error: String,
    },
}

impl Fault {
    /// Applies to one refresh request.
    pub fn once(self) -> FaultRule {
        self.times(1)
    }

    /// Applies to this many refresh requests in a row.
    pub fn times(self, count: u64) -> FaultRule {
        FaultRule {
            fault: self,
            remaining: Some(count),
        }
    }

    /// Applies to every refresh request until [`Faults::clear`].
    pub fn always(self) -> FaultRule {
        FaultRule {
            fault: self,
            remaining: None,
        }
    }
}

/// A fault and the number of requests it applies to. [`Fault::once`], [`Fault::times`] and [`Fault::always`] create it.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    fault: Fault,
    /// `None` if the rule applies until [`Faults::clear`].
    remaining: Option<u64>,
}

/// Converts a fault to a rule for one request.
impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        fault.once()
    }
}

/// The queue of coming faults, in the order in which tests pushed them.
///
/// Each refresh request and each client credentials request draws one fault after it has passed the gate.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<VecDeque<FaultRule>>,
}

impl Faults {
    /// Appends a rule to the queue.
    pub fn push(&self, rule: impl Into<FaultRule>) {
        self.rules().push_back(rule.into());
    }

    /// Removes all rules. The issuer answers later requests without a fault.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// Returns whether every pushed fault was drawn.
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
    fn rules_are_drawn_in_order_and_as_often_as_configured() {
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
    fn clear_ends_an_always_rule() {
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
