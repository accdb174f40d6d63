//! Device codes (RFC 8628): given to a device, decided by a user elsewhere, asked about until then.

use std::time::Duration;

use crate::clock::whole_milliseconds;
use crate::issuer::ledger::{Asked, Issued, Ledger};
use crate::issuer::refusal::Refusal;

/// So much longer a client has to wait after each `slow_down` (section 3.5), in milliseconds.
const SLOW_DOWN: i64 = 5_000;

/// How long a code that has expired is still told from an unknown one, in milliseconds.
const REMEMBERED: i64 = 3_600_000;

/// What a device asks for.
pub(in crate::issuer) struct DeviceRequest<'a> {
    pub(in crate::issuer) client: &'a str,
    pub(in crate::issuer) asked: Asked<'a>,
    pub(in crate::issuer) lifetime: Duration,
    pub(in crate::issuer) interval: Duration,
}

/// What a user makes of a user code.
pub(in crate::issuer) enum Decision {
    /// Signed in, as this user.
    Approved(String),
    /// Said no.
    Denied,
}

/// A device code in the ledger.
pub(super) struct Device {
    client: String,
    user_code: String,
    scope: Option<String>,
    audience: Option<String>,
    expires_at: i64,
    /// Milliseconds between questions.
    interval: i64,
    /// No question before this.
    next: i64,
    decision: Option<Decision>,
    redeemed: bool,
}

impl Ledger {
    /// A device code and the user code that goes with it.
    pub(in crate::issuer) fn give_device(
        &mut self,
        request: &DeviceRequest<'_>,
        now: i64,
    ) -> (String, String) {
        self.devices
            .retain(|_, device| now - device.expires_at < REMEMBERED);
        let user_code = user_code();
        let device_code = self.mint.device_code();
        let device = Device {
            client: request.client.to_owned(),
            user_code: user_code.clone(),
            scope: request.asked.scope.map(str::to_owned),
            audience: request.asked.audience.map(str::to_owned),
            expires_at: now.saturating_add(whole_milliseconds(request.lifetime)),
            interval: whole_milliseconds(request.interval),
            next: now,
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

    /// What a user makes of a code, which is typed in any case and with any signs between its letters (section 6.1).
    pub(in crate::issuer) fn decide(
        &mut self,
        user_code: &str,
        decision: Decision,
        now: i64,
    ) -> bool {
        let letters = user_code.chars().filter(char::is_ascii_alphanumeric);
        let typed: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
        let waiting = |device: &&mut Device| {
            device.user_code == typed && device.decision.is_none() && now < device.expires_at
        };
        let Some(device) = self.devices.values_mut().find(waiting) else {
            return false;
        };
        device.decision = Some(decision);
        true
    }

    /// A question about a device code (sections 3.4 and 3.5).
    pub(in crate::issuer) fn redeem_device(
        &mut self,
        device_code: &str,
        client: &str,
        now: i64,
    ) -> Result<Issued, Refusal> {
        self.counters.device_polls += 1;
        let known = self.devices.get_mut(device_code);
        let Some(device) = known.filter(|device| device.client == client) else {
            return Err(Refusal::Grant("unknown device code"));
        };
        if device.redeemed {
            return Err(Refusal::Grant("the device code was used before"));
        }
        if now >= device.expires_at {
            return Err(Refusal::Expired);
        }
        let early = now < device.next;
        if early {
            device.interval += SLOW_DOWN;
        }
        device.next = now.saturating_add(device.interval);
        if early {
            return Err(Refusal::SlowDown);
        }
        let subject = match &device.decision {
            None => return Err(Refusal::Pending),
            Some(Decision::Denied) => return Err(Refusal::Denied),
            Some(Decision::Approved(subject)) => subject.clone(),
        };
        device.redeemed = true;
        let (scope, audience) = (device.scope.clone(), device.audience.clone());
        let asked = Asked {
            scope: scope.as_deref(),
            audience: audience.as_deref(),
        };
        Ok(self.open_for(&subject, client, asked, None, now))
    }
}

/// Eight letters that make no words and are hard to confuse (RFC 8628 section 6.1).
fn user_code() -> String {
    const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
    let letter = |_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]);
    (0..8).map(letter).collect()
}
