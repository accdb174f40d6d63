//! What the issuer counts.

use serde::Serialize;

/// What happened at the issuer since it started or since its counters were reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// POSTs to the token endpoint and to the cookie endpoint, whatever came of them.
    pub token_requests: u64,
    /// Refreshes that issued tokens, whether or not the answer reached anybody.
    pub refreshes: u64,
    /// Client credentials grants that issued tokens.
    pub client_credentials: u64,
    /// Reuse alarms: presentations of a used refresh token that the policy does not allow, in dead families too.
    pub reuses: u64,
    /// Families revoked by a reuse alarm.
    pub revocations: u64,
    /// Families that a client ended: by revoking their refresh token (RFC 7009 section 2.1), or by logging out.
    pub ended_by_client: u64,
    /// Calls of the revocation endpoint (RFC 7009), whatever came of them.
    pub revoke_calls: u64,
    /// Successful logins over HTTP: password grants, and codes and device codes that brought tokens, included. Signing
    /// in without HTTP does not count.
    pub logins: u64,
    /// Authorization codes given out.
    pub authorization_codes: u64,
    /// Presentations of a code that had brought tokens before. Each revokes the family that the first one opened.
    pub code_reuses: u64,
    /// Device codes given out.
    pub device_codes: u64,
    /// Questions about device codes, whatever came of them.
    pub device_polls: u64,
    /// Logouts.
    pub logouts: u64,
    /// The most refresh requests that were in processing at one time.
    pub refresh_in_flight_max: u64,
}
