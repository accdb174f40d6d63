//! `NO_PROXY`: the hosts that are reached without a proxy.

use std::net::IpAddr;

/// The hosts of `NO_PROXY`. Entries are separated by commas or blanks.
#[derive(Clone, Debug, Default)]
pub(super) struct DirectHosts(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    hosts: Hosts,
    /// The only port, if the entry names one.
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Hosts {
    /// `*`
    All,
    /// `example.com`, `.example.com` or `*.example.com`: the domain and every name under it.
    Domain(String),
    /// An address, or a network such as `10.0.0.0/8`: the first bits of both are equal.
    Network(IpAddr, u8),
}

impl DirectHosts {
    pub(super) fn parse(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace());
        Self(entries.filter_map(Entry::parse).collect())
    }

    /// Whether the host and port are in the list.
    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare
            .parse()
            .ok()
            .map(|address: IpAddr| address.to_canonical());
        self.0.iter().any(|entry| {
            entry.port.is_none_or(|only| only == port) && entry.hosts.contain(&host, address)
        })
    }
}

impl Entry {
    /// Parses an entry. Returns `None` for an empty entry, and for one that names no host.
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if let Some(hosts) = Hosts::network(&text) {
            return Some(Self { hosts, port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let hosts = Hosts::network(name).or_else(|| Hosts::domain(name))?;
        Some(Self { hosts, port })
    }
}

impl Hosts {
    fn domain(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let name = text.strip_prefix('*').unwrap_or(text);
        let name = name.trim_start_matches('.').trim_end_matches('.');
        (!name.is_empty()).then(|| Self::Domain(name.to_owned()))
    }

    /// Parses an address or a network. An IPv6 address may be in brackets.
    fn network(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let bare = address
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let address: IpAddr = bare.unwrap_or(address).parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return None;
        }
        // A network of mapped IPv4 addresses is compared as IPv4.
        let canonical = address.to_canonical();
        if address.is_ipv6() && canonical.is_ipv4() && bits >= 96 {
            return Some(Self::Network(canonical, bits - 96));
        }
        Some(Self::Network(address, bits))
    }

    fn contain(&self, host: &str, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::All, _) => true,
            (Self::Domain(domain), None) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            (Self::Network(IpAddr::V4(network), bits), Some(IpAddr::V4(address))) => {
                let differing = network.to_bits() ^ address.to_bits();
                *bits == 0 || differing >> (32 - u32::from(*bits)) == 0
            }
            (Self::Network(IpAddr::V6(network), bits), Some(IpAddr::V6(address))) => {
                let differing = network.to_bits() ^ address.to_bits();
                *bits == 0 || differing >> (128 - u32::from(*bits)) == 0
            }
            _ => false,
        }
    }
}
