//! How names are looked up.

use resolv_conf::ScopedIp;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The port that name servers listen on (RFC 1035 section 4.2).
pub const PORT: u16 = 53;

/// The name servers and how to query them. Plain data, with the defaults of resolv.conf(5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ResolverConfig {
    /// The name servers. Two are queried at a time, the recently fastest first.
    pub servers: Vec<SocketAddr>,
    /// The search domains, in the order to try them.
    pub search_domains: Vec<String>,
    /// A name with at least this many dots is tried unchanged before the search domains; others
    /// after them. 1 by default.
    pub ndots: usize,
    /// The timeout of each attempt; 5 seconds by default, and at least a millisecond. A lost query
    /// is retransmitted within it.
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub timeout: Duration,
    /// The number of attempts before a lookup fails; 2 by default, and at least one. A lookup takes
    /// at most this many timeouts for each search domain that is tried.
    pub attempts: usize,
    /// The number of answers cached, for their time to live; 1024 by default. Entries beyond it are
    /// dropped in batches, so that there may briefly be some 400 more. An answer has at most 64
    /// KiB, and usually less than one.
    pub cache_entries_max: u64,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search_domains: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            cache_entries_max: 1024,
        }
    }
}

impl ResolverConfig {
    /// A configuration with these servers, on port 53.
    pub fn new(servers: impl IntoIterator<Item = IpAddr>) -> Self {
        let servers = servers.into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect();
        Self { servers, ..Self::default() }
    }

    /// Parses the format of resolv.conf(5): `nameserver`, `search`, `domain`, and of the `options`
    /// `ndots`, `timeout` and `attempts`. Unknown lines and options are ignored.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a known keyword with an invalid value; `Unsupported` for a server address
    /// with an interface, since a stack has one link.
    pub fn from_resolv_conf(text: &str) -> io::Result<Self> {
        let (parsed, errors) = resolv_conf::Config::parse_with_errors(text.as_bytes());
        let is_known = |error: &&resolv_conf::ParseError| {
            use resolv_conf::ParseError::*;
            !matches!(error, InvalidDirective(_) | InvalidOption(_))
        };
        if let Some(error) = errors.iter().find(is_known) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()));
        }
        let server = |ip: &ScopedIp| match ip {
            ScopedIp::V4(ip) => Ok(SocketAddr::new((*ip).into(), PORT)),
            ScopedIp::V6(ip, None) => Ok(SocketAddr::new((*ip).into(), PORT)),
            ScopedIp::V6(_, Some(_)) => {
                let message =
                    format!("nameserver {ip}: leave the interface out, a stack has one link");
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        };
        Ok(Self {
            servers: parsed.nameservers.iter().map(server).collect::<io::Result<_>>()?,
            search_domains: parsed.get_last_search_or_domain().cloned().collect(),
            ndots: parsed.ndots as usize,
            timeout: Duration::from_secs(parsed.timeout.max(1).into()),
            attempts: parsed.attempts.max(1) as usize,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_is_read() {
        let text = "# made by hand\nnameserver 10.0.0.53\nnameserver fd00::53\n\
                    search a.test b.test\noptions ndots:2 timeout:3 attempts:4 rotate\nfuture 1\n";
        let config = ResolverConfig::from_resolv_conf(text).expect("a good one");
        let servers = ["10.0.0.53:53", "[fd00::53]:53"].map(|at| at.parse().expect("an address"));
        assert_eq!(
            config,
            ResolverConfig {
                servers: servers.into(),
                search_domains: vec!["a.test".into(), "b.test".into()],
                ndots: 2,
                timeout: Duration::from_secs(3),
                attempts: 4,
                ..ResolverConfig::default()
            }
        );
        assert_eq!(
            ResolverConfig::from_resolv_conf("domain c.test").expect("a good one").search_domains,
            ["c.test"]
        );
    }

    #[test]
    fn invalid_values_are_refused() {
        for (text, kind) in [
            ("nameserver ten", io::ErrorKind::InvalidData),
            ("nameserver", io::ErrorKind::InvalidData),
            ("nameserver fe80::1%eth0", io::ErrorKind::Unsupported),
        ] {
            let error = ResolverConfig::from_resolv_conf(text).expect_err(text);
            assert_eq!(error.kind(), kind, "{text}: {error}");
        }
    }
}
