//! Where the server of a test is, and what the test runs over.

use perf::{PORT, Scheme};
use std::net::Ipv6Addr;
use std::str::FromStr;

/// `SCHEME://HOST:PORT`, where the host and the port may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) scheme: Scheme,
    /// A name or an address, that of IPv6 without brackets.
    pub(super) host: Option<String>,
    pub(super) port: u16,
}

impl FromStr for Uri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = |name| Scheme::ALL.into_iter().find(|scheme| scheme.name() == name);
        let parts = text.split_once("://").and_then(|(name, rest)| Some((scheme(name)?, rest)));
        let (scheme, rest) = parts.ok_or_else(|| {
            let names = Scheme::ALL.map(|scheme| format!("{scheme}://"));
            let example = "for example \"tcp://10.9.0.1\" or \"udp://10.9.0.1:5201\"";
            format!("it begins with none of {}, {example}", names.join(", "))
        })?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("an IPv6 address stands in brackets: \"{scheme}://[{rest}]\""));
        }
        let (host, port) = match rest.rsplit_once(':').filter(|_| !rest.ends_with(']')) {
            Some((host, port)) => {
                let wrong =
                    || format!("\"{port}\" is not a port from 1 to 65535, for example {PORT}");
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            None => (rest, PORT),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(inner) => return Err(format!("\"{inner}\" is not an IPv6 address")),
            None if host.contains(['[', ']', ':', '/']) => {
                return Err(format!("\"{host}\" is not a host, for example \"10.9.0.1\""));
            }
            None => host,
        };
        let host = Some(host.to_owned()).filter(|host| !host.is_empty());
        Ok(Self { scheme, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_may_be_left_out() {
        let uri = |scheme, host: Option<&str>, port| {
            Ok(Uri { scheme, host: host.map(str::to_owned), port })
        };
        for (text, expected) in [
            ("tcp://", uri(Scheme::Tcp, None, 5201)),
            ("udp://:7", uri(Scheme::Udp, None, 7)),
            ("tcp://web.test/", uri(Scheme::Tcp, Some("web.test"), 5201)),
            ("tcp://10.9.0.1:80", uri(Scheme::Tcp, Some("10.9.0.1"), 80)),
            ("udp://[fd00::1]", uri(Scheme::Udp, Some("fd00::1"), 5201)),
            ("tls://web.test:443", uri(Scheme::Tls, Some("web.test"), 443)),
            ("udp://[fd00::1]:80", uri(Scheme::Udp, Some("fd00::1"), 80)),
        ] {
            assert_eq!(text.parse::<Uri>(), expected, "{text}");
        }
    }

    #[test]
    fn each_error_names_the_mistake() {
        for (text, expected) in [
            ("10.9.0.1", "none of tcp://, udp://, tls://, quic://, http://"),
            ("sctp://10.9.0.1", "none of tcp://, udp://, tls://"),
            ("tcp://10.9.0.1:http", "\"http\" is not a port"),
            ("tcp://10.9.0.1:0", "\"0\" is not a port"),
            ("tcp://fd00::1", "\"tcp://[fd00::1]\""),
            ("tcp://[host]", "\"host\" is not an IPv6 address"),
            ("tcp://a/b", "\"a/b\" is not a host"),
        ] {
            let error = text.parse::<Uri>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
