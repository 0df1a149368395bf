//! The configuration of a tunnel.

use super::key::Key;
use super::parser::{self, ConfigError};
use crate::builder::Builder;
use ipnet::IpNet;
use netcore::Route;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::str::FromStr;

/// The configuration of a tunnel, as in a `wg-quick` file.
///
/// ```
/// use netstack::wireguard::Config;
///
/// let config: Config = "
///     [Interface]
///     PrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=
///     Address = 10.8.0.2/24, fd08::2/64
///     DNS = 10.8.0.1
///
///     [Peer]
///     PublicKey = 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=
///     AllowedIPs = 0.0.0.0/0, ::/0
///     Endpoint = vpn.example:51820
///     PersistentKeepalive = 25
/// "
/// .parse()?;
/// assert_eq!(config.peers[0].endpoint.as_ref().unwrap().to_string(), "vpn.example:51820");
/// # Ok::<(), netstack::wireguard::ConfigError>(())
/// ```
///
/// What is serialized has the private key. Deserialized, it needs that key alone, and a peer its public
/// one.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Config {
    /// `PrivateKey`.
    pub private_key: Key,
    /// `ListenPort`: the UDP port; without, one that the kernel chooses.
    #[cfg_attr(feature = "serde", serde(default))]
    pub listen_port: Option<u16>,
    /// `Address`: those of the stack. One without a prefix is a single address.
    #[cfg_attr(feature = "serde", serde(default))]
    pub addresses: Vec<IpNet>,
    /// The addresses in `DNS`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub name_servers: Vec<IpAddr>,
    /// The names in `DNS`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub search_domains: Vec<String>,
    /// `MTU`: the largest IP packet in the tunnel, in bytes; without, [`MTU_DEFAULT`].
    ///
    /// [`MTU_DEFAULT`]: Self::MTU_DEFAULT
    #[cfg_attr(feature = "serde", serde(default))]
    pub mtu: Option<u16>,
    /// Whether the stack gets a route to the peers' allowed addresses; not with `Table = off`.
    #[cfg_attr(feature = "serde", serde(default = "has_routes"))]
    pub has_routes: bool,
    /// `[Peer]` sections.
    #[cfg_attr(feature = "serde", serde(default))]
    pub peers: Vec<Peer>,
    /// Keys of the file that are meant for the machine, as `PostUp`, each once.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub ignored: Vec<String>,
}

/// A peer.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Peer {
    /// `PublicKey`.
    pub public_key: Key,
    /// `PresharedKey`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub preshared_key: Option<Key>,
    /// `AllowedIPs`: destinations that are sent to this peer, and the only sources that are accepted
    /// from it. Among all peers the longest prefix wins, and of two equal ones the later.
    #[cfg_attr(feature = "serde", serde(default))]
    pub allowed_ips: Vec<IpNet>,
    /// `Endpoint`: where the peer is at first; without, the peer is the first to send.
    #[cfg_attr(feature = "serde", serde(default))]
    pub endpoint: Option<Endpoint>,
    /// `PersistentKeepalive`: the time between two packets that keep the way open, in seconds.
    #[cfg_attr(feature = "serde", serde(default))]
    pub persistent_keepalive: Option<u16>,
}

/// The UDP address of a peer: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The largest file.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// The MTU without `MTU`, in bytes: what is left of 1,500 with IPv6 outside.
    pub const MTU_DEFAULT: u16 = 1420;
    /// The largest MTU, in bytes: the rest of a UDP datagram over IPv4 is the tunnel's header.
    pub const MTU_MAX: u16 = 65_507 - 32;

    /// A tunnel without addresses and peers.
    pub fn new(private_key: Key) -> Self {
        Self {
            private_key,
            listen_port: None,
            addresses: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            mtu: None,
            has_routes: true,
            peers: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// Reads a `wg-quick` file, with a warning in the log if it is open to all users.
    ///
    /// # Errors
    ///
    /// Those of the file system; `InvalidData` for a line that is wrong, with its number.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            if file.metadata().map_err(failed)?.permissions().mode() & 0o007 != 0 {
                tracing::warn!(file = %path.display(), "the private key is open to others");
            }
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let message = format!("larger than {FILE_BYTES_MAX} bytes");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        text.parse()
            .map_err(|error: ConfigError| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// The largest IP packet in the tunnel, in bytes.
    pub fn mtu(&self) -> usize {
        self.mtu.unwrap_or(Self::MTU_DEFAULT).into()
    }

    /// The routes that `wg-quick` would set: to the allowed addresses of all peers, without those
    /// that others cover.
    pub fn routes(&self) -> Vec<Route> {
        if !self.has_routes {
            return Vec::new();
        }
        let allowed = self.peers.iter().flat_map(|peer| &peer.allowed_ips).copied();
        let destinations = IpNet::aggregate(&allowed.collect());
        destinations.into_iter().map(|destination| Route { destination, gateway: None }).collect()
    }

    /// Gives the stack the addresses, routes, name servers and search domains.
    #[must_use]
    pub fn configure(&self, builder: Builder) -> Builder {
        let builder = self.addresses.iter().copied().fold(builder, Builder::address);
        let builder = self.name_servers.iter().copied().fold(builder, Builder::name_server);
        let builder = self.search_domains.iter().fold(builder, Builder::search_domain);
        self.routes().into_iter().fold(builder, Builder::route)
    }
}

impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        parser::parse(text)
    }
}

impl Peer {
    /// A peer without allowed addresses.
    pub fn new(public_key: Key) -> Self {
        Self {
            public_key,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            persistent_keepalive: None,
        }
    }
}

#[cfg(feature = "serde")]
const fn has_routes() -> bool {
    true
}

/// As in a file.
#[cfg(feature = "serde")]
impl serde::Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(input)?;
        parser::endpoint(&text).map_err(serde::de::Error::custom)
    }
}

impl Endpoint {
    /// Its first address, which the machine's resolver is asked for.
    pub(super) fn resolve(&self) -> io::Result<SocketAddr> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{self}: {error}"));
        let mut found = (self.host.as_str(), self.port).to_socket_addrs().map_err(failed)?;
        found.next().ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "no address")))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
