//! Counters of the issuer.

use serde::Serialize;

/// Requests and events at the issuer since its start or since its counters were reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// POSTs to the token endpoint and to the cookie endpoint, whatever their outcome.
    pub token_requests: u64,
    /// Refreshes that issued tokens, whether or not the response reached the client.
    pub refreshes: u64,
    /// Client credentials grants that issued tokens.
    pub client_credentials: u64,
    /// Presentations of a used refresh token that the policy does not allow, including tokens of revoked families.
    pub reuses: u64,
    /// Families revoked because of a reuse.
    pub revocations: u64,
    /// Families that a client ended: by revoking the refresh token (RFC 7009 section 2.1), or by logging out.
    pub ended_by_client: u64,
    /// Requests to the revocation endpoint (RFC 7009), whatever their outcome.
    pub revoke_calls: u64,
    /// Successful logins over HTTP, including password grants, redeemed authorization codes and redeemed device codes.
    /// Sign-ins without HTTP are not counted.
    pub logins: u64,
    /// Authorization codes issued.
    pub authorization_codes: u64,
    /// Presentations of an authorization code that was redeemed before. Each revokes the family that the code opened.
    pub code_reuses: u64,
    /// Device codes issued.
    pub device_codes: u64,
    /// Polls for device codes, whatever their outcome.
    pub device_polls: u64,
    /// Logouts.
    pub logouts: u64,
    /// The largest number of refresh requests in processing at one time.
    pub refresh_in_flight_max: u64,
}
