//! The messages of the Address Resolution Protocol (RFC 826).

use super::MacAddr;
use crate::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};
use std::net::Ipv4Addr;

/// An ARP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arp {
    /// Request, or otherwise reply.
    pub(crate) is_request: bool,
    /// Protocol and hardware address of the sender.
    pub(crate) sender: (Ipv4Addr, MacAddr),
    pub(crate) target: (Ipv4Addr, MacAddr),
}

/// Length of a message, in bytes.
const MESSAGE_BYTES: usize = 28;

/// Parses a message; `None` if it is malformed, or not of Ethernet and IPv4.
pub(crate) fn parse(message: &[u8]) -> Option<Arp> {
    let packet = ArpPacket::new_checked(message).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr,
        target_protocol_addr,
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    let is_request = match operation {
        ArpOperation::Request => true,
        ArpOperation::Reply => false,
        ArpOperation::Unknown(_) => return None,
    };
    Some(Arp {
        is_request,
        sender: (source_protocol_addr, MacAddr(source_hardware_addr.0)),
        target: (target_protocol_addr, MacAddr(target_hardware_addr.0)),
    })
}

/// Writes a message.
pub(crate) fn message(arp: &Arp) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    let repr = ArpRepr::EthernetIpv4 {
        operation: if arp.is_request { ArpOperation::Request } else { ArpOperation::Reply },
        source_hardware_addr: EthernetAddress(arp.sender.1.0),
        source_protocol_addr: arp.sender.0,
        target_hardware_addr: EthernetAddress(arp.target.1.0),
        target_protocol_addr: arp.target.0,
    };
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARP: Arp = Arp {
        is_request: true,
        sender: (Ipv4Addr::new(10, 0, 0, 1), MacAddr([2, 0, 0, 0, 0, 1])),
        target: (Ipv4Addr::new(10, 0, 0, 2), MacAddr::UNSPECIFIED),
    };

    #[test]
    fn message_and_parse_round_trip() {
        for is_request in [true, false] {
            let arp = Arp { is_request, ..ARP };
            assert_eq!(parse(&message(&arp)), Some(arp));
        }
    }

    #[test]
    fn other_lengths_types_and_operations_are_rejected() {
        let good = message(&ARP);
        for len in 0..MESSAGE_BYTES {
            assert_eq!(parse(&good[..len]), None, "{len} bytes");
        }
        // The types and lengths of both addresses, and the operation.
        for at in 0..8 {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert_eq!(parse(&bad), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = parse(&bytes);
        }
    }
}
