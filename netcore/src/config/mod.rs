//! Limits and defaults of a stack.

mod datagram;
mod ethernet;
mod ip;
mod tcp;

pub use datagram::DatagramConfig;
pub use ethernet::EthernetConfig;
pub use ip::IpConfig;
pub use tcp::TcpConfig;

/// Limits and defaults of a [`Netstack`](crate::Netstack), by layer.
///
/// Every bound on what a peer or a caller can make a stack hold has a name here. At a bound the
/// stack refuses or drops, as the protocol asks, and counts it
/// ([`Counters`](crate::Counters)).
///
/// ```
/// let mut config = netcore::Config::default();
/// config.tcp.backlog_max = 4096;
/// config.ip.routes_max = 100_000;
/// ```
///
/// With the feature `serde` it may come from a file: what is left out has its default, what is
/// misspelt is an error, times are whole microseconds, and congestion controls have their names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// Capacity of the command channel; senders wait for room.
    pub commands_max: usize,
    /// Commands that wait on one socket for data, for room or for a connection; one more is refused
    /// with [`Error::LimitReached`](crate::Error::LimitReached).
    pub commands_per_socket_max: usize,
    /// Sockets of all kinds, half-open connections included.
    pub sockets_max: usize,
    /// Whether each socket keeps the thread and the task that made it, for
    /// [`SocketInfo::owner`](crate::SocketInfo::owner): for those who look from outside. Names that a
    /// program gives its sockets are kept always.
    pub socket_owners: bool,
    /// The IP layer.
    pub ip: IpConfig,
    /// The Ethernet link, if it is one.
    pub ethernet: EthernetConfig,
    /// TCP.
    pub tcp: TcpConfig,
    /// UDP, ping and raw sockets.
    pub datagram: DatagramConfig,
    /// Source of unpredictable numbers.
    pub entropy: Entropy,
}

/// Where a stack's unpredictable numbers come from: ports, sequence numbers, identifiers, and the
/// keys of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Entropy {
    /// The operating system's generator.
    #[default]
    Os,
    /// A fixed seed, so that a simulation can be repeated. Not for open networks: with the seed
    /// the numbers are known.
    Seed(u64),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            commands_max: 1024,
            commands_per_socket_max: 1024,
            sockets_max: 1 << 20,
            socket_owners: false,
            ip: IpConfig::default(),
            ethernet: EthernetConfig::default(),
            tcp: TcpConfig::default(),
            datagram: DatagramConfig::default(),
            entropy: Entropy::Os,
        }
    }
}
