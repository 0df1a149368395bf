//! Where the server of a test is, and what the test runs over.

use perf::PORT;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// What a test runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Tcp,
    Udp,
}

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
        let (scheme, rest) = match text.split_once("://") {
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            Some(("udp", rest)) => (Scheme::Udp, rest),
            _ => {
                return Err("it begins with neither tcp:// nor udp://, for example \
                            \"tcp://10.9.0.1\" or \"udp://10.9.0.1:5201\""
                    .into());
            }
        };
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

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
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
            ("udp://[fd00::1]:80", uri(Scheme::Udp, Some("fd00::1"), 80)),
        ] {
            assert_eq!(text.parse::<Uri>(), expected, "{text}");
        }
    }

    #[test]
    fn each_error_names_the_mistake() {
        for (text, expected) in [
            ("10.9.0.1", "neither tcp:// nor udp://"),
            ("sctp://10.9.0.1", "neither tcp:// nor udp://"),
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
