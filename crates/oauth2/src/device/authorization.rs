//! A device code, and the questions whether somebody has entered its user code.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use token_rotator::{FailureKind, SecretString, SourceError, TokenSet};

use super::error::{DeviceAuthorizationError, DeviceError};
use crate::answer::{Exchange, Fields, refusal};
use crate::checks;
use crate::secrets::Secrets;
use crate::sign_in::{NoTokens, SignIn};
use crate::transport::SecretBytes;

/// How long to wait between questions where the issuer does not say (RFC 8628 section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// So much longer with every `slow_down` (section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// No question comes sooner after another, whatever the issuer allows.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// An issuer that cannot be reached is asked at least this often.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// No code lives longer here: a day.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// The most letters of a code that a user is to type.
const USER_CODE_MAX: usize = 64;

/// A sign-in that waits for a user somewhere else (RFC 8628 section 3.2).
///
/// Show [`user_code`](Self::user_code) and [`verification_uri`](Self::verification_uri), then
/// either leave the rest to [`tokens`](Self::tokens), or ask with [`poll`](Self::poll) after each
/// [`wait`](Self::wait).
pub struct DeviceAuthorization {
    sign_in: Arc<SignIn>,
    device_code: SecretString,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: Option<Duration>,
    interval: Duration,
    /// How many questions in a row brought no answer.
    unanswered: u32,
    /// Why the last of them did not.
    trouble: Option<SourceError>,
    /// Until the next question.
    wait: Duration,
    /// All waits so far: the time that has passed by the caller's clock, whichever that is.
    waited: Duration,
    begun: Instant,
}

/// What a question brought.
#[derive(Debug)]
pub enum DevicePoll {
    /// Nobody has decided yet, or the issuer was not reached: ask again after this long.
    Pending(Duration),
    /// Somebody has signed in.
    Tokens(TokenSet),
}

impl DeviceAuthorization {
    pub(super) fn read(
        answer: &Response<SecretBytes>,
        sign_in: Arc<SignIn>,
    ) -> Result<Self, DeviceAuthorizationError> {
        let unreadable = |what| DeviceAuthorizationError::Unreadable { what };
        let fields = Fields::read(answer.body().expose());
        let fields = fields.ok_or(unreadable("no JSON object"))?;
        let device_code = fields.secret("device_code");
        let user_code = fields
            .text("user_code")
            .filter(|code| code.chars().count() <= USER_CODE_MAX && !code.contains(is_control))
            .ok_or(unreadable("without a `user_code` that can be shown"))?;
        // It is opened in a browser: nothing but a web address may be.
        let web = |url: &String| checks::url("verification URI", url).is_ok();
        // Google's name for it is older than the standard's.
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

    /// What the user enters, as it is to be shown; free of control characters.
    pub fn user_code(&self) -> &str {
        &self.user_code
    }

    /// Where the user enters it: an address to show. `https`, or on this machine.
    pub fn verification_uri(&self) -> &str {
        &self.verification_uri
    }

    /// The same with the code in it, to open in a browser or to show as a QR code. The user still
    /// compares the code (RFC 8628 section 3.3.1).
    pub fn verification_uri_complete(&self) -> Option<&str> {
        self.verification_uri_complete.as_deref()
    }

    /// How long the code is good, from when it was given; `None`: the issuer has not said.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    /// How long to wait before the next question; the first one waits too.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Why the last question brought no answer; `None` if it did. It will be asked again all the
    /// same, so this is for the user to know.
    pub fn trouble(&self) -> Option<&SourceError> {
        self.trouble.as_ref()
    }

    /// Asks once whether somebody has signed in (RFC 8628 section 3.4).
    ///
    /// Call it after [`wait`](Self::wait), and never sooner: the time that has passed is counted by
    /// these waits, or by the system's clock where that is ahead.
    ///
    /// - `authorization_pending`: the wait stays.
    /// - `slow_down`: it grows by five seconds, for good.
    /// - No answer, or one like 503: it doubles with each, to five minutes at most, until there is
    ///   one again; `Retry-After` wins where it is longer.
    /// - After the code has expired nothing is sent, and the sign-in is over: [`DeviceError::Expired`],
    ///   or [`DeviceError::Unanswered`] if the issuer gave no answer in the end.
    ///
    /// Waits for as long as the transport does. Dropping the future changes nothing here; if the
    /// issuer was about to answer with tokens, they are lost with it.
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
        let exchange = Exchange::DeviceCode;
        let (answer, secrets) = match self.sign_in.client.post(exchange, post).await {
            Ok(answered) => answered,
            Err(error) => return self.unanswered(error),
        };
        match refusal::code(&answer).as_deref() {
            Some("authorization_pending") => Ok(self.answered()),
            Some("slow_down") => {
                self.interval += SLOW_DOWN;
                Ok(self.answered())
            }
            Some("access_denied") => Err(DeviceError::AccessDenied),
            Some("expired_token") => Err(DeviceError::Expired),
            _ => self.tokens_of(&answer, &secrets),
        }
    }

    /// Asks until somebody has decided, and sleeps in between.
    ///
    /// `sleep` waits for as long as it is told: `tokio::time::sleep`, or whatever the program has.
    /// Dropping the future ends the sign-in; nothing is asked any more.
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
            .tokens(Exchange::DeviceCode, answer, secrets, None);
        match tokens {
            Ok(tokens) => Ok(DevicePoll::Tokens(tokens)),
            Err(NoTokens::Refused(error)) => self.unanswered(error),
            Err(NoTokens::IdToken(error)) => Err(DeviceError::IdToken(error)),
        }
    }

    fn answered(&mut self) -> DevicePoll {
        self.unanswered = 0;
        self.trouble = None;
        self.again(self.interval)
    }

    /// RFC 8628 section 3.5: ask less often where no answer comes.
    fn unanswered(&mut self, error: SourceError) -> Result<DevicePoll, DeviceError> {
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
        Ok(self.again(wait.max(asked_for)))
    }

    fn again(&mut self, wait: Duration) -> DevicePoll {
        self.wait = wait;
        self.waited += wait;
        DevicePoll::Pending(wait)
    }
}

/// Shows neither code.
impl fmt::Debug for DeviceAuthorization {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DeviceAuthorization")
            .field("client_id", &self.sign_in.client.id)
            .field("verification_uri", &self.verification_uri)
            .field("expires_in", &self.expires_in)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// What would move the cursor or turn the writing round, among it the marks of direction.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
