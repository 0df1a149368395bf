//! What a test runs over, by its name in a URI.

use serde::Serialize;
use std::fmt;

/// What a test runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Streams of TCP.
    Tcp,
    /// Datagrams of UDP, with a control connection over TCP.
    Udp,
    /// TLS on connections of TCP, the control connection, too.
    Tls,
    /// The streams of one connection of QUIC, the control connection among them.
    Quic,
    /// Bodies of HTTP, beside a control connection that is upgraded.
    Http,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Tls, Self::Quic, Self::Http];

    /// Its name in a URI.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Http => "http",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
