//! Checks of the source and destination of received packets.

use crate::counters::DropReason;
use crate::ip::IpHeader;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Origin;
use crate::ip::special_address;
use crate::wire::{Icmpv6Message, IpProtocol};
use std::net::IpAddr;

/// The port of DHCP clients (RFC 2131 section 4.1).
const DHCP_CLIENT_PORT: u16 = 68;

impl IpLayer {
    /// Checks the source of a received packet (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5). Own
    /// addresses as the source are rejected too, as in a LAND attack.
    pub(crate) fn check_source(&self, header: &IpHeader, bytes: &[u8]) -> Result<(), DropReason> {
        let source = header.source;
        let is_martian = source.is_loopback()
            || source.is_multicast()
            || source.is_unspecified()
            || is_v4_mapped(source)
            || is_reserved(source)
            || self.addressing.is_own(source)
            || self.addressing.is_broadcast(source);
        if is_martian && !self.is_source_exception(header, bytes) {
            return Err(DropReason::MartianSource);
        }
        Ok(())
    }

    /// Whether an otherwise invalid source is allowed: the unspecified address of a node that has
    /// none yet, or an own address in a Neighbour Advertisement, which is an address conflict.
    #[cold]
    fn is_source_exception(&self, header: &IpHeader, bytes: &[u8]) -> bool {
        if header.source.is_unspecified() {
            return is_from_unaddressed_node(header);
        }
        self.addressing.has(header.source)
            && header.protocol == IpProtocol::Icmpv6
            && header.fragment.is_none()
            && bytes.get(header.payload.start).copied().map(Icmpv6Message::from)
                == Some(Icmpv6Message::NeighborAdvert)
    }

    /// Checks that a received packet to `destination` is for this stack.
    pub(crate) fn check_destination(
        &self,
        header: &IpHeader,
        bytes: &[u8],
        origin: Origin,
    ) -> Result<(), DropReason> {
        let destination = header.destination;
        let is_martian = destination.is_loopback()
            || destination.is_unspecified()
            || is_v4_mapped(destination)
            || is_this_network(destination);
        if is_martian {
            return Err(DropReason::MartianDestination);
        }
        let is_for_us = match self.addressing.is_local(destination) {
            // A unicast packet must not arrive in a multicast frame (RFC 1122 section 3.3.6), and a
            // tentative address receives nothing (RFC 4862 section 5.4).
            true => origin == Origin::Link && !self.addressing.is_tentative(destination),
            false => {
                self.addressing.is_broadcast(destination)
                    || is_all_hosts(destination)
                    || self.groups.contains_key(&destination)
                    || self.addressing.is_solicited_node(destination)
                    || (origin == Origin::Link && self.is_to_dhcp_client(header, bytes))
            }
        };
        if is_for_us { Ok(()) } else { Err(DropReason::NotForUs) }
    }

    /// Whether a packet is one to the DHCP client of a host that has no IPv4 address yet. Servers that
    /// disregard the broadcast flag send to the address that they offer, and a host takes what comes to
    /// its hardware address until then (RFC 2131 section 4.1).
    #[cold]
    fn is_to_dhcp_client(&self, header: &IpHeader, bytes: &[u8]) -> bool {
        let is_host = matches!(header.destination, IpAddr::V4(_))
            && special_address::is_host(header.destination);
        is_host
            && header.protocol == IpProtocol::Udp
            && header.fragment.is_none()
            && bytes.get(header.payload.start..).and_then(|udp| udp.get(2..4))
                == Some(&DHCP_CLIENT_PORT.to_be_bytes()[..])
            && !self.addressing.has_ipv4()
    }
}

/// Whether a packet from the unspecified address is one that a node without an address sends: over
/// IPv4 UDP to the broadcast address (RFC 1122 section 3.2.1.3(a)), over IPv6 ICMPv6 to a multicast
/// group (RFC 4862 section 5.4.2).
fn is_from_unaddressed_node(header: &IpHeader) -> bool {
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

/// Whether the address is reserved: 0.0.0.0/8 and 240.0.0.0/4 (RFC 6890 section 2.2.2).
fn is_reserved(address: IpAddr) -> bool {
    is_this_network(address) || matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240)
}

/// 0.0.0.0/8.
fn is_this_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 0)
}

/// The all-hosts and all-nodes groups (RFC 1112 section 4, RFC 4291 section 2.7.1).
pub(crate) fn is_all_hosts(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets() == [224, 0, 0, 1],
        IpAddr::V6(address) => address.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 1],
    }
}
