//! The addresses that a session is bound to, and the check of other addresses.

use http::Uri;

/// The issuer and the endpoints of a session's sign-in. The record seals them, so that another
/// address in a configuration or environment gets no refresh token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Binding {
    /// The issuer's identifier (RFC 8414), if the configuration names an issuer.
    pub issuer: Option<String>,
    /// The address that refresh tokens are sent to.
    pub token_endpoint: Option<String>,
    /// The address that tokens are revoked at (RFC 7009).
    pub revocation_endpoint: Option<String>,
    /// Which endpoints the metadata of `issuer` announced. The record does not keep it.
    pub announced: Announced,
}

/// Which endpoints come from the metadata of the issuer. The others come from a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Announced {
    /// The metadata names the token endpoint.
    pub token_endpoint: bool,
    /// The metadata names the revocation endpoint.
    pub revocation_endpoint: bool,
    /// The metadata came over TLS.
    pub over_tls: bool,
}

impl Binding {
    /// Binds to this token endpoint.
    pub fn new(token_endpoint: impl Into<String>) -> Self {
        Self {
            token_endpoint: Some(token_endpoint.into()),
            ..Self::default()
        }
    }

    /// Adds the issuer's identifier.
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Adds the revocation endpoint.
    pub fn with_revocation_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.revocation_endpoint = Some(endpoint.into());
        self
    }

    /// Marks the endpoints that the metadata of the issuer announced, over TLS or on loopback.
    pub fn with_announced(
        mut self,
        token_endpoint: bool,
        revocation_endpoint: bool,
        over_tls: bool,
    ) -> Self {
        self.announced = Announced {
            token_endpoint,
            revocation_endpoint,
            over_tls,
        };
        self
    }

    /// Compares this sealed binding with the addresses of a source. Returns the endpoints to follow:
    /// the sealed issuer announces them.
    ///
    /// An address that the source does not have is no difference: nothing is sent there. An endpoint
    /// that the binding does not have is followed if the metadata of the sealed issuer announces it.
    ///
    /// *Errors*: an address of the source is another one, and the sealed issuer does not announce it
    /// over TLS.
    pub fn check(&self, current: &Self) -> Result<Vec<FollowedAddress>, OtherAddress> {
        let refuse = |address, sealed: &Option<String>, other: &str| {
            Err(OtherAddress {
                address,
                sealed: sealed.as_deref().map(without_query),
                other: without_query(other),
            })
        };
        if let Some(issuer) = &current.issuer
            && self.issuer.as_ref() != Some(issuer)
        {
            return refuse("issuer", &self.issuer, issuer);
        }
        // The comparison above leaves only the sealed issuer, or none.
        let of_issuer = current.issuer.is_some();
        let announced = current.announced;
        let mut followed = Vec::new();
        for (address, sealed, other, announced_here) in [
            (
                "token endpoint",
                &self.token_endpoint,
                &current.token_endpoint,
                announced.token_endpoint,
            ),
            (
                "revocation endpoint",
                &self.revocation_endpoint,
                &current.revocation_endpoint,
                announced.revocation_endpoint,
            ),
        ] {
            let Some(other) = other else { continue };
            if sealed
                .as_deref()
                .is_some_and(|sealed| is_same(sealed, other))
            {
                continue;
            }
            let is_safe = announced.over_tls || sealed.is_none();
            if !(of_issuer && announced_here && is_safe) {
                return refuse(address, sealed, other);
            }
            followed.push(FollowedAddress {
                address,
                from: sealed.as_deref().map(without_query),
                to: without_query(other),
            });
        }
        Ok(followed)
    }

    /// The binding to seal after these addresses of the source were accepted.
    pub(crate) fn moved_to(&self, current: &Self) -> Self {
        let current = current.clone();
        Self {
            issuer: current.issuer.or_else(|| self.issuer.clone()),
            token_endpoint: current
                .token_endpoint
                .or_else(|| self.token_endpoint.clone()),
            revocation_endpoint: current
                .revocation_endpoint
                .or_else(|| self.revocation_endpoint.clone()),
            announced: Announced::default(),
        }
    }
}

/// An endpoint that differs from the sealed one, and that the sealed issuer announces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowedAddress {
    /// Which address: `token endpoint` or `revocation endpoint`.
    pub address: &'static str,
    /// The sealed address, without its query. `None` if the session had none.
    pub from: Option<String>,
    /// The announced address, without its query.
    pub to: String,
}

