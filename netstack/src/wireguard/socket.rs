//! The UDP socket of a tunnel.

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A socket of both families, or of IPv4 where the machine has no IPv6.
pub(super) struct TunnelSocket {
    io: Io,
    state: UdpSocketState,
    is_v6: bool,
    /// Room for what one call receives.
    buffer: Box<[u8]>,
}

enum Io {
    Open(std::net::UdpSocket),
    Attached(UdpSocket),
    Gone,
}

/// How many buffers one call fills; each has up to 64 datagrams that the kernel has joined (UDP_GRO of
/// Linux).
const BUFFERS: usize = 8;
const BUFFER_BYTES: usize = 1 << 16;
/// The kernel's buffers, in bytes, as far as it gives them.
const KERNEL_BYTES: usize = 4 << 20;

impl TunnelSocket {
    /// Binds to a port of all addresses, or with 0 to one that the kernel chooses.
    pub(super) fn bind(port: u16) -> io::Result<Self> {
        let both = || {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_only_v6(false)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
            Ok(socket)
        };
        let (socket, is_v6) = match both() {
            Ok(socket) => (socket, true),
            Err(error) if is_taken(&error) => return Err(named(&error, port)),
            Err(_) => {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
                let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                socket.bind(&address.into()).map_err(|error| named(&error, port))?;
                (socket, false)
            }
        };
        // Less is no failure.
        let _ = socket.set_recv_buffer_size(KERNEL_BYTES);
        let _ = socket.set_send_buffer_size(KERNEL_BYTES);
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        allow_fragments(&socket, is_v6)?;
        let buffer = vec![0; BUFFERS * BUFFER_BYTES].into_boxed_slice();
        Ok(Self { io: Io::Open(socket), state, is_v6, buffer })
    }

    /// Registers the socket with the runtime.
    pub(super) fn attach(&mut self) -> io::Result<()> {
        if let Io::Open(socket) = std::mem::replace(&mut self.io, Io::Gone) {
            self.io = Io::Attached(UdpSocket::from_std(socket)?);
        }
        Ok(())
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.io {
            Io::Open(socket) => socket.local_addr(),
            Io::Attached(socket) => socket.local_addr(),
            Io::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn attached(&self) -> io::Result<&UdpSocket> {
        match &self.io {
            Io::Attached(socket) => Ok(socket),
            Io::Open(_) | Io::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.attached()?.poll_recv_ready(cx)
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.attached()?.poll_send_ready(cx)
    }

    /// Sends datagrams of `segment` bytes, the last of which may be shorter.
    pub(super) fn send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
        let socket = self.attached()?;
        let destination = match to.ip() {
            IpAddr::V4(ip) if self.is_v6 => (ip.to_ipv6_mapped(), to.port()).into(),
            IpAddr::V6(_) if !self.is_v6 => return Err(io::ErrorKind::NetworkUnreachable.into()),
            _ => to,
        };
        let segment_size = (contents.len() > segment).then_some(segment);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        socket.try_io(Interest::WRITABLE, || self.state.try_send(socket.into(), &transmit))
    }

    /// Receives what is there, and gives each datagram and its sender to `handle`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there was nothing; with `is_looking` the kernel is asked in any case.
    pub(super) fn receive(
        &mut self,
        is_looking: bool,
        mut handle: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<()> {
        let Self { io: Io::Attached(socket), state, buffer, .. } = self else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut metas = [RecvMeta::default(); BUFFERS];
        let count = {
            let mut parts = buffer.chunks_exact_mut(BUFFER_BYTES).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; BUFFERS] =
                std::array::from_fn(|_| parts.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let mut receive = || state.recv((&*socket).into(), &mut slices, &mut metas);
            match is_looking {
                true => receive(),
                false => socket.try_io(Interest::READABLE, receive),
            }?
        };
        for (meta, bytes) in metas[..count].iter().zip(buffer.chunks_exact(BUFFER_BYTES)) {
            let sender = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            let sender = if sender.is_ipv6() { meta.addr } else { sender };
            // An empty datagram has a stride of 0.
            for datagram in bytes[..meta.len].chunks(meta.stride.max(1)) {
                handle(sender, datagram);
            }
        }
        Ok(())
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn named(error: &io::Error, port: u16) -> io::Error {
    io::Error::new(error.kind(), format!("UDP port {port}: {error}"))
}

/// What does not fit into the way's MTU leaves in fragments, as with WireGuard in Linux: the tunnel's
/// packets are of the size that the file gives.
#[cfg(target_os = "linux")]
fn allow_fragments(socket: &std::net::UdpSocket, is_v6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt::Ipv6DontFrag};
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };

    set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT)?;
    if is_v6 {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT)?;
        setsockopt(socket, Ipv6DontFrag, &false)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn allow_fragments(_: &std::net::UdpSocket, _: bool) -> io::Result<()> {
    Ok(())
}
