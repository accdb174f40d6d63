//! A device code, and the polls for its tokens.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use token_rotator::{FailureKind, SecretString, SourceError, TokenSet};

use super::error::{DeviceAuthorizationError, DeviceError};
use crate::answer::{Fields, RequestKind, refusal};
use crate::checks;
use crate::secrets::Secrets;
use crate::sign_in::{SignInSettings, TokensError};
use crate::transport::SecretBytes;

/// Time between two polls if the issuer sends no interval (RFC 8628 section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// Each `slow_down` lengthens the interval by this much (section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// Minimum time between two polls, whatever interval the issuer sends.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Maximum time between two polls while the issuer cannot be reached.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// Maximum lifetime of a code: one day.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Maximum length, in characters, of a code that a user types.
const USER_CODE_MAX: usize = 64;

/// A sign-in that waits for the user on another device (RFC 8628 section 3.2).
///
/// Show [`user_code`](Self::user_code) and [`verification_uri`](Self::verification_uri) first. Then
/// call [`tokens`](Self::tokens), or call [`poll`](Self::poll) after each [`wait`](Self::wait).
pub struct DeviceAuthorization {
    sign_in: Arc<SignInSettings>,
    device_code: SecretString,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: Option<Duration>,
    interval: Duration,
    /// Number of polls in a row without an answer.
    unanswered: u32,
    /// Error of the last poll without an answer.
    trouble: Option<SourceError>,
    /// Time until the next poll.
    wait: Duration,
    /// Sum of all waits: the time that has passed by the clock of the caller.
    waited: Duration,
    begun: Instant,
}

/// Result of a poll.
#[derive(Debug)]
pub enum DevicePoll {
    /// The user has not decided yet, or the issuer was not reached. Poll again after this time.
    Pending(Duration),
    /// The user has signed in.
    Tokens(TokenSet),
}

impl DeviceAuthorization {
    pub(super) fn read(
        answer: &Response<SecretBytes>,
        sign_in: Arc<SignInSettings>,
    ) -> Result<Self, DeviceAuthorizationError> {
        let unreadable = |what| DeviceAuthorizationError::Unreadable { what };
        let fields = Fields::read(answer.body().expose());
        let fields = fields.ok_or(unreadable("no JSON object"))?;
        let device_code = fields.secret("device_code");
        let user_code = fields
            .text("user_code")
            .filter(|code| code.chars().count() <= USER_CODE_MAX && !code.contains(is_control))
            .ok_or(unreadable("without a `user_code` that can be shown"))?;
        // The program opens it in a browser, so only a web address is allowed.
        let web = |url: &String| checks::url("verification URI", url).is_ok();
        // Google uses an older name than the standard.
        let verification_uri = fields
            .text("verification_uri")
            .or_else(|| fields.text("verification_url"))
            .filter(web)
            .ok_or(unreadable("without an https `verification_uri`"))?;
        let seconds = |name: &str| {
            let seconds = fields.number(name)?;
            Some(Duration::from_secs_f64(
                seconds.min(LIFETIME_MAX.as_secs_f64()),
            ))
        };
        let interval = seconds("interval").unwrap_or(INTERVAL).max(INTERVAL_MIN);
        Ok(Self {
            sign_in,
            device_code: device_code.ok_or(unreadable("without a `device_code`"))?,
            user_code,
            verification_uri,
            verification_uri_complete: fields.text("verification_uri_complete").filter(web),
            expires_in: seconds("expires_in").filter(|lifetime| !lifetime.is_zero()),
            interval,
            unanswered: 0,
            trouble: None,
            wait: interval,
            waited: interval,
            begun: Instant::now(),
        })
    }

    /// Returns the code to show to the user. It contains no control characters.
    pub fn user_code(&self) -> &str {
        &self.user_code
    }

    /// Returns the address where the user enters the code: `https` or loopback.
    pub fn verification_uri(&self) -> &str {
        &self.verification_uri
    }

    /// Returns the address with the code included, to open in a browser or to show as a QR code.
    /// The user still compares the code (RFC 8628 section 3.3.1).
    pub fn verification_uri_complete(&self) -> Option<&str> {
        self.verification_uri_complete.as_deref()
    }

    /// Returns the lifetime of the code since its issue, or `None` if the issuer did not send it.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    /// Returns the time to wait before the next poll, also before the first poll.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns why the last poll brought no answer, or `None` if it did. The next poll asks again,
    /// so this error only informs the user.
    pub fn trouble(&self) -> Option<&SourceError> {
        self.trouble.as_ref()
    }

