//! UDP, ping and raw sockets.

use crate::binding::BoundTo;
use crate::command::raw::Version;
use crate::error::Error;
use crate::ip::PACKET_BYTES_MAX;
use crate::queue::DatagramQueue;
use crate::reply::Responder;
use crate::sync::Arc;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// A datagram socket. Received datagrams go straight to the handle's queue.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub(crate) queue: Arc<DatagramQueue>,
    /// The handle is gone: the socket is removed once its queue is sent.
    pub(crate) is_orphan: bool,
    /// The multicast groups that the IP layer has it in.
    pub(crate) groups: Vec<IpAddr>,
    /// Waiting receive commands, with their maximum length.
    pub(crate) parked: VecDeque<(Option<usize>, Responder)>,
}

/// The kind of a datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Port 0 means every port without a socket of its own.
    Udp {
        to: BoundTo,
        port: u16,
        is_v6: bool,
    },
    Ping {
        local: IpAddr,
        identifier: u16,
    },
    Raw {
        version: Version,
        protocol: u8,
    },
}

/// The largest payload of UDP over IPv4: a packet without the two headers. IPv6 would take 20
/// bytes more; one limit for both keeps programs from working with one family only.
const UDP_PAYLOAD_MAX: usize = PACKET_BYTES_MAX - 20 - 8;

impl Kind {
    /// The largest payload of one datagram, in bytes.
    pub(crate) fn payload_max(self) -> usize {
        match self {
            // The echo header is as long as UDP's.
            Self::Udp { .. } | Self::Ping { .. } => UDP_PAYLOAD_MAX,
            Self::Raw { .. } => PACKET_BYTES_MAX,
        }
    }

    /// Checks the port of the source `local`.
    pub(crate) fn check_local(self, local: Option<SocketAddr>) -> Result<(), Error> {
        let port = local.map_or(0, |local| local.port());
        let is_ours = match self {
            // A socket on every remaining port.
            Self::Udp { port: 0, .. } => port != 0,
            Self::Udp { port: own, .. } => port == 0 || port == own,
            Self::Ping { .. } | Self::Raw { .. } => true,
        };
        if is_ours { Ok(()) } else { Err(Error::AddressNotAvailable) }
    }

    /// Checks that `peer` is a valid destination.
    pub(crate) fn check_peer(self, peer: SocketAddr) -> Result<(), Error> {
        let address = peer.ip().to_canonical();
        let takes_family = match self {
            Self::Raw { .. } => return Ok(()),
            Self::Udp { to: BoundTo::One(own), .. } => own.is_ipv4() == address.is_ipv4(),
            Self::Udp { to, .. } => to.covers(address),
            Self::Ping { local, .. } => local.is_ipv4() == address.is_ipv4(),
        };
        if matches!(self, Self::Udp { .. }) && peer.port() == 0 {
            return Err(Error::ZeroPort);
        }
        if takes_family { Ok(()) } else { Err(Error::WrongFamily) }
    }
}
