//! Events of the issuer.

/// An event in the life of a family of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssuerEvent {
    /// A sign-in opened a new family at generation 1.
    SignedIn {
        /// Number of the family.
        family: u64,
    },
    /// A refresh issued an access token.
    Refreshed {
        /// Number of the family.
        family: u64,
        /// The generation of the new access token.
        generation: u64,
    },
    /// A client presented a used refresh token that the policy does not allow.
    Reused {
        /// Number of the family.
        family: u64,
        /// The family's newest generation at that time.
        generation: u64,
    },
    /// The issuer revoked a family.
    Revoked {
        /// Number of the family.
        family: u64,
        /// The family's newest generation at that time.
        generation: u64,
        /// The cause of the revocation.
        cause: RevocationCause,
    },
}

/// The cause of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationCause {
    /// The issuer detected the reuse of a refresh token.
    Reuse,
    /// A client presented the family's authorization code again (RFC 6749 section 4.1.2).
    CodeReuse,
    /// A client called the revocation endpoint or logged out.
    Client,
    /// The test called [`Issuer::revoke_family`](crate::Issuer::revoke_family).
    Test,
}