    /// Polls once for the tokens (RFC 8628 section 3.4).
    ///
    /// Call it after [`wait`](Self::wait), never earlier. The elapsed time is the sum of these
    /// waits, or the system's clock if that is ahead.
    ///
    /// - `authorization_pending`: the wait stays the same.
    /// - `slow_down`: the wait grows by 5 s permanently.
    /// - No answer, or an answer such as 503: each one in a row doubles the wait, up to 5 minutes.
    ///   A longer `Retry-After` wins.
    /// - After the code has expired, the method sends nothing and the sign-in is over. The error is
    ///   [`DeviceError::Expired`], or [`DeviceError::Unanswered`] if the last poll had no answer.
    ///
    /// *Waits* as long as the transport does. *Cancellation*: dropping the future changes nothing
    /// here, but loses tokens that the issuer was about to send.
    pub async fn poll(&mut self) -> Result<DevicePoll, DeviceError> {
        let passed = self.waited.max(self.begun.elapsed());
        if self.expires_in.is_some_and(|lifetime| passed >= lifetime) {
            return Err(match &self.trouble {
                Some(error) => DeviceError::Unanswered(error.clone()),
                None => DeviceError::Expired,
            });
        }
        let mut post = self.sign_in.post();
        let grant_type = "urn:ietf:params:oauth:grant-type:device_code";
        post.form.param("grant_type", grant_type);
        post.secret("device_code", &self.device_code);
        let kind = RequestKind::DeviceCode;
        let (answer, secrets) = match self.sign_in.options.client.post(kind, post).await {
            Ok(answered) => answered,
            Err(error) => return self.on_failure(error),
        };
        match refusal::code(&answer).as_deref() {
            Some("authorization_pending") => Ok(self.on_answer()),
            Some("slow_down") => {
                self.interval += SLOW_DOWN;
                Ok(self.on_answer())
            }
            Some("access_denied") => Err(DeviceError::AccessDenied),
            Some("expired_token") => Err(DeviceError::Expired),
            _ => self.tokens_of(&answer, &secrets),
        }
    }

    /// Polls until the user has decided, and sleeps between two polls.
    ///
    /// `sleep` waits for the given time, as `tokio::time::sleep` does. *Cancellation*: dropping the
    /// future ends the sign-in and its polls.
    pub async fn tokens<S, F>(mut self, sleep: S) -> Result<TokenSet, DeviceError>
    where
        S: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        loop {
            sleep(self.wait).await;
            if let DevicePoll::Tokens(tokens) = self.poll().await? {
                return Ok(tokens);
            }
        }
    }

    fn tokens_of(
        &mut self,
        answer: &Response<SecretBytes>,
        secrets: &Secrets,
    ) -> Result<DevicePoll, DeviceError> {
        let tokens = self
            .sign_in
            .tokens(RequestKind::DeviceCode, answer, secrets, None);
        match tokens {
            Ok(tokens) => Ok(DevicePoll::Tokens(tokens)),
            Err(TokensError::Refused(error)) => self.on_failure(error),
            Err(TokensError::IdToken(error)) => Err(DeviceError::IdToken(error)),
        }
    }

    fn on_answer(&mut self) -> DevicePoll {
        self.unanswered = 0;
        self.trouble = None;
        self.schedule_poll(self.interval)
    }

    /// RFC 8628 section 3.5: poll less often while no answer comes.
    fn on_failure(&mut self, error: SourceError) -> Result<DevicePoll, DeviceError> {
        if !matches!(error.kind(), FailureKind::NotSent | FailureKind::Transient) {
            return Err(DeviceError::Refused(error));
        }
        self.unanswered = self.unanswered.saturating_add(1);
        let doubled = 2_u32.saturating_pow(self.unanswered);
        let wait = self
            .interval
            .saturating_mul(doubled)
            .min(BACK_OFF_MAX.max(self.interval));
        let asked_for = error.retry_after().unwrap_or_default().min(LIFETIME_MAX);
        self.trouble = Some(error);
        Ok(self.schedule_poll(wait.max(asked_for)))
    }

    fn schedule_poll(&mut self, wait: Duration) -> DevicePoll {
        self.wait = wait;
        self.waited += wait;
        DevicePoll::Pending(wait)
    }
}

/// Shows neither the device code nor the user code.
impl fmt::Debug for DeviceAuthorization {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DeviceAuthorization")
            .field("client_id", &self.sign_in.options.client.id)
            .field("verification_uri", &self.verification_uri)
            .field("expires_in", &self.expires_in)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// Returns whether the character moves the cursor or changes the writing direction.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
