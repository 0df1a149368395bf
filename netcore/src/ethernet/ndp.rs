//! Neighbour Solicitations and Advertisements (RFC 4861 sections 4.3 and 4.4).

use super::MacAddr;
use crate::ip;
use crate::wire::ChecksumCapabilities;
use crate::wire::{
    EthernetAddress, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol, NdiscNeighborFlags,
    NdiscOption, NdiscOptionType, NdiscRepr, RawHardwareAddress,
};
use std::net::Ipv6Addr;

/// A Neighbour Discovery message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// A Neighbour Solicitation.
    Solicitation { target: Ipv6Addr, source_link: Option<MacAddr> },
    /// A Neighbour Advertisement.
    Advertisement {
        target: Ipv6Addr,
        target_link: Option<MacAddr>,
        /// The solicited flag.
        is_solicited: bool,
        /// The override flag.
        is_override: bool,
    },
}

/// The hop limit of all messages: none from beyond the link arrives with it.
pub(crate) const HOP_LIMIT: u8 = 255;
/// The all-nodes multicast address.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Offset of the options in both messages.
const OPTIONS_START: usize = 24;

/// The solicited-node multicast address of `address` (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

/// Parses an ICMPv6 message with a valid checksum; `None` if it is malformed, or of another type
/// (RFC 4861 sections 7.1.1 and 7.1.2).
pub(crate) fn parse(icmp: &[u8]) -> Option<Message> {
    let packet = Icmpv6Packet::new_checked(icmp).ok()?;
    if packet.msg_code() != 0 || icmp.len() < OPTIONS_START {
        return None;
    }
    let target = packet.target_addr();
    let [source_link, target_link] = link_addresses(&icmp[OPTIONS_START..])?;
    if target.is_multicast() {
        return None;
    }
    match packet.msg_type() {
        Icmpv6Message::NeighborSolicit => Some(Message::Solicitation { target, source_link }),
        Icmpv6Message::NeighborAdvert => {
            let flags = packet.neighbor_flags();
            Some(Message::Advertisement {
                target,
                target_link,
                is_solicited: flags.contains(NdiscNeighborFlags::SOLICITED),
                is_override: flags.contains(NdiscNeighborFlags::OVERRIDE),
            })
        }
        _ => None,
    }
}

/// The source and target link-layer address options; `None` if an option is truncated or of length
/// zero. Skips unknown options.
fn link_addresses(mut options: &[u8]) -> Option<[Option<MacAddr>; 2]> {
    let mut found = [None, None];
    while !options.is_empty() {
        let len = usize::from(*options.get(1)?) * 8;
        let (option, rest) = options.split_at_checked(len).filter(|_| len > 0)?;
        let slot = match NdiscOptionType::from(option[0]) {
            NdiscOptionType::SourceLinkLayerAddr => &mut found[0],
            NdiscOptionType::TargetLinkLayerAddr => &mut found[1],
            _ => {
                options = rest;
                continue;
            }
        };
        let option = NdiscOption::new_checked(option).ok().filter(|_| len == 8)?;
        let bytes = option.data().first_chunk()?;
        *slot = Some(MacAddr(*bytes));
        options = rest;
    }
    Some(found)
}

/// Writes a Neighbour Solicitation for `target`. With an unspecified source it is a probe of
/// duplicate address detection and carries no source link-layer address (RFC 4862 section 5.4.2).
pub(crate) fn solicitation(
    source: Option<Ipv6Addr>,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    link: MacAddr,
) -> Vec<u8> {
    let lladdr = source.is_some().then(|| raw(link));
    let message = NdiscRepr::NeighborSolicit { target_addr: target, lladdr };
    packet(source.unwrap_or(Ipv6Addr::UNSPECIFIED), destination, message)
}

