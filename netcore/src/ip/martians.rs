//! Which packets from the wire are taken, by their source and destination.

use crate::counters::DropReason;
use crate::ip::IpHeader;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Origin;
use crate::ip::special_address;
use crate::wire::{Icmpv6Message, IpProtocol};
use std::net::IpAddr;

impl IpLayer {
    /// Whether a packet from the wire may come from `source` (RFC 1122 section 3.2.1.3, RFC 4291
    /// section 2.5). That it is none of the stack's own addresses keeps out LAND, too.
    pub(crate) fn check_source(&self, header: &IpHeader, bytes: &[u8]) -> Result<(), DropReason> {
        let source = header.source;
        let is_martian = source.is_loopback()
            || source.is_multicast()
            || source.is_unspecified()
            || is_v4_mapped(source)
            || is_reserved(source)
            || self.addressing.is_own(source)
            || self.addressing.is_broadcast(source);
        if is_martian && !self.is_excused(header, bytes) {
            return Err(DropReason::MartianSource);
        }
        Ok(())
    }

    /// Whether a packet may come from where no other may: from no address, as long as its sender
    /// has none, and from one of the stack's own, to say that it has another owner.
    #[cold]
    fn is_excused(&self, header: &IpHeader, bytes: &[u8]) -> bool {
        if header.source.is_unspecified() {
            return is_from_newcomer(header);
        }
        self.addressing.has(header.source)
            && header.protocol == IpProtocol::Icmpv6
            && header.fragment.is_none()
            && bytes.get(header.payload.start).copied().map(Icmpv6Message::from)
                == Some(Icmpv6Message::NeighborAdvert)
    }

    /// Whether a packet from the wire to `destination` is for this stack.
    pub(crate) fn check_destination(
        &self,
        destination: IpAddr,
        origin: Origin,
    ) -> Result<(), DropReason> {
        let is_martian = destination.is_loopback()
            || destination.is_unspecified()
            || is_v4_mapped(destination)
            || is_this_network(destination);
        if is_martian {
            return Err(DropReason::MartianDestination);
        }
        let is_for_us = match self.addressing.is_local(destination) {
            // What is for one comes in a frame for one (RFC 1122 section 3.3.6), and what another
            // node may have is not taken yet (RFC 4862 section 5.4).
            true => origin == Origin::Link && !self.addressing.is_tentative(destination),
            false => {
                self.addressing.is_broadcast(destination)
                    || is_all_hosts(destination)
                    || self.groups.contains_key(&destination)
                    || self.addressing.is_solicited_node(destination)
            }
        };
        if is_for_us { Ok(()) } else { Err(DropReason::NotForUs) }
    }
}

/// Whether a packet without a source is what a node sends that has no address yet: over IPv4 to
/// everybody (RFC 1122 section 3.2.1.3(a)), over IPv6 Neighbour Discovery and its like (RFC 4862
/// section 5.4.2).
fn is_from_newcomer(header: &IpHeader) -> bool {
    match header.destination {
        IpAddr::V4(destination) => destination.is_broadcast() && header.protocol == IpProtocol::Udp,
        IpAddr::V6(destination) => {
            destination.is_multicast() && header.protocol == IpProtocol::Icmpv6
        }
    }
}

fn is_v4_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if special_address::is_v4_mapped(address))
}

/// Whether no host has this address: 0.0.0.0/8 and 240.0.0.0/4 (RFC 6890 section 2.2.2).
fn is_reserved(address: IpAddr) -> bool {
    is_this_network(address) || matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240)
}

/// 0.0.0.0/8.
fn is_this_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 0)
}

/// The multicast groups that every host is in (RFC 1112 section 4, RFC 4291 section 2.7.1).
pub(crate) fn is_all_hosts(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets() == [224, 0, 0, 1],
        IpAddr::V6(address) => address.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 1],
    }
}
