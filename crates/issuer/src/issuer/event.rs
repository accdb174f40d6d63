//! What the issuer reports while it happens.

/// Something that happened to a family of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssuerEvent {
    /// A new family at generation 1.
    SignedIn {
        /// The family.
        family: u64,
    },
    /// A refresh issued an access token.
    Refreshed {
        /// The family.
        family: u64,
        /// The generation of the access token issued.
        generation: u64,
    },
    /// A used refresh token was presented against the policy.
    Reused {
        /// The family.
        family: u64,
        /// The family's newest generation at that time.
        generation: u64,
    },
    /// A family was revoked.
    Revoked {
        /// The family.
        family: u64,
        /// The family's newest generation at that time.
        generation: u64,
        /// Why.
        cause: RevocationCause,
    },
}

/// Why a family was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationCause {
    /// A reuse alarm.
    Reuse,
    /// The authorization code that opened it was presented again (RFC 6749 section 4.1.2).
    CodeReuse,
    /// A client asked for it: revocation endpoint or logout.
    Client,
    /// The test asked for it.
    Test,
}