/// Writes a Neighbour Advertisement of `target` at `link`.
pub(crate) fn advertisement(
    destination: Ipv6Addr,
    target: Ipv6Addr,
    link: MacAddr,
    is_solicited: bool,
) -> Vec<u8> {
    let mut flags = NdiscNeighborFlags::OVERRIDE;
    flags.set(NdiscNeighborFlags::SOLICITED, is_solicited);
    let lladdr = Some(raw(link));
    let message = NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr };
    packet(target, destination, message)
}

fn raw(link: MacAddr) -> RawHardwareAddress {
    RawHardwareAddress::from(EthernetAddress(link.0))
}

fn packet(source: Ipv6Addr, destination: Ipv6Addr, message: NdiscRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(message);
    let (len, protocol) = (message.buffer_len(), IpProtocol::Icmpv6);
    let header = ip::repr(source.into(), destination.into(), protocol, len, HOP_LIMIT);
    let start = header.header_len();
    let mut packet = vec![0; start + len];
    header.emit(&mut packet[..], &ip::header_checksums_only());
    let mut out = Icmpv6Packet::new_unchecked(&mut packet[start..]);
    message.emit(&source, &destination, &mut out, &ChecksumCapabilities::default());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x1234, 0x5678);
    const LINK: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn icmp(packet: &[u8]) -> &[u8] {
        let message = Icmpv6Packet::new_checked(&packet[40..]).expect("well-formed");
        let header = ip::parse(packet).expect("well-formed");
        let addresses = match (header.source, header.destination) {
            (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
                (source, destination)
            }
            other => panic!("{other:?}"),
        };
        assert!(message.verify_checksum(&addresses.0, &addresses.1));
        assert_eq!(header.hop_limit, HOP_LIMIT);
        &packet[40..]
    }

    #[test]
    fn messages_round_trip() {
        let packet = solicitation(Some(OWN), solicited_node(OTHER), OTHER, LINK);
        assert_eq!(
            parse(icmp(&packet)),
            Some(Message::Solicitation { target: OTHER, source_link: Some(LINK) })
        );

        let probe = solicitation(None, solicited_node(OWN), OWN, LINK);
        assert_eq!(
            parse(icmp(&probe)),
            Some(Message::Solicitation { target: OWN, source_link: None })
        );

        for is_solicited in [true, false] {
            let answer = advertisement(OTHER, OWN, LINK, is_solicited);
            let read = parse(icmp(&answer));
            let target_link = Some(LINK);
            let written = Message::Advertisement {
                target: OWN,
                target_link,
                is_solicited,
                is_override: true,
            };
            assert_eq!(read, Some(written));
        }
    }

    #[test]
    fn solicited_node_group_has_the_last_three_bytes() {
        assert_eq!(solicited_node(OTHER).to_string(), "ff02::1:ff34:5678");
    }

    #[test]
    fn options_of_wrong_length_are_rejected() {
        let good = solicitation(Some(OWN), solicited_node(OTHER), OTHER, LINK)[40..].to_vec();
        for len in [0, 2, 255] {
            let mut bad = good.clone();
            bad[25] = len;
            assert_eq!(parse(&bad), None, "length {len}");
        }
        for cut in 1..32 {
            let whole = 32 - cut == OPTIONS_START;
            assert_eq!(parse(&good[..32 - cut]).is_some(), whole, "{cut} bytes cut off");
        }

        let mut unknown = good.clone();
        unknown.extend([200, 2]);
        unknown.extend([0; 14]);
        assert_eq!(parse(&unknown), parse(&good), "unknown options are skipped");
    }

    #[test]
    fn other_codes_and_multicast_targets_are_rejected() {
        let good = solicitation(Some(OWN), solicited_node(OTHER), OTHER, LINK)[40..].to_vec();
        let mut code = good.clone();
        code[1] = 1;
        let mut group = good;
        group[8] = 0xff;

        assert_eq!((parse(&code), parse(&group)), (None, None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(
            kind in 133..=137u8,
            rest in proptest::collection::vec(any::<u8>(), 0..128),
        ) {
            let mut bytes = vec![kind, 0];
            bytes.extend(rest);
            let _ = parse(&bytes);
        }
    }
}
