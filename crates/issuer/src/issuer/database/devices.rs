//! Device codes (RFC 8628): issued to a device, approved or denied by a user, polled by the device.

use std::time::Duration;

use crate::clock::whole_milliseconds;
use crate::issuer::database::{IssuedTokens, RequestedAccess, TokenDatabase};
use crate::issuer::refusal::Refusal;

/// Milliseconds that each `slow_down` adds to the polling interval (RFC 8628 section 3.5).
const SLOW_DOWN_MS: i64 = 5_000;

/// Milliseconds for which the issuer distinguishes an expired code from an unknown code.
const REMEMBERED_MS: i64 = 3_600_000;

/// A request for a device code.
pub(in crate::issuer) struct DeviceRequest<'a> {
    pub(in crate::issuer) client: &'a str,
    pub(in crate::issuer) requested: RequestedAccess<'a>,
    pub(in crate::issuer) lifetime: Duration,
    pub(in crate::issuer) interval: Duration,
}

/// A user's decision on a user code.
pub(in crate::issuer) enum UserDecision {
    /// The user signed in under this name.
    Approved(String),
    /// The user denied the device.
    Denied,
}

/// An issued device code.
pub(super) struct DeviceCode {
    client: String,
    user_code: String,
    scope: Option<String>,
    audience: Option<String>,
    expires_at: i64,
    /// Milliseconds between polls.
    interval: i64,
    /// Earliest time of the next poll, in milliseconds on the issuer's clock.
    next_poll: i64,
    decision: Option<UserDecision>,
    redeemed: bool,
}

impl TokenDatabase {
    /// Issues a device code and its user code.
    pub(in crate::issuer) fn issue_device_code(
        &mut self,
        request: &DeviceRequest<'_>,
        now: i64,
    ) -> (String, String) {
        self.devices
            .retain(|_, device| now - device.expires_at < REMEMBERED_MS);
        let user_code = user_code();
        let device_code = self.mint.device_code();
        let device = DeviceCode {
            client: request.client.to_owned(),
            user_code: user_code.clone(),
            scope: request.requested.scope.map(str::to_owned),
            audience: request.requested.audience.map(str::to_owned),
            expires_at: now.saturating_add(whole_milliseconds(request.lifetime)),
            interval: whole_milliseconds(request.interval),
            next_poll: now,
            decision: None,
            redeemed: false,
        };
        self.devices.insert(device_code.clone(), device);
        self.counters.device_codes += 1;
        (
            device_code,
            format!("{}-{}", &user_code[..4], &user_code[4..]),
        )
    }

    /// Records the user's decision on a user code. Ignores case and any characters that are neither letters nor digits
    /// (RFC 8628 section 6.1).
    pub(in crate::issuer) fn record_decision(
        &mut self,
        user_code: &str,
        decision: UserDecision,
        now: i64,
    ) -> bool {
        let letters = user_code.chars().filter(char::is_ascii_alphanumeric);
        let typed: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
        let is_waiting = |device: &&mut DeviceCode| {
            device.user_code == typed && device.decision.is_none() && now < device.expires_at
        };
        let Some(device) = self.devices.values_mut().find(is_waiting) else {
            return false;
        };
        device.decision = Some(decision);
        true
    }

    /// Answers a poll for a device code (RFC 8628 sections 3.4 and 3.5).
    pub(in crate::issuer) fn redeem_device(
        &mut self,
        device_code: &str,
        client: &str,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        self.counters.device_polls += 1;
        let device = self.devices.get_mut(device_code);
        let Some(device) = device.filter(|device| device.client == client) else {
            return Err(Refusal::Grant("unknown device code"));
        };
        if device.redeemed {
            return Err(Refusal::Grant("the device code was used before"));
        }
        if now >= device.expires_at {
            return Err(Refusal::Expired);
        }
        let early = now < device.next_poll;
        if early {
            device.interval += SLOW_DOWN_MS;
        }
        device.next_poll = now.saturating_add(device.interval);
        if early {
            return Err(Refusal::SlowDown);
        }
        let subject = match &device.decision {
            None => return Err(Refusal::Pending),
            Some(UserDecision::Denied) => return Err(Refusal::Denied),
            Some(UserDecision::Approved(subject)) => subject.clone(),
        };
        device.redeemed = true;
        let (scope, audience) = (device.scope.clone(), device.audience.clone());
        let requested = RequestedAccess {
            scope: scope.as_deref(),
            audience: audience.as_deref(),
        };
        Ok(self.open_by_code(&subject, client, requested, None, now))
    }
}

/// Returns eight consonants, which form no words and are hard to confuse (RFC 8628 section 6.1).
fn user_code() -> String {
    const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
    let letter = |_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]);
    (0..8).map(letter).collect()
}
