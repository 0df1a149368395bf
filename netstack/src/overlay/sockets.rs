//! The UDP sockets of an overlay network.

use super::config::{Encapsulation, OverlayConfig};
use crate::socket_option;
use quinn_udp::{UdpSockRef, UdpSocketState};
use rustix::net::netdevice;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// A socket, and how it sends and receives in batches.
#[derive(Debug)]
pub(super) struct BatchSocket<S> {
    pub(super) socket: S,
    pub(super) state: UdpSocketState,
}

/// The sockets of an overlay network.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Sends all, and receives what is for this peer.
    pub(super) own: BatchSocket<UdpSocket>,
    /// Receives what is for the group, where the own socket cannot.
    pub(super) group: Option<BatchSocket<UdpSocket>>,
    /// The MTU of the way to all peers.
    pub(super) path_mtu: usize,
}

/// The MTU of a way of which nothing is known.
const PATH_MTU: usize = 1500;
/// Hops of a datagram to the group, as VDE has it.
const GROUP_TTL: u8 = 1;

impl Sockets {
    /// Opens them on an interface with this index, or 0.
    pub(super) fn open(
        config: &OverlayConfig,
        interface: u32,
        all: &[SocketAddr],
    ) -> io::Result<Self> {
        let wildcard = match config.is_v6() {
            true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let address = config.bind.unwrap_or(wildcard);
        let is_vxvde = config.encapsulation == Encapsulation::Vxvde;
        let (port, needs_group_socket) = match config.group {
            Some(_) if is_vxvde => (0, true),
            Some(_) => (config.port, config.bind.is_some()),
            None => (config.port, false),
        };
        let own = socket(config)?;
        set_outgoing(&own, config, interface)?;
        // Several of vxvde hear each other on one machine; VXLAN has one on each.
        set_multicast_loop(&own, config, is_vxvde)?;
        let at = scoped(SocketAddr::new(address, port), interface);
        bind(&own, at)?;
        let mut group_socket = None;
        if let Some(group) = config.group {
            if needs_group_socket {
                let socket = socket(config)?;
                socket.set_reuse_address(true)?;
                bind(&socket, scoped(SocketAddr::new(group, config.port), interface))?;
                join(&socket, config, group, interface)?;
                group_socket = Some(socket);
            } else {
                join(&own, config, group, interface)?;
            }
        }
        let path_mtu = all.iter().filter_map(|to| path_mtu(config, interface, *to).ok()).min();
        Ok(Self {
            own: batched(own, config)?,
            group: group_socket.map(|socket| batched(socket, config)).transpose()?,
            path_mtu: path_mtu.unwrap_or(PATH_MTU),
        })
    }
}

/// The index of the interface of the configuration, or 0.
pub(super) fn interface_index(config: &OverlayConfig) -> io::Result<u32> {
    let Some(name) = &config.interface else { return Ok(0) };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    netdevice::name_to_index(&socket, name).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("interface {name}: {error}"))
    })
}

fn socket(config: &OverlayConfig) -> io::Result<Socket> {
    let domain = if config.is_v6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if config.is_v6() {
        socket.set_only_v6(true)?;
        // No groups that other programs have joined.
        socket.set_multicast_all_v6(false)?;
    } else {
        socket.set_multicast_all_v4(false)?;
    }
    // The kernel gives as much as it allows.
    socket.set_recv_buffer_size(config.recv_buffer_bytes)?;
    Ok(socket)
}

/// Sets how datagrams leave.
fn set_outgoing(socket: &Socket, config: &OverlayConfig, interface: u32) -> io::Result<()> {
    let group_ttl = config.ttl.unwrap_or(GROUP_TTL);
    if config.is_v6() {
        socket.set_multicast_hops_v6(group_ttl.into())?;
        if let Some(ttl) = config.ttl {
            socket.set_unicast_hops_v6(ttl.into())?;
        }
        if interface != 0 {
            socket.set_multicast_if_v6(interface)?;
        }
    } else {
        socket.set_multicast_ttl_v4(group_ttl.into())?;
        if let Some(ttl) = config.ttl {
            socket.set_ttl_v4(ttl.into())?;
        }
        if interface != 0 {
            let any = Ipv4Addr::UNSPECIFIED;
            sockopt::set_ip_multicast_if_with_ifindex(socket, &any, &any, interface)?;
        }
    }
    Ok(())
}

fn set_multicast_loop(socket: &Socket, config: &OverlayConfig, is_on: bool) -> io::Result<()> {
    match config.is_v6() {
        true => socket.set_multicast_loop_v6(is_on),
        false => socket.set_multicast_loop_v4(is_on),
    }
}

/// The address with the scope that a link-local one needs.
pub(super) fn scoped(mut address: SocketAddr, interface: u32) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut address {
        let [high, low, ..] = v6.ip().octets();
        // Unicast, or a group of interface-local or link-local scope (RFC 4291 section 2.7).
        if v6.ip().is_unicast_link_local() || high == 0xff && low & 0x0f <= 2 {
            v6.set_scope_id(interface);
        }
    }
    address
}

fn bind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.bind(&address.into()).map_err(|error| {
        let cure = match error.kind() {
            io::ErrorKind::AddrInUse => {
                ": another program, or a vxlan interface of the kernel, \
                                         has the port"
            }
            _ => "",
        };
        io::Error::new(error.kind(), format!("binding {address}: {error}{cure}"))
    })
}

fn join(socket: &Socket, config: &OverlayConfig, group: IpAddr, interface: u32) -> io::Result<()> {
    let joined = match group {
        IpAddr::V4(group) => {
            let own = match (interface, config.bind) {
                (0, Some(IpAddr::V4(own))) => InterfaceIndexOrAddress::Address(own),
                _ => InterfaceIndexOrAddress::Index(interface),
            };
            socket.join_multicast_v4_n(&group, &own)
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, interface),
    };
    joined.map_err(|error| {
        let cure = "name an interface (if=NAME), or add a route to the group";
        io::Error::new(error.kind(), format!("joining {group}: {error}: {cure}"))
    })
}

/// The MTU of the way to a peer, as far as the kernel knows it.
fn path_mtu(config: &OverlayConfig, interface: u32, to: SocketAddr) -> io::Result<usize> {
    let probe = socket(config)?;
    set_outgoing(&probe, config, interface)?;
    if let Some(own) = config.bind {
        probe.bind(&scoped(SocketAddr::new(own, 0), interface).into())?;
    }
    probe.connect(&scoped(to, interface).into())?;
    let mtu = if to.is_ipv6() { sockopt::ipv6_mtu(&probe)? } else { sockopt::ip_mtu(&probe)? };
    Ok(mtu as usize)
}

fn batched(socket: Socket, config: &OverlayConfig) -> io::Result<BatchSocket<UdpSocket>> {
    let socket = UdpSocket::from(socket);
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    // It forbids fragments; but a peer without another MTU sends packets of 1500 bytes, and expects
    // such ones.
    if config.is_v6() {
        sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::WANT)?;
        socket_option::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)?;
    } else {
        sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::WANT)?;
    }
    Ok(BatchSocket { socket, state })
}

/// Sends without waiting, and without a runtime.
pub(super) fn send_now(socket: &impl std::os::fd::AsFd, bytes: &[u8], to: SocketAddr) {
    // A datagram may be lost.
    let _ = SockRef::from(socket).send_to(bytes, &to.into());
}
