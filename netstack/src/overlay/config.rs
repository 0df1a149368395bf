//! The configuration of an overlay network.

use super::header::{HEADER_BYTES, VNI_MAX};
use crate::frame_layout::ETHERNET_HEADER;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What stands in front of each frame in a datagram, and which peers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Encapsulation {
    /// The header of VXLAN (RFC 7348). Every peer has the same port.
    Vxlan,
    /// The same header, as VDE's vxvde has it: many peers on one machine, each with a port of its
    /// own.
    Vxvde,
    /// Nothing: frames go to fixed peers, as with VDE's udp.
    None,
}

/// Configuration of an [`OverlayDevice`](super::OverlayDevice).
///
/// All addresses are of one family. Deserialized, what is left out is as in [`vxlan`](Self::vxlan).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default = "OverlayConfig::vxlan", deny_unknown_fields))]
pub struct OverlayConfig {
    /// What stands in front of each frame.
    pub encapsulation: Encapsulation,
    /// The number of the network, up to 16,777,215: frames with another one are dropped.
    pub vni: u32,
    /// The multicast group for frames to all and to unknown addresses.
    pub group: Option<IpAddr>,
    /// Fixed peers, each of which gets those frames too.
    pub remotes: Vec<SocketAddr>,
    /// The port of the group and of the socket. With vxvde and a group the socket has a port that
    /// the kernel chooses.
    pub port: u16,
    /// The own address; without one, each of this machine.
    pub bind: Option<IpAddr>,
    /// The interface of the group; without one, that of the route to it.
    pub interface: Option<String>,
    /// How many hops a datagram lives. Without it those to the group live 1, and others as long as
    /// the kernel's.
    pub ttl: Option<u8>,
    /// The largest IP packet inside, in bytes. Without it a datagram fits the interface: its MTU
    /// without 50 bytes over IPv4, and without 70 over IPv6. Larger packets are accepted.
    pub mtu: Option<usize>,
    /// The receive buffer of each socket, in bytes, as far as the kernel allows
    /// (`net.core.rmem_max`).
    pub recv_buffer_bytes: usize,
    /// How many addresses are known at most. Beyond, the one that has not been seen for longest is
    /// forgotten; frames to it go to all.
    pub addresses_max: usize,
    /// How long an address is known after its last frame.
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub address_age: Duration,
}

/// The port of VXLAN (RFC 7348 section 8), and that of VDE's vxvde.
const VXLAN_PORT: u16 = 4789;
const VXVDE_PORT: u16 = 14789;
/// The groups that VDE has by default.
pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff05, 0x56de, 0, 0, 0, 0, 0, 1);
/// VDE's `hashsize` and `expiretime`.
const ADDRESSES_MAX: usize = 1024;
const ADDRESS_AGE: Duration = Duration::from_secs(128);
/// A round trip of 10 ms at 3 Gbit/s.
const RECV_BUFFER_BYTES: usize = 4 << 20;
/// The least MTU of IPv4 (RFC 791).
const MTU_MIN: usize = 68;
/// UDP's header, and IP's in front of it.
const UDP_BYTES: usize = 8;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;

impl OverlayConfig {
    /// VXLAN: port 4789, network 1, and neither a group nor peers yet.
    pub fn vxlan() -> Self {
        Self {
            encapsulation: Encapsulation::Vxlan,
            vni: 1,
            group: None,
            remotes: Vec::new(),
            port: VXLAN_PORT,
            bind: None,
            interface: None,
            ttl: None,
            mtu: None,
            recv_buffer_bytes: RECV_BUFFER_BYTES,
            addresses_max: ADDRESSES_MAX,
            address_age: ADDRESS_AGE,
        }
    }

    /// VDE's vxvde: port 14789, network 1, and neither a group nor peers yet.
    pub fn vxvde() -> Self {
        Self { encapsulation: Encapsulation::Vxvde, port: VXVDE_PORT, ..Self::vxlan() }
    }

    /// Bare frames from a port to a peer.
    pub fn udp(port: u16, remote: SocketAddr) -> Self {
        let remotes = vec![remote];
        Self { encapsulation: Encapsulation::None, remotes, port, ..Self::vxlan() }
    }

    /// Checks what the kernel does not.
    pub(super) fn check(&self) -> io::Result<()> {
        let wrong = |message: String| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        let addresses = self.group.into_iter().chain(self.remotes.iter().map(SocketAddr::ip));
        let mut addresses = addresses.peekable();
        let Some(first) = addresses.peek().copied() else {
            return wrong("neither a group nor a peer: nobody would get a frame".to_owned());
        };
        if let Some(other) = addresses.chain(self.bind).find(|it| it.is_ipv4() != first.is_ipv4()) {
            return wrong(format!("{first} and {other} are of different families"));
        }
        if let Some(group) = self.group.filter(|group| !group.is_multicast()) {
            return wrong(format!("{group} is no multicast group"));
        }
        if self.group.is_some() && self.encapsulation == Encapsulation::None {
            return wrong("bare frames go to peers, and to no group".to_owned());
        }
        if self.vni > VNI_MAX {
            return wrong(format!("network {} is out of range: up to {VNI_MAX}", self.vni));
        }
        match self.mtu {
            Some(mtu) if !(MTU_MIN..=self.mtu_max()).contains(&mtu) => {
                let max = self.mtu_max();
                wrong(format!("an MTU of {mtu} is out of range: from {MTU_MIN} to {max} bytes"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the datagrams are IPv6.
    pub(super) fn is_v6(&self) -> bool {
        let remote = self.remotes.first().map(SocketAddr::ip);
        self.group.or(remote).or(self.bind).is_some_and(|address| address.is_ipv6())
    }

    /// What a datagram adds to an IP packet inside.
    pub(super) fn overhead(&self) -> usize {
        let ip = if self.is_v6() { IPV6_BYTES } else { IPV4_BYTES };
        let header = if self.encapsulation == Encapsulation::None { 0 } else { HEADER_BYTES };
        ip + UDP_BYTES + header + ETHERNET_HEADER
    }

    /// The largest packet inside a datagram.
    fn mtu_max(&self) -> usize {
        // IPv6 does not count its own header.
        let datagram = if self.is_v6() { 65_535 + IPV6_BYTES } else { 65_535 };
        // A frame may have a VLAN tag.
        datagram - self.overhead() - 4
    }

    /// The MTU inside of a path with this one.
    pub(super) fn mtu_inside(&self, path_mtu: usize) -> usize {
        path_mtu.saturating_sub(self.overhead()).clamp(MTU_MIN, self.mtu_max())
    }
}
