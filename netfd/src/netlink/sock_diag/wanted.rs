//! `struct inet_diag_req_v2`: which sockets are wanted, and what of them.

use crate::netlink::failure::Failure;
use crate::netlink::sock_diag::bytecode::Bytecode;
use crate::netlink::sock_diag::message::number;
use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId as Name};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, TCP_TIME_WAIT};
use netsocket::netcore::{SocketId, SocketInfo, SocketKind};
use rustix::io::Errno;
use std::net::SocketAddr;

/// Which sockets are wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    family: u8,
    kind: SocketKind,
    /// A bit for each state.
    states: u32,
    extensions: u8,
    name: Name,
    bytecode: Option<Bytecode>,
}

/// The length of the structure, before its attributes.
const LEN: usize = 56;
/// `INET_DIAG_REQ_BYTECODE` and `INET_DIAG_REQ_PROTOCOL`.
const BYTECODE: u16 = 1;
const PROTOCOL: u16 = 3;
/// `INET_DIAG_NOCOOKIE`.
const NO_COOKIE: [u8; 8] = [0xff; 8];

impl Wanted {
    /// Whether this is a family that a stack has sockets of.
    pub(crate) fn is_ip(family: u8) -> bool {
        [AF_INET, AF_INET6].contains(&family)
    }

    /// Parses a request.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is malformed; `ENOENT` for a protocol that a stack has no sockets of.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Failure> {
        let malformed = || Failure::new(Errno::INVAL, "the message is malformed");
        let request = InetRequest::parse(payload).map_err(|_| malformed())?;
        let mut protocol = u32::from(request.protocol);
        let mut bytecode = None;
        for attribute in NlasIterator::new(&payload[LEN..]) {
            let attribute = attribute.map_err(|_| malformed())?;
            match attribute.kind() {
                BYTECODE => bytecode = Some(Bytecode::parse(attribute.value())?),
                PROTOCOL => {
                    let number = attribute.value().first_chunk().ok_or_else(malformed)?;
                    protocol = u32::from_ne_bytes(*number);
                }
                _ => {}
            }
        }
        let kind = match libc::c_int::try_from(protocol) {
            Ok(libc::IPPROTO_TCP) => SocketKind::Tcp,
            Ok(libc::IPPROTO_UDP) => SocketKind::Udp,
            Ok(libc::IPPROTO_RAW) => SocketKind::Raw,
            // As without its module.
            _ => return Err(Errno::NOENT.into()),
        };
        let InetRequest { family, extensions, states, socket_id: name, .. } = request;
        let states = states.bits();
        Ok(Self { family, kind, states, extensions: extensions.bits(), name, bytecode })
    }

    pub(crate) fn extensions(&self) -> ExtensionFlags {
        ExtensionFlags::from_bits_truncate(self.extensions)
    }

    /// Whether a socket is one of those that are wanted.
    pub(crate) fn wants(&self, socket: &SocketInfo) -> bool {
        socket.kind == self.kind
            && self.states & 1 << number(socket) != 0
            && self.wants_ends(socket.local, socket.peer)
    }

    pub(crate) fn wants_time_wait(&self) -> bool {
        self.kind == SocketKind::Tcp && self.states & 1 << TCP_TIME_WAIT != 0
    }

    /// Whether sockets with these addresses are wanted. The ports of the request are a filter, as in
    /// the kernel.
    pub(crate) fn wants_ends(&self, local: SocketAddr, peer: Option<SocketAddr>) -> bool {
        let peer_port = peer.map_or(0, |peer| peer.port());
        let is_port = |wanted: u16, port| wanted == 0 || wanted == port;
        family(local) == self.family
            && is_port(self.name.source_port, local.port())
            && is_port(self.name.destination_port, peer_port)
            && self.bytecode.as_ref().is_none_or(|bytecode| bytecode.accepts(local, peer))
    }

    /// Whether it is the one that is meant by its name.
    pub(crate) fn means(&self, socket: &SocketInfo) -> bool {
        let Name { source_address, source_port, destination_address, destination_port, .. } =
            self.name;
        let is_named = || match self.name.cookie {
            NO_COOKIE => true,
            cookie => SocketId::from_bits(u64::from_le_bytes(cookie)) == Some(socket.id),
        };
        let is_peer = match socket.peer {
            Some(peer) => peer == SocketAddr::new(destination_address, destination_port),
            None => destination_port == 0,
        };
        socket.kind == self.kind
            && socket.local == SocketAddr::new(source_address, source_port)
            && is_peer
            && is_named()
    }
}

/// The family of a socket's addresses.
pub(crate) fn family(local: SocketAddr) -> u8 {
    match local {
        SocketAddr::V4(_) => AF_INET,
        SocketAddr::V6(_) => AF_INET6,
    }
}