/// The session was signed in at another address than the one that a request would be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session is bound to {}, and its settings name {other}; nothing was sent",
    bound_to(.address, .sealed.as_deref())
)]
#[non_exhaustive]
pub struct OtherAddress {
    /// Which address: `issuer`, `token endpoint` or `revocation endpoint`.
    pub address: &'static str,
    /// The address of the sign-in, without its query. `None` if the sign-in had none.
    pub sealed: Option<String>,
    /// The refused address, without its query.
    pub other: String,
}

fn bound_to(address: &str, sealed: Option<&str>) -> String {
    match sealed {
        Some(sealed) => format!("the {address} {sealed}"),
        None => format!("a sign-in without {address}"),
    }
}

/// Whether two addresses of endpoints are the same: scheme and host regardless of case, and the
/// default port with or without its number.
fn is_same(one: &str, other: &str) -> bool {
    one == other || canonical(one).is_some_and(|one| Some(one) == canonical(other))
}

fn canonical(address: &str) -> Option<(String, String, u16, String)> {
    let uri: Uri = address.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().or(match scheme.as_str() {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    })?;
    let path = uri.path_and_query()?.as_str().to_owned();
    Some((scheme, uri.host()?.to_ascii_lowercase(), port, path))
}

/// The address without its query, which may hold a key.
fn without_query(address: &str) -> String {
    address
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Binding {
        Binding::new("https://issuer.example/token")
            .with_issuer("https://issuer.example")
            .with_revocation_endpoint("https://issuer.example/revoke")
    }

    /// Property: only the sealed address passes, or one that the sealed issuer announces over TLS.
    #[test]
    fn another_address_is_refused() {
        let bound = sealed();
        let other = |change: fn(&mut Binding)| {
            let mut other = sealed();
            change(&mut other);
            bound.check(&other).map_err(|error| error.address)
        };
        let token = |binding: &mut Binding| {
            binding.token_endpoint = Some("https://other.example/token".to_owned());
        };
        assert_eq!(other(|_| ()), Ok(Vec::new()));
        assert_eq!(
            other(|it| it.issuer = Some("https://issuer.example/".to_owned())),
            Err("issuer")
        );
        assert_eq!(other(token), Err("token endpoint"));
        for (over_tls, over_tls_expected) in [(true, true), (false, false)] {
            let mut moved = sealed().with_announced(true, false, over_tls);
            token(&mut moved);
            assert_eq!(bound.check(&moved).is_ok(), over_tls_expected);
        }
        // The metadata of another issuer, or of no issuer, announces nothing for this session.
        let mut elsewhere = sealed().with_announced(true, true, true);
        token(&mut elsewhere);
        elsewhere.issuer = None;
        assert!(bound.check(&elsewhere).is_err());
        // A first revocation endpoint of a configuration is another address too.
        let first =
            Binding::new("https://issuer.example/token").with_issuer("https://issuer.example");
        let refused = first.check(&sealed()).expect_err("not sealed");
        assert_eq!(
            (refused.address, refused.sealed),
            ("revocation endpoint", None)
        );
        let announced = sealed().with_announced(false, true, false);
        assert_eq!(
            first.check(&announced).map(|followed| followed.len()),
            Ok(1)
        );
        // A source without addresses, and other spellings of the same address.
        assert_eq!(bound.check(&Binding::default()), Ok(Vec::new()));
        let spelled = Binding::new("HTTPS://ISSUER.example:443/token");
        assert_eq!(bound.check(&spelled), Ok(Vec::new()));
        assert!(
            bound
                .check(&Binding::new("https://issuer.example/Token"))
                .is_err()
        );
        assert!(
            bound
                .check(&Binding::new("http://issuer.example/token"))
                .is_err()
        );
    }

    /// Canary: the query of an endpoint may hold a key.
    #[test]
    fn an_error_shows_no_query() {
        let bound = Binding::new("https://issuer.example/token?key=canary");
        let other = Binding::new("https://other.example/token?key=canary");
        let error = bound.check(&other).expect_err("another address");
        assert_eq!(
            error.to_string(),
            "the session is bound to the token endpoint https://issuer.example/token, and its \
             settings name https://other.example/token; nothing was sent"
        );
    }
}
