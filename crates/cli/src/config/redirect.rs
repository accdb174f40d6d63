//! The redirect address of a sign-in in the browser.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::session::SessionSettings;
use super::values::text_value;

/// A redirect address on this machine (RFC 8252 section 7.3): host, port and path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RedirectAddress {
    /// The host as it is registered: `localhost`, an IPv4 address or an IPv6 address in brackets.
    pub(crate) host: String,
    /// 0 takes a free port.
    pub(crate) port: u16,
    /// With `/` first.
    pub(crate) path: String,
    /// Whether the port is written. An issuer may compare the address as it is registered.
    pub(crate) has_port: bool,
}

impl RedirectAddress {
    /// The default address, with this port.
    fn with_port(port: u16) -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port,
            path: "/callback".to_owned(),
            has_port: true,
        }
    }

    /// Returns the addresses to listen on. A browser may look `localhost` up as either address.
    pub(crate) fn listen_on(&self) -> Vec<IpAddr> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        match host.parse() {
            Ok(address) => vec![address],
            Err(_) => vec![
                Ipv4Addr::LOCALHOST.into(),
                std::net::Ipv6Addr::LOCALHOST.into(),
            ],
        }
    }
}

impl SessionSettings {
    /// Returns the redirect address of a sign-in in the browser.
    pub(crate) fn redirect_address(&self) -> RedirectAddress {
        let by_port = || RedirectAddress::with_port(self.redirect_port.unwrap_or(0));
        self.redirect_uri.clone().unwrap_or_else(by_port)
    }
}

const FORM: &str = "write it like http://localhost:8400/callback";

impl FromStr for RedirectAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Option<Uri> = text.parse().ok().filter(|_| text.is_ascii());
        let parts = uri.as_ref().and_then(|uri| Some((uri, uri.authority()?)));
        let Some((uri, authority)) = parts.filter(|_| !text.contains('#')) else {
            return Err(format!("it is not a URL without a fragment: {FORM}"));
        };
        if uri.scheme_str() != Some("http") {
            return Err(format!(
                "the program listens for http alone, on this machine: {FORM}"
            ));
        }
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(format!("it has only host, port and path: {FORM}"));
        }
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare.eq_ignore_ascii_case("localhost")
            || bare
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if !is_loopback {
            return Err(format!(
                "`{host}` is not this machine: the code would go to another one: {FORM}"
            ));
        }
        let after_host = &authority.as_str()[host.len()..];
        if !after_host.is_empty() && authority.port_u16().is_none() {
            return Err(format!("its port is not a number up to 65535: {FORM}"));
        }
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: uri.path().to_owned(),
            has_port: !after_host.is_empty(),
        })
    }
}

impl fmt::Display for RedirectAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_port {
            write!(out, "http://{}:{}{}", self.host, self.port, self.path)
        } else {
            write!(out, "http://{}{}", self.host, self.path)
        }
    }
}

text_value!(RedirectAddress);

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: a redirect address is on this machine, and is written as it was registered.
    #[test]
    fn redirect_addresses() {
        for text in [
            "http://localhost:8400/OauthRedirect",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.2:1234/",
            "http://[::1]:8400/a/b",
            "http://localhost/cb",
            "http://LOCALHOST:1/",
        ] {
            let address: RedirectAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "localhost:8400",
            "https://localhost:8400/",
            "http://example.com/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "http://0.0.0.0:1/",
            "http://192.168.0.1/",
            "http://user@localhost/",
            "http://localhost:1/?a=b",
            "http://localhost:1/#a",
            "http://localhost:99999/",
            "custom://localhost/",
        ] {
            assert!(text.parse::<RedirectAddress>().is_err(), "{text}");
        }
    }
}
